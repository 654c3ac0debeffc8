# SPDX-License-Identifier: Apache-2.0
"""Finds the fault between this machine and a cluster: takes each step of a client alone, times it and explains it.

Effects: reads the profile and the environment, connects to the SC (Streaming Controller) and to every SPU (Stream
Processing Unit).  It writes to the cluster only if a topic is named.  All of it runs in the caller's thread, and each
step has a timeout.  After a step that failed the doctor goes on as far as further steps can tell more.
"""

from __future__ import annotations

import os
import ssl
import time
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from fluvio_sync._base.clock import SystemClock
from fluvio_sync._base.compiled import COMPILED
from fluvio_sync._base.text import LONGEST_LINE, did_you_mean, printable
from fluvio_sync._base.threads import slices
from fluvio_sync._net import blocking
from fluvio_sync._net.connection import Connection
from fluvio_sync._net.resolver import Resolution
from fluvio_sync._net.transport import SocketTransport, Stage
from fluvio_sync._runtime.engine import Engine
from fluvio_sync._settings.endpoint import Endpoint
from fluvio_sync._settings.environment import client_settings, misspelt
from fluvio_sync.client import Fluvio, checked_config
from fluvio_sync.delivery import AtLeastOnce
from fluvio_sync.errors import FluvioError, ProtocolError, TopicNotFoundError
from fluvio_sync.profile import load_profile, profile_path
from fluvio_sync.protocol.offsets import FetchOffsetsRequest, FetchOffsetsResponse, FetchOffsetsTopic
from fluvio_sync.protocol.versions import ScApi, SpuApi
from fluvio_sync.retry import RetryPolicy

if TYPE_CHECKING:
    import enum
    import socket
    from collections.abc import Callable, Generator, Iterator

    from fluvio_sync._net.peer import Peer

RECORD = b"fluvio-sync doctor"
"""The value of the record that is written if a topic is named."""

_VISITED = 64  # SPUs, one after another: each may take the timeout
_SHOWN = 5  # partitions without a leader that are named
_NO_PLATFORM = "0.0.0"  # every SPU reports it
_SOON = 14 * 86_400  # seconds before a certificate's end, from which on the doctor warns
_CLOCK = SystemClock()

# The remedies of steps whose errors carry no hint.
_CORRECT = "correct that, or name the cluster: endpoint, --cluster or $FLUVIO_SYNC_ENDPOINT"
_SC_UNREACHABLE = (
    "is a cluster running there? Check address, port and firewalls (fluvio-sync dev-cluster runs one here)"
)
_SPU_UNREACHABLE = (
    "is it running, and does the address work from here? If not (containers, NAT), set spu_address_override or "
    "$FLUVIO_SYNC_SPU_ADDRESS_OVERRIDE={spu}=host:port{local}"
)
_NOT_PRODUCED = "look at the steps above, and at the log of the partition's leader"


class Step(NamedTuple):
    """The result of one step.

    * `name`: such as "metadata" or "SPU 5001".
    * `ok`: whether it succeeded.
    * `seconds`: its duration.
    * `detail`: the facts that it found, or the failure.
    * `advice`: the remedy of a failure; "" if the step succeeded.
    """

    name: str
    ok: bool
    seconds: float
    detail: str
    advice: str = ""

    @property
    def text(self) -> str:
        """A line for a person."""
        advice = f" -> {self.advice}" if self.advice else ""
        result = "ok" if self.ok else "FAIL"
        line = f"{result:<4}  {self.name:<14}  {self.seconds * 1000:7.1f} ms  {self.detail}{advice}"
        return printable(line, LONGEST_LINE)


class _Finding(Exception):  # noqa: N818 - it never leaves this module
    """A step that failed without an error of the library."""

    def __init__(self, detail: str, advice: str) -> None:
        super().__init__(detail)
        self.advice = advice


def diagnose(topic: str | None = None, *, timeout: float = 5.0, **settings: Any) -> Iterator[Step]:
    """Yield the result of each step as soon as it is known: settings, name, connection, TLS, versions and so on.

    * `topic`: a topic to write one record to; None (default) writes nothing.
    * `timeout`: seconds that a step may take (default 5).
    * `settings`: those of `Fluvio.connect`.

    It raises no error of a step: a failed one is a `Step` whose `ok` is False.
    """
    engines: list[Engine] = []

    def configure() -> str:
        engines.append(Engine(checked_config(settings)))
        config = engines[0].config
        ignored = misspelt(os.environ).items()
        notes = [f"; {variable} has no effect: {did_you_mean([meant])}" for variable, meant in ignored]
        mode = "compiled" if COMPILED else "pure Python"
        return f"{config.endpoint}, {_origin(settings)}; client id {config.client_id!r}; {mode}{''.join(notes)}"

    yield _take("configuration", configure, _CORRECT)
    for engine in engines:
        try:
            works = yield from _Diagnosis(_Cluster(engine, timeout), timeout).steps()
            if topic is not None and works:
                yield _take("produce", partial(_produce, topic, timeout, settings), _NOT_PRODUCED)
        finally:
            engine.abandon()


def _origin(settings: dict[str, Any]) -> str:
    """Say where the endpoint comes from, by the rules of `Fluvio.connect`."""
    path = settings.get("profile_path")
    profile = settings.get("profile")
    if settings.get("endpoint") is not None:
        return "as given"
    given = client_settings(os.environ) if profile is None and path is None else {}
    if "endpoint" in given:
        return "from $FLUVIO_SYNC_ENDPOINT"
    found = load_profile(given.get("profile", profile), path)
    why = ", named by $FLUVIO_SYNC_PROFILE" if "profile" in given else "" if profile else ", the current one"
    return (
        f"from cluster {found.cluster!r} of profile {found.name!r}{why}, in {profile_path() if path is None else path}"
    )


def _take(name: str, work: Callable[[], str], remedy: str = _SC_UNREACHABLE) -> Step:
    """Take a step: `work` returns the facts or raises; `remedy` is for an error without a hint."""
    began = _CLOCK.monotonic()
    try:
        detail = work()
    except _Finding as finding:
        return Step(name, False, _CLOCK.monotonic() - began, str(finding), finding.advice)
    except FluvioError as error:
        detail = str(error).removesuffix(f"; {error.hint}")
        return Step(name, False, _CLOCK.monotonic() - began, detail, error.hint or remedy)
    return Step(name, True, _CLOCK.monotonic() - began, detail)


class _Spu(NamedTuple):
    """An SPU as the SC describes it; `local`: its address inside the cluster's network, "" without one."""

    online: bool
    local: str
    leads: tuple[str, int] | None  # a partition


class _Cluster:
    """Everything that the doctor learns from a client's engine; no other code of this module looks into one."""

    def __init__(self, engine: Engine, timeout: float) -> None:
        self.sc: Peer = engine.sc
        self._engine = engine
        self._metadata = engine.metadata
        self._timeout = timeout

    def peer_of(self, spu: int) -> Peer:
        """Return the address that the client would use for an SPU; raises `ConnectError` if there is none."""
        return self._engine.peer_of(spu)

    def watch(self) -> None:
        """Have the SC push its metadata, as a client does."""
        watch = self._engine.watch
        watch.timeout = self._timeout
        connection = watch.start(_CLOCK.monotonic())

        def established() -> bool:
            watch.take_over(watch.receive(_CLOCK.monotonic()))
            return watch.established and not watch.metadata.is_partial

        try:
            if not blocking.drive(connection, established, connection.deadline, _CLOCK):
                raise connection.timed_out(_CLOCK.monotonic(), "the request for its metadata")
        finally:
            connection.close()

    def spus(self) -> dict[int, _Spu]:
        """Return the SPUs by their ids, ascending."""
        partitions = sorted(self._metadata.partitions.items(), reverse=True)
        leads = {state.leader: place for place, state in partitions}
        found = {}
        for spu, item in sorted(self._metadata.spus.items()):
            local = item.spec.public_endpoint_local
            address = "" if local is None else str(Endpoint(local.host, local.port))
            found[spu] = _Spu(self._metadata.spu_online(spu), address, leads.get(spu))
        return found

    def partitions(self, *, internal: bool) -> list[tuple[str, int]]:
        """Return all partitions of topics: of Fluvio's internal ones, or of the others."""
        topics = [name for name, topic in sorted(self._metadata.topics.items()) if topic.spec.system is internal]
        return [(name, index) for name in topics for index in range(self._looked_at(name))]

    def not_looked_at(self) -> int:
        """Return how many more partitions the topics claim: the SC has not sent them, and they may be billions."""
        metadata = self._metadata
        return sum(metadata.partition_count(name) - self._looked_at(name) for name in metadata.topics)

    def _looked_at(self, topic: str) -> int:
        return min(self._metadata.partition_count(topic), self._metadata.known_partitions(topic) + _SHOWN)

    def why_no_leader(self, topic: str, partition: int) -> str:
        """Return the reason why a partition has no leader, "" if it has one."""
        route = self._metadata.route(topic, partition)
        return route.reason if route.spu is None and route.fallback is None else ""


class _Diagnosis:
    """The steps from the name to the SPUs, each a method that returns the facts that it found."""

    def __init__(self, cluster: _Cluster, timeout: float) -> None:
        self._cluster = cluster
        self._timeout = timeout

    def steps(self) -> Generator[Step, None, bool]:
        """Take all steps, but none after the SC failed one; returns whether it passed them."""
        yield (name := _take("name", self._resolve))
        if not name.ok:
            return False
        works = True
        for step in self._connecting(self._cluster.sc):
            yield step
            works = step.ok
        if not works:
            return False
        yield (metadata := _take("metadata", self._watch))
        if not metadata.ok:
            return False
        yield _take("leaders", self._leaders)
        spus = self._cluster.spus()
        for number in [*spus][:_VISITED]:
            yield self._visit(number, spus[number])
        if len(spus) > _VISITED:
            yield Step("SPUs", True, 0.0, f"{len(spus) - _VISITED} more SPUs were not visited")
        return True

    # The SC.

    def _resolve(self) -> str:
        endpoint = self._cluster.sc.endpoint
        resolution = Resolution(endpoint, lambda: None)
        if not any(resolution.done.wait(part) for part in slices(self._timeout)):
            why = f"the name {endpoint.host!r} was not resolved within {self._timeout:g} s"
            raise _Finding(why, "look at this machine's DNS servers, or use an address instead of a name")
        if resolution.error is not None:
            why = f"the name {endpoint.host!r} cannot be resolved: {resolution.error.strerror or resolution.error}"
            raise _Finding(why, "check its spelling and this machine's DNS, or use an address instead of a name")
        found = dict.fromkeys(address[0] for *_, address in resolution.addresses)
        return endpoint.host if list(found) == [endpoint.host] else f"{endpoint.host} is {', '.join(found)}"

    def _connecting(self, peer: Peer) -> Iterator[Step]:
        """Connect to the SC, and yield a step for each part of it."""
        parts: tuple[tuple[str, Stage, Callable[[Connection], str]], ...] = (
            ("SC connection", Stage.CONNECTING, _address_of),
            ("SC TLS", Stage.HANDSHAKE, _tls_of),
            ("SC versions", Stage.VERSIONS, partial(_versions, apis=ScApi, needed=ScApi.WATCH)),
        )
        connection = self._dial(peer)
        failure: Step | None = None
        try:
            for name, stage, describe in parts:
                if failure is None:
                    step = _take(name, partial(self._pass, connection, stage, describe))
                    if step.ok:
                        yield step
                        continue
                    failure = step
                # A connection goes as far as it can at once: the failure may belong to a later part.
                if stage is Stage.VERSIONS or not _is_beyond(connection, stage):
                    yield failure._replace(name=name)
                    return
                yield Step(name, True, 0.0, describe(connection))
        finally:
            connection.close()

    def _pass(self, connection: Connection, stage: Stage, describe: Callable[[Connection], str]) -> str:
        self._reach(connection, stage)
        return describe(connection)

    def _dial(self, peer: Peer) -> Connection:
        return Connection(peer, SocketTransport, timeout=self._timeout, now=_CLOCK.monotonic(), notify=lambda: None)

    def _reach(self, connection: Connection, stage: Stage) -> None:
        """Go on until the connection is beyond a stage."""
        limit = _CLOCK.monotonic() + self._timeout
        if not blocking.drive(connection, lambda: _is_beyond(connection, stage), limit, _CLOCK):
            raise connection.timed_out(_CLOCK.monotonic())

    def _watch(self) -> str:
        self._cluster.watch()
        spus = self._cluster.spus()
        if not spus:
            raise _Finding("the SC knows no SPU", "start an SPU and register it (fluvio cluster spu list shows them)")
        partitions = self._cluster.partitions(internal=False)
        return (
            f"SPUs: {len(spus)}, online: {sum(spu.online for spu in spus.values())}; "
            f"topics: {len({topic for topic, _ in partitions})}, partitions: {len(partitions)} (internal ones left out)"
        )

    def _leaders(self) -> str:
        internal = self._cluster.partitions(internal=True)
        everywhere = sorted(internal + self._cluster.partitions(internal=False))
        without = [why for place in everywhere if (why := self._cluster.why_no_leader(*place))]
        if without:
            left_out = self._cluster.not_looked_at()
            failing, total = len(without) + left_out, len(everywhere) + left_out
            more = f", and {failing - _SHOWN} more" if failing > _SHOWN else ""
            raise _Finding(
                f"{failing} of {total} partitions without a leader: {'; '.join(without[:_SHOWN])}{more}",
                "records for them wait until an SPU that holds a replica is back: look at the SPUs below; a topic that "
                "wants more replicas than there are SPUs waits for more",
            )
        return f"{len(everywhere)} of {len(everywhere)} partitions have a leader ({len(internal)} internal)"

    # The SPUs.

    def _visit(self, number: int, spu: _Spu) -> Step:
        """Connect to an SPU and ask it something."""
        inside = f", or use_spu_local_address for {spu.local}" if spu.local else ""
        remedy = _SPU_UNREACHABLE.format(spu=number, local=inside)
        step = _take(f"SPU {number}", partial(self._ask, number, spu), remedy)
        if spu.online:
            return step
        detail = f"{step.detail}; the SC says that it is offline"
        if step.ok:  # it runs, and the SC does not hear from it
            advice = "it cannot reach the SC's private port (9004 by default): look at this SPU's log"
            return step._replace(ok=False, detail=detail, advice=advice)
        return step._replace(detail=detail, advice="start this SPU, or look at its log")

    def _ask(self, number: int, spu: _Spu) -> str:
        peer = self._cluster.peer_of(number)
        connection = self._dial(peer)
        try:
            self._reach(connection, Stage.VERSIONS)
            agreed = _versions(connection, apis=SpuApi, needed=SpuApi.PRODUCE)
            addresses = peer.origin + (f"; locally {spu.local}" if spu.local else "")
            return f"{peer.endpoint} ({addresses}); {agreed}; {self._round_trip(connection, spu)}"
        finally:
            connection.close()

    def _round_trip(self, connection: Connection, spu: _Spu) -> str:
        """Ask for the offsets of a partition that the SPU leads, if it leads one and can be asked."""
        offered = connection.versions is not None and connection.versions.offered(SpuApi.FETCH_OFFSETS)
        if spu.leads is None or not offered:
            return "it answered ApiVersions"
        topic, partition = spu.leads
        began = _CLOCK.monotonic()
        request = FetchOffsetsRequest(topics=(FetchOffsetsTopic(topic, (partition,)),))
        answer = blocking.call(connection, SpuApi.FETCH_OFFSETS, request, self._timeout, _CLOCK, is_done=lambda: False)
        assert answer is not None
        try:
            FetchOffsetsResponse.read(*answer)
        except ProtocolError as error:
            raise connection.protocol_error(error) from error
        return f"it answered FetchOffsets in {(_CLOCK.monotonic() - began) * 1000:.1f} ms"


def _produce(topic: str, timeout: float, settings: dict[str, Any]) -> str:
    """Write one record, by a client of its own."""
    limits: dict[str, Any] = dict.fromkeys(("connect_timeout", "request_timeout", "metadata_timeout"), timeout)
    client = Fluvio.connect(**settings | limits, exit_timeout=0.0)
    try:
        producer = client.topic_producer(topic, delivery_semantic=AtLeastOnce(RetryPolicy(timeout=timeout)))
        found = producer.send(RECORD).result()  # which the policy's timeout ends
    except TopicNotFoundError as error:
        raise _Finding(str(error), f"create it: fluvio-sync topics create {topic}") from error
    finally:
        client.close(0)
    return f"wrote a record to topic {topic!r}, partition {found.partition}, offset {found.offset}"


def _versions(connection: Connection, *, apis: type[enum.IntEnum], needed: enum.IntEnum) -> str:
    """Return the agreed version of each request that the server lists; raises for the one that is needed."""
    assert connection.versions is not None
    connection.version(needed)
    listed = [api for api in apis if api in connection.peer.ranges and connection.versions.offered(api)]
    platform = printable(connection.versions.platform_version)
    known = [f"platform {platform}"] if platform != _NO_PLATFORM else []
    return ", ".join([*known, *(f"{api.name.title().replace('_', '')} {_agreed(connection, api)}" for api in listed)])


def _is_beyond(connection: Connection, stage: Stage) -> bool:
    stages = list(Stage)
    return stages.index(connection.stage) > stages.index(stage)


def _address_of(connection: Connection) -> str:
    """Say which of a name's addresses answered."""
    try:
        return "connected to {}, port {}".format(*_socket_of(connection).getpeername()[:2])
    except OSError:  # it is broken again
        return f"connected to {connection.peer.endpoint}"


def _tls_of(connection: Connection) -> str:
    sock = _socket_of(connection)
    if not isinstance(sock, ssl.SSLSocket):
        return "off: plain TCP, the server is not verified"
    if sock.context.verify_mode is ssl.CERT_NONE:
        return f"{sock.version()}, anonymous: encrypted, the server is not verified"
    return f"{sock.version()}; {connection.peer.check}{_certificate(sock)}"


def _agreed(connection: Connection, api: enum.IntEnum) -> str:
    try:
        return str(connection.version(api))
    except FluvioError:
        return "none in common"


def _certificate(sock: ssl.SSLSocket) -> str:
    """Say which authority signed the server's certificate, and when it expires."""
    try:
        certificate: dict[str, Any] = dict(sock.getpeercert() or {})
    except ValueError:  # the server has ended the connection since
        return ""
    issuer = {key: value for part in certificate.get("issuer", ()) for key, value in part}
    authority = issuer.get("commonName") or issuer.get("organizationName") or "an authority without a name"
    signed = f"; signed by {printable(authority)}"
    end = certificate.get("notAfter")
    if end is None:
        return signed
    left = ssl.cert_time_to_seconds(end) - time.time()
    soon = " SOON," if left < _SOON else ""
    return f"{signed}; expires{soon} in {left / 86_400:.0f} days ({end})"


def _socket_of(connection: Connection) -> socket.socket:
    transport = connection.transport
    assert isinstance(transport, SocketTransport)
    assert transport.sock is not None
    return transport.sock
