# SPDX-License-Identifier: Apache-2.0
"""What is wrong between here and a cluster: each step that a client takes, taken alone, timed and explained.

Effects: reads the profile and the environment, connects to the SC and to every SPU; nothing is written to the cluster
unless a topic is named.  Everything happens in the caller's thread, and each step has a time-out.  It goes on after a
step that failed as far as that can tell more.
"""

from __future__ import annotations

import os
import ssl
import time
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from fluvio_sync._base.clock import SystemClock
from fluvio_sync._base.text import counted, did_you_mean
from fluvio_sync._net import blocking
from fluvio_sync._net.connection import Connection
from fluvio_sync._net.resolver import Resolution
from fluvio_sync._net.transport import SocketTransport, Stage
from fluvio_sync._runtime.engine import Engine
from fluvio_sync._runtime.session import EngineHolder
from fluvio_sync._settings.environment import client_settings, misspelt
from fluvio_sync.client import Fluvio, checked_config
from fluvio_sync.delivery import AtLeastOnce
from fluvio_sync._doctor_advice import SC_UNREACHABLE, SPU_UNREACHABLE, advice_for
from fluvio_sync.errors import FluvioError, ProtocolError
from fluvio_sync.profile import load_profile, profile_path
from fluvio_sync.protocol.metadata import split_partition_key
from fluvio_sync.protocol.offsets import FetchOffsetsRequest, FetchOffsetsResponse, FetchOffsetsTopic
from fluvio_sync.protocol.versions import ScApi, SpuApi
from fluvio_sync.retry import RetryPolicy

if TYPE_CHECKING:
    import enum
    from collections.abc import Callable, Iterator

    from fluvio_sync._net.transport import Peer

RECORD = b"fluvio-sync doctor"
"""The value of the record that is written if a topic is named."""

_SHOWN = 5  # partitions without a leader that are named
_NO_PLATFORM = "0.0.0"  # what every SPU says
_SOON = 14 * 86_400  # seconds before a certificate's end from which on it is worth a word


class Step(NamedTuple):
    """What a step found.

    `name`: "metadata", "SPU 5001"; `seconds`: how long it took; `detail`: what was found or what failed; `advice`: what
    to do about that, empty where nothing has to be done.
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
        return f"{result:<4}  {self.name:<14}  {self.seconds * 1000:7.1f} ms  {self.detail}{advice}"


class _Finding(Exception):  # noqa: N818 - it never leaves this module
    """A step that failed without an error of the library."""

    def __init__(self, detail: str, advice: str) -> None:
        super().__init__(detail)
        self.advice = advice


def diagnose(topic: str | None = None, *, timeout: float = 5.0, **settings: Any) -> Iterator[Step]:
    """Yield what every step found, as it is found.

    `topic`: write one record to it; `timeout`: seconds that a step may take; `settings`: those of `Fluvio.connect`.
    Raises nothing that a step finds.
    """
    engines: list[Engine] = []

    def configure() -> str:
        engines.append(Engine(checked_config(settings)))
        config = engines[0].config
        ignored = misspelt(os.environ).items()
        notes = [f"; {variable} has no effect: {did_you_mean([meant])}" for variable, meant in ignored]
        return f"{config.endpoint}, {_origin(settings)}; client id {config.client_id!r}{''.join(notes)}"

    yield _take("configuration", configure)
    for engine in engines:
        try:
            yield from _Diagnosis(engine, timeout).steps(topic)
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


def _take(name: str, work: Callable[[], str], unreachable: str = SC_UNREACHABLE) -> Step:
    """Take a step: `work` returns what it found, or raises; `unreachable`: what to do about an address that fails."""
    began = time.monotonic()
    try:
        detail = work()
    except _Finding as finding:
        return Step(name, False, time.monotonic() - began, str(finding), finding.advice)
    except FluvioError as error:
        return Step(name, False, time.monotonic() - began, str(error), advice_for(error) or unreachable)
    return Step(name, True, time.monotonic() - began, detail)


class _Diagnosis:
    """The steps beyond the configuration, each a method that returns what it found."""

    def __init__(self, engine: Engine, timeout: float) -> None:
        self._engine = engine
        self._timeout = timeout
        self._clock = SystemClock()
        self._sc: Peer = engine.sc

    def steps(self, topic: str | None) -> Iterator[Step]:
        """Take all steps; without a working SC there are no others."""
        yield (name := _take("name", self._resolve))
        if not name.ok:
            return
        works = True
        for step in self._connecting(self._sc):
            yield step
            works = step.ok
        if not works:
            return
        yield (metadata := _take("metadata", self._watch))
        if not metadata.ok:
            return
        yield _take("leaders", self._leaders)
        for spu in sorted(self._engine.metadata.spus):
            yield self._visit(spu)
        if topic is not None:
            yield _take("produce", lambda: self._produce(topic))

    # The SC.

    def _resolve(self) -> str:
        endpoint = self._sc.endpoint
        resolution = Resolution(endpoint, lambda: None)
        if not resolution.done.wait(self._timeout):
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
            ("SC versions", Stage.VERSIONS, lambda connection: self._versions(connection, ScApi, ScApi.WATCH)),
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
                # A connection goes as far as it can at once: what failed may belong to a later part.
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
        return Connection(
            peer, SocketTransport, timeout=self._timeout, now=self._clock.monotonic(), notify=lambda: None
        )

    def _reach(self, connection: Connection, stage: Stage) -> None:
        """Go on until the connection is beyond a stage."""
        limit = self._clock.monotonic() + self._timeout
        if not blocking.drive(connection, lambda: _is_beyond(connection, stage), limit, self._clock):
            raise blocking.connect_timed_out(connection, self._timeout)

    def _versions(self, connection: Connection, apis: type[enum.IntEnum], needed: enum.IntEnum) -> str:
        """Return what was agreed on for each request that the server lists; raises for the one that is needed."""
        assert connection.versions is not None
        connection.version(needed)
        listed = [api for api in apis if api in connection.peer.ranges and connection.versions.offered(api)]
        platform = connection.versions.platform_version
        known = [f"platform {platform}"] if platform != _NO_PLATFORM else []
        return ", ".join([*known, *(f"{_api_name(api)} {_agreed(connection, api)}" for api in listed)])

    def _watch(self) -> str:
        """Have the SC push its metadata, as a client does."""
        watch, metadata = self._engine.watch, self._engine.metadata
        watch.timeout = self._timeout
        connection = watch.start(self._clock.monotonic())

        def established() -> bool:
            watch.take_over(watch.advance())
            return watch.established

        try:
            if not blocking.drive(connection, established, connection.deadline, self._clock):
                raise blocking.connect_timed_out(connection, self._timeout, "pushing its metadata")
        finally:
            connection.close()
        if not metadata.spus:
            raise _Finding("the SC knows no SPU", "start an SPU and register it (fluvio cluster spu list shows them)")
        online = sum(metadata.spu_online(spu) for spu in metadata.spus)
        topics = [topic for topic in metadata.topics.values() if not topic.spec.system]
        partitions = sum(topic.spec.partition_count for topic in topics)
        return (
            f"SPUs: {len(metadata.spus)}, online: {online}; topics: {len(topics)}, partitions: {partitions} "
            "(Fluvio's own left out)"
        )

    def _leaders(self) -> str:
        metadata = self._engine.metadata
        everywhere = [(name, index) for name in metadata.topics for index in range(metadata.partition_count(name))]
        routes = {place: metadata.route(*place) for place in sorted(everywhere)}
        without = [route.reason for route in routes.values() if route.spu is None and route.fallback is None]
        if without:
            more = f", and {len(without) - _SHOWN} more" if len(without) > _SHOWN else ""
            raise _Finding(
                f"partitions without a leader: {len(without)} of {len(routes)}: {'; '.join(without[:_SHOWN])}{more}",
                "records for them wait until an SPU that holds a replica is back: look at the SPUs below; a topic that "
                "wants more replicas than there are SPUs waits for more",
            )
        return f"each has one, of {counted(len(routes), 'partition')} with Fluvio's own"

    # The SPUs.

    def _visit(self, spu: int) -> Step:
        """Connect to an SPU and ask it something."""
        item = self._engine.metadata.spus[spu]
        local = item.spec.public_endpoint_local
        inside = "" if local is None else f", or use_spu_local_address for {local.host}:{local.port}"
        step = _take(f"SPU {spu}", lambda: self._ask(spu), SPU_UNREACHABLE.format(spu=spu, local=inside))
        if self._engine.metadata.spu_online(spu):
            return step
        detail = f"{step.detail}; the SC says that it is offline"
        if step.ok:  # it is there, and the SC has lost it
            advice = "it cannot reach the SC's private port (9004 by default): look at this SPU's log"
            return step._replace(ok=False, detail=detail, advice=advice)
        return step._replace(detail=detail, advice="start this SPU, or look at its log")

    def _ask(self, spu: int) -> str:
        peer = self._engine.peer_of(spu)
        connection = self._dial(peer)
        try:
            self._reach(connection, Stage.VERSIONS)
            agreed = self._versions(connection, SpuApi, SpuApi.PRODUCE)
            return f"{peer.endpoint} ({self._addresses(spu, peer)}); {agreed}; {self._round_trip(spu, connection)}"
        finally:
            connection.close()

    def _addresses(self, spu: int, peer: Peer) -> str:
        """Say where the address came from, and which other there is."""
        local = self._engine.metadata.spus[spu].spec.public_endpoint_local
        return peer.origin + (f"; locally {local.host}:{local.port}" if local is not None else "")

    def _round_trip(self, spu: int, connection: Connection) -> str:
        """Ask for the offsets of a partition that the SPU leads, if it leads one and can be asked."""
        led = [item.name for item in self._engine.metadata.partitions.values() if item.spec.leader == spu]
        offered = connection.versions is not None and connection.versions.offered(SpuApi.FETCH_OFFSETS)
        if not led or not offered:
            return "it answered ApiVersions"
        topic, partition = split_partition_key(min(led))
        began = self._clock.monotonic()
        request = FetchOffsetsRequest(topics=(FetchOffsetsTopic(topic, (partition,)),))
        answer = blocking.call(
            connection, SpuApi.FETCH_OFFSETS, request, self._timeout, self._clock, is_done=lambda: False
        )
        assert answer is not None
        try:
            FetchOffsetsResponse.read(*answer)
        except ProtocolError as error:
            raise connection.protocol_error(error) from error
        return f"it answered FetchOffsets in {(self._clock.monotonic() - began) * 1000:.1f} ms"

    # A record.

    def _produce(self, topic: str) -> str:
        config = self._engine.config._replace(
            connect_timeout=self._timeout,
            request_timeout=self._timeout,
            metadata_timeout=self._timeout,
            exit_timeout=0.0,
        )
        client = Fluvio(EngineHolder(config))
        try:
            policy = RetryPolicy(timeout=self._timeout)
            producer = client.topic_producer(topic, delivery_semantic=AtLeastOnce(policy))
            found = producer.send(RECORD).result()  # which the policy's timeout ends
        finally:
            client.close(0)
        return f"wrote a record to topic {topic!r}, partition {found.partition}, offset {found.offset}"


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
        return "off: plain TCP, nobody is verified"
    if sock.context.verify_mode is ssl.CERT_NONE:
        return f"{sock.version()}, anonymous: encrypted, but nobody is verified"
    return f"{sock.version()}; {connection.peer.check}; {_certificate(sock)}"


def _agreed(connection: Connection, api: enum.IntEnum) -> str:
    try:
        return str(connection.version(api))
    except FluvioError:
        return "none in common"


def _api_name(api: enum.IntEnum) -> str:
    return api.name.title().replace("_", "")


def _certificate(sock: ssl.SSLSocket) -> str:
    """Say who signed the server's certificate, and when it ends."""
    try:
        certificate: dict[str, Any] = dict(sock.getpeercert() or {})
    except ValueError:  # the server has ended the connection since
        return "which it does"
    issuer = {key: value for part in certificate.get("issuer", ()) for key, value in part}
    signed = f"it is signed by {issuer.get('commonName') or issuer.get('organizationName') or 'nobody with a name'}"
    end = certificate.get("notAfter")
    if end is None:
        return signed
    left = ssl.cert_time_to_seconds(end) - time.time()
    soon = ", which is SOON" if left < _SOON else ""
    return f"{signed} and ends in {left / 86_400:.0f} days{soon} ({end})"


def _socket_of(connection: Connection) -> socket.socket:
    transport = connection.transport
    assert isinstance(transport, SocketTransport)
    assert transport.sock is not None
    return transport.sock
