# SPDX-License-Identifier: Apache-2.0
"""Producers and a cluster, real sockets and processes, and something that goes wrong at every twentieth request.

`Chaos(seed, faults).run()` sends until so many connection faults have happened, repairs everything, and compares the
log with what the futures said.  It raises `Broken` if a promise was not kept; `report()` tells what happened.  The
seed decides what goes wrong; when it does is the machine's affair, so a run cannot be repeated exactly.

Threads: the main one makes trouble, one a `Sending` sends, and each proxy has its own, in another process.
"""

from __future__ import annotations

import itertools
import os
import random
import struct
import tempfile
import threading
import time
import traceback
import uuid
from collections import Counter, deque
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

from fluvio_sync import (
    AtLeastOnce,
    AtMostOnce,
    BufferFullError,
    DeliveryError,
    FlushTimeoutError,
    Fluvio,
    RetryPolicy,
)
from fluvio_sync.testing import LocalCluster, read_partition
from tests.chaos.proxies import Proxies, Remote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fluvio_sync import DeliveryFuture
    from fluvio_sync.testing import StoredRecord

SLACK = 0.25
"""Seconds that a call may take beyond its own deadline."""

CONNECT_TIMEOUT = 2.0
REQUEST_TIMEOUT = 0.5
SERVER_TIMEOUT = 0.3
MAX_BLOCK = 1.0
MEMORY = 16_000  # which is little: a stall takes it all up
# Outlasts every fault, so that everything has to arrive.
PATIENT = RetryPolicy(max_retries=1_000_000, initial_delay=0.005, max_delay=0.1, multiplier=2, timeout=60.0)
# Gives up in time.
HASTY = RetryPolicy(max_retries=3, initial_delay=0.005, max_delay=0.1, multiplier=2, timeout=0.8)

SUDDEN = ("before", "during", "after")
"""The faults of requests that cut their connection, twice as likely as others."""

TOPICS = {"single": (6, 1), "double": (6, 2), "triple": (2, 3)}
"""Names, partitions, replicas."""

KINDS = ("before", "during", "after", "lost reply", "late", "now", "refused")
"""The connection faults that are counted."""

COUNTED = ("verified", "unverified", "duplicated", "overwritten")
"""What the clients count of records in doubt."""


class Broken(AssertionError):  # noqa: N818 - it is a promise that is broken
    """A promise was not kept."""


class Outcomes:
    """Partition and offset by a record's number, -1 for one that was not acknowledged.

    They stand in a file, since a long run checks that its process does not grow.
    """

    _layout = struct.Struct("<iq")

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - the run closes it
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return self._layout.iter_unpack(os.pread(self._file.fileno(), self._count * self._layout.size, 0))

    def append(self) -> None:
        """Add a record that is not acknowledged."""
        self._count += 1
        self.acknowledge(self._count - 1, -1, -1)

    def acknowledge(self, number: int, partition: int, offset: int) -> None:
        """Note where a record is stored."""
        os.pwrite(self._file.fileno(), self._layout.pack(partition, offset), number * self._layout.size)

    def close(self) -> None:
        """Forget them."""
        self._file.close()


class Sending(threading.Thread):
    """One thread with a producer of its own: numbers its records, and keeps the `outcomes` of their futures.

    `unstored`: numbers of the records whose errors said that they are not stored; `late`: the most seconds that a call
    overran its deadline.
    """

    def __init__(self, chaos: Chaos, name: str, client: Fluvio, topic: str, semantic: Any, **settings: Any) -> None:
        super().__init__(name=name, daemon=True)
        self.topic = topic
        self.semantic = semantic
        self.acked = isinstance(semantic, AtLeastOnce)
        self.patient = self.acked and semantic.retry_policy is PATIENT
        self.outcomes = Outcomes()
        self.unstored: list[int] = []
        self.calls: Counter[str] = Counter()
        self.late = 0.0
        self.error: BaseException | None = None
        self._chaos = chaos
        self._random = random.Random(f"{chaos.seed}-{name}")
        self._producer = client.topic_producer(
            chaos.topic_name(topic),
            delivery_semantic=semantic,
            max_block=MAX_BLOCK,
            server_timeout=SERVER_TIMEOUT,
            batch_size=settings.pop("batch_size", 4096),
            max_request_size=8192,
            **settings,
        )
        self._patience = settings.get("linger", 0.0) + (semantic.retry_policy.timeout if self.acked else 0.0)
        self._waiting: deque[tuple[int, float, DeliveryFuture]] = deque()

    def value(self, number: int) -> bytes:
        """Return a record's value."""
        return b"%s %d" % (self.name.encode(), number)

    def run(self) -> None:
        """Send until the end is near, then wait for the records that were sent."""
        try:
            while not self._chaos.ending.is_set():
                self._burst()
                self._settle(0 if self._random.random() < 0.2 else 50)
                if self._random.random() < 0.02:
                    self._flush()
            self._settle(0)
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that joins
            self.error = error
            self._chaos.ending.set()

    def _burst(self) -> None:
        draw = self._random
        size = draw.choice([1, 1, 2, 5, 30])
        partition = draw.randrange(TOPICS[self.topic][0]) if draw.random() < 0.5 else None
        key = draw.choice([None, b"a", b"b", b""])
        for _ in range(size):
            number = len(self.outcomes)
            started = time.monotonic()
            try:
                future = self._producer.send(self.value(number), key=key, partition=partition)
            except BufferFullError:
                self._count("send() on a full buffer", started, MAX_BLOCK)
                continue
            self._count("send()", started, MAX_BLOCK)
            self.outcomes.append()
            if self.acked:
                self._waiting.append((number, time.monotonic() + self._patience, future))
            elif not future.done():
                raise Broken(f"{self.name}: an at-most-once future is not done")
        if not self.acked:
            self._chaos.ending.wait(0.002)  # nothing else slows it down

    def _settle(self, rest: int) -> None:
        """Wait until at most `rest` futures are pending; those that came before are looked at in order."""
        while len(self._waiting) > rest or (self._waiting and self._waiting[0][2].done()):
            number, deadline, future = self._waiting.popleft()
            pending = not future.done()
            if pending and self._random.random() < 0.1:
                self._try_briefly(future)
            try:
                metadata = future.result(max(0.0, deadline + 10 - time.monotonic()))
            except TimeoutError as error:
                if isinstance(error, DeliveryError):
                    self._failed(number, error)
                else:
                    raise Broken(f"{self.name}: record {number} is never resolved") from error
            except DeliveryError as error:
                self._failed(number, error)
            else:
                assert metadata.offset is not None
                self.outcomes.acknowledge(number, metadata.partition, metadata.offset)
            self._count("future", deadline if pending else time.monotonic(), 0.0)

    def _try_briefly(self, future: DeliveryFuture) -> None:
        timeout = self._random.choice([0.0, 0.02])
        started = time.monotonic()
        try:
            future.result(timeout)
        except DeliveryError:
            pass
        except TimeoutError:
            self._count("result(timeout)", started, timeout)

    def _failed(self, number: int, error: DeliveryError) -> None:
        if self.patient:
            raise Broken(f"{self.name}: record {number} failed though the cluster came back: {error}") from error
        if not error.may_be_stored:
            self.unstored.append(number)

    def _flush(self) -> None:
        timeout = self._random.choice([0.0, 0.05, 0.5])
        started = time.monotonic()
        with suppress(FlushTimeoutError):
            self._producer.flush(timeout)
        self._count("flush(timeout)", started, timeout)

    def _count(self, call: str, started: float, allowed: float) -> None:
        late = time.monotonic() - started - allowed
        self.calls[call] += 1
        self.late = max(self.late, late)
        if late > SLACK:
            raise Broken(f"{self.name}: {call} took {late:.3f} s more than its {allowed:.3f} s")


class Chaos:
    """A run, against a development cluster of its own, or the one at `endpoint`, which is not broken itself.

    `ending`: set when no more is to be sent.
    """

    def __init__(self, seed: int, faults: int, endpoint: str | None = None, *, late: bool = False) -> None:
        """`late`: some requests are carried out after their connection was cut, so that records are stored twice."""
        self.seed = seed
        self._late = late
        self.cluster = LocalCluster(spus=3)
        self._endpoint = endpoint
        self._topics = {name: name if endpoint is None else f"chaos-{uuid.uuid4().hex[:8]}-{name}" for name in TOPICS}
        self.faults: Counter[str] = Counter()  # the faults of the main thread; the proxies count theirs
        self.records: Counter[str] = Counter()
        self.ending = threading.Event()
        self.seconds = 0.0
        self.memory = 0  # bytes, the most that was seen
        self.spus: dict[int, Remote] = {}
        self.sendings: list[Sending] = []
        self._wanted = faults
        self._random = random.Random(seed)
        self._stack = ExitStack()
        self._repairs: list[tuple[float, Callable[[], None]]] = []
        self._down: set[int] = set()
        self._busy: set[str] = set()  # broken now, and to be repaired before it is broken again

    def run(self) -> None:
        """Do all of it; raises `Broken`, whose text has the seed."""
        started = time.monotonic()
        try:
            with self._stack:
                self._start()
                try:
                    self._make_trouble()
                    self._repair_all()
                finally:
                    self._join()
                self._check()
        except Exception as error:
            self.seconds = time.monotonic() - started
            raise Broken(f"{error}\n{self.report()}\n{traceback.format_exc()}") from error
        self.seconds = time.monotonic() - started

    def topic_name(self, topic: str) -> str:
        """Return the name in the cluster of one of `TOPICS`."""
        return self._topics[topic]

    # --- making it -------------------------------------------------------------------------------

    def _start(self) -> None:
        if self._endpoint is None:
            self._stack.enter_context(self.cluster)
        admin = self._stack.enter_context(Fluvio.connect(self._endpoint or self.cluster.endpoint))
        engine = admin._holder.engine
        assert engine is not None
        addresses = {spu: str(engine.metadata.advertised(spu)) for spu in engine.metadata.spus}
        for topic, (partitions, replication) in TOPICS.items():
            admin.create_topic(self._topics[topic], partitions=partitions, replication=min(replication, len(addresses)))
        if self._endpoint is not None:
            for name in self._topics.values():
                self._stack.callback(admin.delete_topic, name)
        proxies = self._stack.enter_context(Proxies())
        kinds = [*SUDDEN, *SUDDEN, "lost reply", *(["late"] if self._late else [])]
        self.sc = self._stack.enter_context(proxies.make(admin.endpoint, "", []))
        self.spus = {
            spu: self._stack.enter_context(proxies.make(address, f"{self.seed}-{spu}", kinds))
            for spu, address in addresses.items()
        }
        self.clients = [self._connect() for _ in range(2)]
        self.sendings = self._sendings()
        for sending in self.sendings:
            self._stack.callback(sending.outcomes.close)
            sending.start()

    def _connect(self) -> Fluvio:
        client = Fluvio.connect(
            self.sc.endpoint,
            spu_address_override={spu: proxy.endpoint for spu, proxy in self.spus.items()},
            connect_timeout=CONNECT_TIMEOUT,
            request_timeout=REQUEST_TIMEOUT,
            buffer_memory=MEMORY,
        )
        self._stack.callback(client.close, 5)
        return client

    def _sendings(self) -> list[Sending]:
        one, two = self.clients
        patient, hasty = AtLeastOnce(PATIENT), AtLeastOnce(HASTY)
        return [
            Sending(self, "plain", one, "single", patient),
            Sending(self, "lingering", one, "single", patient, linger=0.005),
            Sending(self, "replicated", one, "double", patient),
            Sending(self, "committed", one, "double", patient, isolation="read-committed", linger=0.005),
            Sending(self, "thrice", two, "triple", patient, isolation="read-committed"),
            Sending(self, "packed", two, "double", patient, compression="gzip", batch_size=200),
            Sending(self, "hasty", two, "double", hasty),
            Sending(self, "once", two, "single", AtMostOnce(), linger=0.005),
        ]

    # --- trouble ---------------------------------------------------------------------------------

    def count(self) -> Counter[str]:
        """Return all faults so far, by kind."""
        return sum((proxy.faults for proxy in self.spus.values()), self.faults.copy())

    def connection_faults(self) -> int:
        """Return how many connection faults there were."""
        count = self.count()
        return sum(count[kind] for kind in KINDS)

    def _troubles(self) -> list[Callable[[], None]]:
        """Return the troubles of which one is drawn each time; some stand there twice."""
        troubles = [
            self._stall_spu,
            self._slow_down,
            self._cut_spu,
            self._cut_spu,
            self._half_close,
            self._refuse,
            self._refuse,
            self._cut_sc,
            self._stall_sc,
        ]
        if self._endpoint is None:
            troubles += [self._kill_spu, self._mute_spu, self._move_leader, self._move_leader, self._lose_sc]
        return troubles

    def _goes_on(self) -> bool:
        """Return whether there were too few faults yet."""
        return self.connection_faults() < self._wanted

    def _make_trouble(self) -> None:
        troubles = self._troubles()
        while self._goes_on() and not self.ending.is_set():
            self.ending.wait(0.1)  # the pace of the troubles
            self._repair(time.monotonic())
            self._check_bound()
            if self._random.random() < 0.4:
                self._random.choice(troubles)()

    def _break(self, what: str, seconds: float, repair: Callable[[], None]) -> None:
        """Note that something is broken, for so long."""

        def done() -> None:
            repair()
            self._busy.discard(what)

        self._busy.add(what)
        self._repairs.append((time.monotonic() + seconds, done))

    def _repair(self, now: float) -> None:
        due = [repair for when, repair in self._repairs if when <= now]
        self._repairs = [(when, repair) for when, repair in self._repairs if when > now]
        for repair in due:
            repair()

    def _repair_all(self) -> None:
        self._repair(float("inf"))
        self.ending.set()

    def _some_spu(self) -> int:
        return self._random.choice([spu for spu in self.spus if spu not in self._down])

    def _kill_spu(self) -> None:
        if self._down or self._busy:
            return  # one at a time, so that two replicas are enough
        spu = self._some_spu()
        self.cluster.kill_spu(spu)
        self._down.add(spu)
        self.faults["SPU killed"] += 1

        def restart() -> None:
            self.cluster.restart_spu(spu)
            self._down.discard(spu)

        self._break("cluster", self._random.choice([0.1, 0.5, 1.5]), restart)

    def _move_leader(self) -> None:
        if self._down:
            return
        topic = self._random.choice(["double", "triple"])
        partition = self._random.randrange(TOPICS[topic][0])
        leader = self.cluster.leader(topic, partition)
        self.cluster.move_leader(topic, partition, self._random.choice([spu for spu in self.spus if spu != leader]))
        self.faults["leader moved"] += 1

    def _stall_spu(self) -> None:
        self._toggle("stalled", self._some_spu(), lambda proxy, on: proxy.hold(on=on), [0.1, 0.3, 1.5])

    def _stall_sc(self) -> None:
        self._toggle("SC stalled", 0, lambda proxy, on: proxy.hold(on=on), [0.3, 1.5])

    def _slow_down(self) -> None:
        self._toggle("slow", self._some_spu(), lambda proxy, on: proxy.delay(0.02 if on else 0.0), [0.3])

    def _refuse(self) -> None:
        def refuse(proxy: Remote, on: bool) -> None:  # noqa: FBT001
            proxy.refuse(on=on)
            if on:
                proxy.cut()

        self._toggle("refused", self._some_spu(), refuse, [0.05, 0.2])

    def _toggle(self, what: str, spu: int, switch: Callable[[Remote, bool], None], durations: list[float]) -> None:
        name = f"{what} {spu}"
        if name in self._busy:
            return
        proxy = self.spus.get(spu, self.sc)
        switch(proxy, True)
        self.faults[what] += 1
        self._break(name, self._random.choice(durations), lambda: switch(proxy, False))

    def _mute_spu(self) -> None:
        if self._down or self._busy:
            return
        spu = self._some_spu()
        self.cluster.hold_replies(spu)
        self.faults["mute"] += 1
        self._break("cluster", self._random.choice([0.1, 1.0]), lambda: self.cluster.hold_replies(spu, on=False))

    def _cut_spu(self) -> None:
        self.spus[self._some_spu()].cut(reset=self._random.random() < 0.5)

    def _half_close(self) -> None:
        self.spus[self._some_spu()].half_close()
        self.faults["half-closed"] += 1

    def _cut_sc(self) -> None:
        if self._random.random() < 0.5:
            self.sc.cut(reset=self._random.random() < 0.5)
        else:
            self.sc.half_close()
        self.faults["SC cut"] += 1

    def _lose_sc(self) -> None:
        if "SC" not in self._busy:
            self.cluster.kill_sc()
            self.faults["SC killed"] += 1
            self._break("SC", self._random.choice([0.2, 1.0]), self.cluster.restart_sc)

    # --- the end ---------------------------------------------------------------------------------

    def _join(self) -> None:
        self.ending.set()
        for proxy in self.spus.values():
            proxy.be_reliable()
        deadline = time.monotonic() + PATIENT.timeout + 15
        for sending in self.sendings:
            sending.join(max(0.0, deadline - time.monotonic()))
        for sending in self.sendings:
            if sending.error is not None:
                raise sending.error
            if sending.is_alive():
                raise Broken(f"{sending.name} does not come to its end")

    def _check(self) -> None:
        for sending in self.sendings:
            sending._producer.flush(30)
        for client in self.clients:
            self._check_memory(client)
            self._await_second_looks(client)
        logs = {
            (topic, partition): [record.value for record in self._read(topic, partition)]
            for topic, (partitions, _) in TOPICS.items()
            for partition in range(partitions)
        }
        stored = Counter(itertools.chain.from_iterable(logs.values()))
        firsts = {place: _first_positions(log) for place, log in logs.items()}
        for sending in self.sendings:
            if sending.acked:
                self._check_acknowledged(sending, logs, firsts, stored)
            else:
                self._check_once(sending, firsts, stored)
        self._check_duplicates()
        violations = self.cluster.violations() if self._endpoint is None else []
        if violations:
            raise Broken(f"the client broke the protocol: {violations[:3]}")

    def _read(self, topic: str, partition: int) -> list[StoredRecord]:
        return read_partition(self.sc.target, self._topics[topic], partition, timeout=60)

    def _check_bound(self) -> None:
        for client in self.clients:
            assert client._holder.engine is not None
            used = client._holder.engine.accumulator.used
            self.memory = max(self.memory, used)
            if used > MEMORY:
                raise Broken(f"unresolved records hold {used} bytes, and {MEMORY} are allowed")

    def _check_memory(self, client: Fluvio) -> None:
        assert client._holder.engine is not None
        accumulator = client._holder.engine.accumulator
        deadline = time.monotonic() + 5
        while accumulator.used:  # it follows the futures by a moment
            if time.monotonic() > deadline:
                raise Broken(f"{accumulator.used} bytes are never given back")
            threading.Event().wait(0.01)

    def _await_second_looks(self, client: Fluvio) -> None:
        engine = client._holder.engine
        assert engine is not None
        deadline = time.monotonic() + 40
        while engine.dispatcher.second_looks:
            if time.monotonic() > deadline:
                raise Broken("a second look does not come to its end")
            threading.Event().wait(0.05)

    def _check_duplicates(self) -> None:
        """The clients counted the records that are stored more than once."""
        for client in self.clients:
            for stats in client.stats().values():
                for name in COUNTED:
                    self.records[name] += getattr(stats, f"records_{name}")
        if self.records["stored again"] > self.records["duplicated"] + self.records["unverified"]:
            raise Broken("records are stored again that were not counted")

    def _check_acknowledged(
        self,
        sending: Sending,
        logs: dict[tuple[str, int], list[bytes]],
        firsts: dict[tuple[str, int], dict[bytes, int]],
        stored: Counter[bytes],
    ) -> None:
        last: dict[int, tuple[int, int]] = {}
        for number, (partition, offset) in enumerate(sending.outcomes):
            if offset < 0:
                self.records["failed"] += 1
                continue
            value = sending.value(number)
            log = logs[sending.topic, partition]
            self.records["acknowledged"] += 1
            self.records["stored again"] += stored[value] - 1
            if offset >= len(log) or log[offset] != value:
                self.records["lost"] += 1
                raise Broken(f"{sending.name}: record {number} is not at offset {offset} of partition {partition}")
            place = firsts[sending.topic, partition][value]
            before, earlier = last.get(partition, (-1, -1))
            if place <= before:
                self.records["out of order"] += 1
                raise Broken(f"{sending.name}: record {number} first appears before {earlier}, which was sent first")
            last[partition] = place, number
        for number in sending.unstored:
            if stored[sending.value(number)]:
                raise Broken(f"{sending.name}: record {number} is stored, and its error says that it is not")

    def _check_once(
        self, sending: Sending, firsts: dict[tuple[str, int], dict[bytes, int]], stored: Counter[bytes]
    ) -> None:
        last: dict[int, int] = {}
        for number in range(len(sending.outcomes)):
            value = sending.value(number)
            self.records["at most once, sent"] += 1
            self.records["at most once, stored"] += stored[value] > 0
            if stored[value] > 1:
                raise Broken(f"{sending.name}: record {number} is stored {stored[value]} times")
            for (topic, partition), first in firsts.items():
                if topic == sending.topic and value in first:
                    # Requests that are carried out late come after others, and a real SPU may do so with those of a
                    # connection that was reset; nothing acknowledges them.
                    in_order = not self._late and self._endpoint is None
                    if in_order and first[value] <= last.get(partition, -1):
                        raise Broken(f"{sending.name}: record {number} is stored out of order")
                    last[partition] = first[value]

    def report(self) -> str:
        """Return the figures of the run, in lines."""
        count = self.count()
        connection = {kind: count[kind] for kind in KINDS}
        others = {kind: number for kind, number in sorted(count.items()) if kind not in KINDS}
        requests = sum(proxy.requests for proxy in self.spus.values())
        happened = f"{sum(connection.values())} connection faults in {requests} produce requests"
        calls: Counter[str] = Counter()
        late = 0.0
        for sending in self.sendings:
            calls += sending.calls
            late = max(late, sending.late)
        records = {"lost": 0, "out of order": 0, "stored again": 0, **self.records}
        return "\n".join(
            [
                f"seed {self.seed}: {happened} and {self.seconds:.0f} s",
                f"  connection faults: {_listed(connection)}",
                f"  besides: {_listed(others)}",
                f"  records: {_listed(records)}",
                f"  memory: at most {self.memory} of {MEMORY} bytes",
                f"  calls: {_listed(calls)}; the latest came {late:.3f} s after its deadline",
            ]
        )


def _first_positions(log: list[bytes]) -> dict[bytes, int]:
    firsts: dict[bytes, int] = {}
    for position, value in enumerate(log):
        firsts.setdefault(value, position)
    return firsts


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{number} {name}" for name, number in counts.items())
