# SPDX-License-Identifier: Apache-2.0
"""The parts of a client that belong to one process: queue, metadata, connections, threads.

A `Fluvio` object makes an engine when it connects, and another one in the child of a fork.
"""

from __future__ import annotations

import math
import os
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from fluvio_sync import retry
from fluvio_sync._base.clock import SystemClock
from fluvio_sync._base.log import get_logger
from fluvio_sync._base.text import counted, shown
from fluvio_sync._base.threads import reentered
from fluvio_sync._core.dispatcher import Dispatcher
from fluvio_sync._core.metadata import Metadata
from fluvio_sync._core.partition import FlushBarrier
from fluvio_sync._core.topic import agreed_compression
from fluvio_sync._net import blocking
from fluvio_sync._net.peer import Peer
from fluvio_sync._net.poller import Poller
from fluvio_sync._net.tls_files import TlsFiles
from fluvio_sync._net.transport import SocketTransport
from fluvio_sync._outcomes.handle_stats import HandleStats
from fluvio_sync._runtime import shortage
from fluvio_sync._runtime.accumulator import Accumulator, unresolved
from fluvio_sync._runtime.admin import Admin
from fluvio_sync._runtime.callbacks import CallbackThread
from fluvio_sync._runtime.log_thread import LogThread
from fluvio_sync._runtime.metadata_watch import FRESH, MetadataWatch
from fluvio_sync._runtime.sender import Sender
from fluvio_sync._runtime.sender_thread import LAST_STEP, SenderThread
from fluvio_sync._settings.endpoint import Endpoint, overridden
from fluvio_sync.errors import (
    ClosedError,
    ConnectError,
    FlushTimeoutError,
    FluvioError,
    MetadataTimeoutError,
    TopicNotFoundError,
)
from fluvio_sync.protocol.frames import MAX_ANSWER
from fluvio_sync.protocol.versions import SC_CLIENT_RANGES, SPU_CLIENT_RANGES
from fluvio_sync.stats import Health
from fluvio_sync.tls import TlsConfig, authority, problem_of_name

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

    from fluvio_sync._base.clock import Clock
    from fluvio_sync._core.topic import TopicState
    from fluvio_sync._net.transport import Connector
    from fluvio_sync.config import ProducerConfig

# Seconds after which a connection to the SC is given up that acknowledges nothing.  Its requests are small, so that no
# slow network needs longer, and until then no new leader is noticed.
_SC_PATIENCE = 15.0
# Seconds that closing waits at most to learn whether acknowledged records are stored twice.
_LAST_LOOKS = 2.0
_REMEDY = "if that address does not work from here, see spu_address_override and use_spu_local_address"


class ClientConfig(NamedTuple):
    """The settings of a client, as `Fluvio.connect` describes them; a pickled client has nothing else."""

    endpoint: Endpoint
    tls: TlsConfig | ssl.SSLContext
    client_id: str
    use_spu_local_address: bool
    spu_address_override: Mapping[int, str] | Callable[[int, str], str | None] | None
    connect_timeout: float
    request_timeout: float
    metadata_timeout: float
    exit_timeout: float
    buffer_memory: int


class Parts(NamedTuple):
    """The classes of an engine's parts; a simulation and the fake client replace some."""

    connector: Connector = SocketTransport
    poller: type[Poller] = Poller
    accumulator: type[Accumulator] = Accumulator
    dispatcher: type[Dispatcher] = Dispatcher
    watch: type[MetadataWatch] = MetadataWatch
    sender: type[Sender] = Sender
    thread: type[SenderThread] = SenderThread
    log_thread: type[LogThread] = LogThread


class Engine:
    """See the module's description.  `pid`: the id of its process."""

    def __init__(self, config: ClientConfig, clock: Clock | None = None, parts: Parts | None = None) -> None:
        """Make all parts, each after those that it needs; nothing connects and no thread runs before `open`."""
        parts = parts or Parts()
        tls = config.tls
        self.log_thread = parts.log_thread(config.client_id)
        self.log = get_logger("client", self.log_thread.put).bind(client_id=config.client_id)
        # First: it may raise, and the poller has sockets.
        self._tls = TlsFiles.read(tls, self.log) if isinstance(tls, TlsConfig) else tls
        self.config = config
        self.pid = os.getpid()
        self.clock = clock or SystemClock()
        self.sc = Peer(
            name="SC",
            endpoint=config.endpoint,
            ranges=SC_CLIENT_RANGES,
            client_id=config.client_id,
            tls=self._tls,
            server_name=self._server_name(None, config.endpoint),
            authority=authority(tls),
            patience=min(config.request_timeout, _SC_PATIENCE),
        )
        with shortage.explained(self.sc.unreachable):
            self.poller = parts.poller()
        self.callbacks = CallbackThread(f"{config.client_id}-callbacks")
        self.metadata = Metadata(use_local_address=config.use_spu_local_address)
        self.accumulator = parts.accumulator(
            config.buffer_memory,
            config.request_timeout,
            self.clock,
            self.callbacks,
            self._wake,
            self._stands_still,
            self._go_on,
            producer_id=int.from_bytes(os.urandom(8), "big") >> 2,  # 62 bits: positive, and another one in each process
        )
        self.dispatcher = parts.dispatcher(
            self.metadata,
            connect_timeout=config.connect_timeout,
            on_failing=self.accumulator.failing_changed,
            on_looked=self.accumulator.flushed.notify_all,
        )
        self.watch = parts.watch(
            self.sc,
            self.metadata,
            connector=parts.connector,
            timeout=config.connect_timeout,
            notify=self.poller.wake,
        )
        self.sender = parts.sender(
            self.accumulator,
            self.dispatcher,
            self.watch,
            self.poller,
            connector=parts.connector,
            peer_of=self.peer_of,
            clock=self.clock,
            log=self.log,
        )
        name = f"{config.client_id}-sender"
        self.thread = parts.thread(
            self.sender, self.poller, self.accumulator, clock=self.clock, log=self.log, name=name
        )
        self.callbacks.lead = self.thread.lead
        self.callbacks.on_shortage = self.poller.wake_background
        self.admin = Admin(
            self.sc,
            connect_timeout=config.connect_timeout,
            request_timeout=config.request_timeout,
            clock=self.clock,
            created=self._is_created,
        )
        self.handle_stats = HandleStats(lock=self.callbacks.lock)  # of all handles
        self._absent: dict[str, int] = {}  # topics that were absent, with the `topics_version` in which they were

    def _wake(self) -> bool:
        """Have the sender look at the dirty queues; False if it has done so already."""
        if self.thread.work_at_once():
            return False
        self.poller.wake()
        return True

    def _go_on(self) -> None:
        self.thread.go_on()

    def _stands_still(self) -> bool:
        return self.thread.stands_still()

    @property
    def reconnects(self) -> int:
        """The number of connections to SPUs that were made again."""
        return self.sender.reconnects

    @property
    def last_error(self) -> tuple[str, int] | None:
        """The text of the latest failure, and when it was, in milliseconds since the epoch."""
        return self.sender.last_error

    # Opening.

    def open(self) -> None:
        """Connect to the SC in the caller's thread, then start the sender.

        Raises `ConnectError`, `ConnectTimeoutError`, `ProtocolError`, `UnsupportedVersionError`.
        """
        retry.load()
        watch = self.watch
        try:
            with shortage.explained(self.sc.unreachable):
                connection = watch.start(self.clock.monotonic())
                if not blocking.drive(connection, self._is_established, connection.deadline, self.clock):
                    raise connection.timed_out(self.clock.monotonic(), "the request for its metadata")
                self.poller.update(connection)
            shortage.start(self.thread.start, self.sc.unreachable)
        except BaseException:
            self.thread.ask_to_stop()  # it may run: Ctrl-C
            self.sender.abandon()
            raise

    def _is_established(self) -> bool:
        self.watch.take_over(self.watch.receive(self.clock.monotonic()))
        return self.watch.established and not self.metadata.is_partial

    def _server_name(self, spu_name: str | None, endpoint: Endpoint) -> str | None:
        """Return the name of a server's certificate: by Fluvio's rule, or the host with a caller's own context."""
        tls = self.config.tls
        if not isinstance(tls, TlsConfig):
            return endpoint.host
        name = tls.server_name(spu_name)
        problem = "" if name is None else problem_of_name(name)
        if problem:
            wanted = f"its certificate would have to be for {shown(name)}"
            raise ConnectError(
                f"the SC names an SPU {shown(spu_name)}, which can have no certificate: {wanted}, and {problem}",
                hint="rename the SPU, or look whether this is the right cluster",
            )
        return name

    def peer_of(self, spu: int) -> Peer:
        """Return the address of an SPU and how to connect to it; raises `ConnectError` if the metadata has none."""
        advertised = self.metadata.advertised(spu)
        endpoint, origin = self._override(spu, advertised)
        if endpoint is None:
            hint = f"name one with spu_address_override={{{spu}: 'host:port'}}"
            raise ConnectError(f"the SC gives no address for SPU {spu}; {hint}", hint=hint)
        return Peer(
            name=f"SPU {spu}",
            endpoint=endpoint,
            ranges=SPU_CLIENT_RANGES,
            client_id=self.config.client_id,
            tls=self._tls,
            server_name=self._server_name(self.metadata.spu_name(spu), endpoint),
            authority=self.sc.authority,
            origin=origin,
            remedy=_REMEDY,
            patience=self.config.request_timeout,
            max_frame=MAX_ANSWER,
        )

    def _override(self, spu: int, advertised: Endpoint | None) -> tuple[Endpoint | None, str]:
        override = self.config.spu_address_override
        if override is None:
            return advertised, self._advertised_as(spu)
        endpoint = overridden(override, spu, advertised)
        if endpoint is None:
            return advertised, f"{self._advertised_as(spu)}; spu_address_override has none"
        return endpoint, f"from spu_address_override; the SC advertises {advertised or 'none'}"

    def _advertised_as(self, spu: int) -> str:
        local = "local " if self.metadata.is_local(spu) else ""
        return f"the {local}address that the SC advertises"

    # Topics.

    def topic_state(self, topic: str, config: ProducerConfig, handle: object) -> TopicState:
        """Return the state of a topic under a producer's settings; waits for it at most `metadata_timeout`.

        * `handle`: the producer, as long as which it stays.
        """
        accumulator, heard = self.accumulator, True
        with accumulator.lock:
            if not self._has_arrived(topic):
                heard = self._await_topic(topic)
            if accumulator.closed:
                raise ClosedError("the client is closed")
            if topic not in self.metadata.topics:
                raise self._no_topic(topic, heard=heard)
            known = self.metadata.topics[topic]
        agreed_compression(known, config)  # raises if there is none
        # Handles that differ only in partitioner or serializers share a state: a serializer may be a new function at
        # every call.
        shared = replace(config, partitioner=None, key_serializer=None, value_serializer=None)
        with accumulator.lock:
            self.dispatcher.forget(accumulator.forget_unused(self.metadata))
            topic_state = accumulator.topic_state(topic, shared, self.metadata)
            topic_state.add_handle(handle)
            return topic_state

    def _is_created(self, topic: str) -> bool:
        """Whether a topic's partitions all exist, with leaders that are online."""
        with self.accumulator.lock:
            return self._has_leaders(topic)

    def _has_leaders(self, topic: str) -> bool:  # see `OwnedLock` about loops
        metadata = self.metadata
        count = metadata.partition_count(topic)
        if metadata.known_partitions(topic) < count:  # also of a number that no cluster has
            return False
        routes = [metadata.route(topic, index) for index in range(count)]
        return metadata.live and bool(routes) and all(r.spu is not None or r.fallback is not None for r in routes)

    def expect_topic(self, topic: str) -> None:
        """Have the next `topic_state` wait again for a topic that was absent and has just been created."""
        with self.accumulator.lock:
            self._absent.pop(topic, None)

    def _has_arrived(self, topic: str) -> bool:
        """Whether a topic is known, with all of its partitions that are here already."""
        metadata = self.metadata
        if topic not in metadata.topics:
            return False
        return not self.metadata.is_partial or metadata.known_partitions(topic) >= metadata.partition_count(topic)

    def _await_topic(self, topic: str) -> bool:
        """Wait for a topic that the metadata does not have, and ask the SC meanwhile; return whether it was heard.

        Called with the lock held.
        """
        accumulator, metadata, timeout = self.accumulator, self.metadata, self.config.metadata_timeout
        asked = self.clock.monotonic()
        if self.watch.heard_at < asked - FRESH:
            self.sender.call_soon(self.watch.doubt)
        was_absent = self._absent.get(topic) == metadata.topics_version
        if not was_absent:
            if self.thread.stands_still():
                raise reentered()
            accumulator.changed.wait_for(lambda: self._has_arrived(topic) or accumulator.closed, timeout)
        # Without a timeout there is no time to ask.
        return was_absent or not timeout or self.watch.heard_at >= asked - FRESH

    def _no_topic(self, topic: str, *, heard: bool) -> FluvioError:
        timeout = self.config.metadata_timeout
        if not (heard and self.metadata.complete):
            silence = self.clock.monotonic() - self.watch.heard_at
            last = f": {self.watch.last_error or f'it has not been heard for {silence:.1f} s'}"
            return MetadataTimeoutError(
                f"topic {topic!r} is not known and the SC at {self.config.endpoint} could not be asked "
                f"within {timeout} s (metadata_timeout){last}",
                hint="look at the SC's log",
            )
        version = self.metadata.topics_version
        self._absent = {name: seen for name, seen in self._absent.items() if seen == version}
        self._absent[topic] = version
        hint = f"create it with create_topic({topic!r})"
        return TopicNotFoundError(
            f"the cluster at {self.config.endpoint} has no topic {topic!r}, and none appeared within {timeout} s "
            f"(metadata_timeout); {hint}",
            topic=topic,
            hint=hint,
        )

    # Flushing and closing.

    def flush(self, topic_state: TopicState | None, handle_stats: HandleStats | None, timeout: float | None) -> None:
        """Wait until the records sent so far are completed and the callbacks that are due have run."""
        self.refuse_to_wait("flush()")
        deadline = None if timeout is None else self.clock.monotonic() + timeout
        barrier = self.accumulator.begin_flush(topic_state, handle_stats)
        if not self.accumulator.wait_flushed(barrier, self.thread.lead(lambda: not barrier.batches, timeout)):
            raise flush_timed_out(barrier, timeout)
        remaining = None if deadline is None else max(0.0, deadline - self.clock.monotonic())
        if not self.callbacks.wait_for_due(remaining):
            raise FlushTimeoutError(
                f"all records are completed, but callbacks of the application did not end within {timeout} s",
                outstanding=0,
            )

    def close_handle(self, topic_state: TopicState, handle_stats: HandleStats, timeout: float | None) -> None:
        """Wait for a handle's records; those that are left after the timeout fail."""
        self.refuse_to_wait("close()")
        handle_stats.closed = True
        with self.accumulator.lock:
            self.accumulator.space.notify_all()
        try:
            self.flush(topic_state, handle_stats, timeout)
        except FlushTimeoutError:
            barrier = FlushBarrier()
            with self.accumulator.lock:
                queues = self.accumulator.queues(topic_state)
                left = (batch for queue in queues for batch in queue.unresolved)
                barrier.add(batch for batch in left if batch.belongs_only_to(handle_stats))
            self.sender.call_soon(lambda now: self.dispatcher.abandon(queues, now, handle_stats))
            self.accumulator.wait_flushed(barrier, LAST_STEP)

    def close(self, timeout: float | None) -> int:
        """Drain, then close; returns the number of records that the timeout lost."""
        lost = self.drain(timeout)
        self.stop()
        return lost

    def stop(self) -> None:
        """End the thread; the callbacks of records that this fails run."""
        self.thread.stop()
        self.callbacks.run_left()

    def drain(self, timeout: float | None) -> int:
        """Take no more records and wait for those there are; returns the number left after the timeout."""
        self.refuse_to_wait("close()")
        accumulator = self.accumulator
        accumulator.refuse_more()
        deadline = math.inf if timeout is None else self.clock.monotonic() + timeout
        try:
            self.flush(None, None, timeout)
            self._finish_looks(deadline)
        except FlushTimeoutError as error:
            return error.outstanding
        except BaseException:  # Ctrl-C, say: the client goes on as before
            accumulator.accept_again()
            raise
        return 0

    def _finish_looks(self, deadline: float) -> None:
        """Wait for a moment until acknowledged batches that may be stored twice were looked for."""
        looks = self.dispatcher.second_looks
        if not looks:
            return
        timeout = max(0.0, min(_LAST_LOOKS, deadline - self.clock.monotonic()))
        left = self.thread.lead(lambda: not looks, timeout)
        with self.accumulator.lock:
            self.accumulator.flushed.wait_for(lambda: not looks, left)
            looks.give_up()

    def health(self) -> Health:
        """Return a snapshot of the client's condition."""
        with self.accumulator.lock:
            queues = self.accumulator.queues()
            queued, in_flight = unresolved(queues)
            error = self.last_error
            silence = self.clock.monotonic() - self.watch.heard_at
            return Health(
                connected=not self.watch.failing,
                leaders={(ln.topic, ln.partition): self.metadata.route(ln.topic, ln.partition).spu for ln in queues},
                records_queued=sum(batch.builder.count for batch in queued),
                bytes_queued=sum(batch.builder.payload for batch in queued),
                records_in_flight=sum(batch.builder.count for batch in in_flight),
                last_error=None if error is None else error[0],
                last_error_at=None if error is None else error[1],
                log_events_dropped=self.log_thread.dropped,
                memory_used=self.accumulator.used,
                memory_limit=self.accumulator.limit,
                disconnected_since=self.clock.time_ms() - round(1000 * silence) if self.watch.failing else None,
            )

    def refuse_to_wait(self, call: str) -> None:
        """Raise `RuntimeError` on the callback thread, and in a handler that interrupts the library."""
        if self.callbacks.is_current_thread():
            raise RuntimeError(f"{call} was called from a callback of a future, where waiting would never end")
        if self.accumulator.lock.is_mine() or self.thread.stands_still():
            raise reentered()

    def abandon(self) -> None:
        """Close this process's copies of the sockets of an engine that belongs to the parent process."""
        # A thread that does not exist here may have had it; the outcomes of the parent's records can be asked for.
        self.callbacks.lock._at_fork_reinit()  # noqa: SLF001 - as `threading` does
        self.thread.abandon()
        self.sender.abandon()


def flush_timed_out(barrier: FlushBarrier, timeout: float | None) -> FlushTimeoutError:
    """Return the error of a flush that ran out of time."""
    return FlushTimeoutError(
        f"flush() ran out of its {timeout} s with {counted(barrier.records, 'record')} still on the way",
        outstanding=barrier.records,
    )
