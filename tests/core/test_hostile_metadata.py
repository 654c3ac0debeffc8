# SPDX-License-Identifier: Apache-2.0
"""An SC that pushes nonsense: it costs the records that it concerns, and no time or memory that grows with a claim."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any

import pytest

from fluvio_sync._core import metadata as cache
from fluvio_sync._core.metadata import Metadata, kept
from fluvio_sync.errors import ProtocolError
from fluvio_sync.protocol.message import Message
from fluvio_sync.protocol.metadata import (
    AssignedReplicas,
    Deduplication,
    HomePartition,
    IngressAddr,
    IngressPort,
    PartitionMap,
    PartitionResolution,
    SpuObject,
    TopicObject,
    TopicResolution,
    TopicSpec,
    TopicStatus,
)
from fluvio_sync.protocol.primitives import Reader, Writer
from fluvio_sync.protocol.skimming import MAX_OBJECT_ELEMENTS, skim_list, skim_update
from fluvio_sync.protocol.watch import Change, ListResponse, WatchUpdate
from tests.support.rig import Rig, reports
from tests.support.servers import partition, spu, topic

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fluvio_sync.futures import DeliveryFuture

VERSION = 19
EVERYTHING = 2**32 - 1
TEXTS = [
    "",
    "\0",
    "a..b",
    ".",
    "-",
    "t-",
    "-0",
    "t-x",
    "t-\u0663",
    "x" * 255,
    "\x1b[2J\r\n",
    "-rf",
    "[::1]",
    "0",
    "\U0001f600",
]
NUMBERS = [0, 1, -1, 2**15 - 1, 2**16 - 1, 2**31 - 1, -(2**31), 2**32 - 1, 2**63 - 1, -(2**63), 2**64 - 1]


def encoded(message: Any) -> bytes:
    writer = Writer()
    message.write(writer, VERSION)
    return writer.getvalue()


def can_be_written(message: Any) -> bool:
    try:
        encoded(message)
    except (ValueError, TypeError, KeyError, AttributeError):  # None may stand for a value of any type
        return False
    return True


def variants(message: Message) -> Iterator[Any]:
    """Return a message with one field anywhere in it replaced by a value of its type that makes no sense."""
    for name in message._fields:
        for value in values_like(getattr(message, name)):
            changed = message.replace(**{name: value})
            if can_be_written(changed):
                yield changed


def values_like(value: Any) -> Iterator[Any]:
    if isinstance(value, Message):
        yield from variants(value)
    elif isinstance(value, enum.Enum):
        yield from type(value)
    elif isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from NUMBERS
    elif isinstance(value, str):
        yield from TEXTS
    elif isinstance(value, tuple):
        yield ()
        yield value * 50
        for item in value[:1]:
            yield from ((other,) for other in values_like(item))
    elif value is None:
        yield from (*TEXTS, *NUMBERS)


OBJECTS: dict[str, Any] = {
    "SPU": spu(5002, rack="r"),
    "Partition": partition("u-0", 5002),
    "Topic": TopicObject("u", TopicSpec(), TopicStatus(TopicResolution.PROVISIONED, {0: (5002,)}, reason="why")),
}


def deliver(rig: Rig) -> DeliveryFuture:
    """Send a record, and have every connection made and every request answered."""
    future = rig.send()
    for _ in range(20):
        rig.connect()
        for pipeline in rig.connected():
            for request in [*pipeline.in_flight]:
                rig.answer(request)
        if future.done():
            break
        rig.step(0.05)
    return future


@pytest.mark.parametrize("everything", [False, True])
@pytest.mark.parametrize("label", OBJECTS)
def test_fields_that_make_no_sense_cost_the_records_that_they_concern(
    label: str, *, everything: bool, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig()
    count = 0
    for nonsense in variants(OBJECTS[label]):
        if everything:
            rig.servers.tell(label, everything=(*rig.servers.objects[label].values(), nonsense))
        else:
            rig.servers.tell(label, changes=(Change(delete=False, content=nonsense),))
        rig.step()
        # It may have been about the topic, the partition or the SPU of the records.
        rig.push("Topic", [topic("t", 1)])
        rig.push("Partition", [partition("t-0", 5001)])
        rig.push("SPU", [spu(5001)])
        assert deliver(rig).result(0).acknowledged, nonsense
        count += 1
    assert count > 50
    assert "internal_error" not in caplog.text


# Claims.


def test_the_partitions_that_a_topic_claims_are_not_gone_over() -> None:
    metadata = Metadata()
    metadata.begin()
    metadata.apply(WatchUpdate("SPU", 0, all=(spu(5001),)))
    metadata.apply(WatchUpdate("Partition", 0, all=(partition("t-0", 5001), partition("t-7", 5001))))
    metadata.apply(WatchUpdate("Topic", 0, all=(topic("t", EVERYTHING),)))
    assert metadata.partition_count("t") == EVERYTHING
    assert metadata.available("t") == (0, 7)
    assert metadata.known_partitions("t") == 2


def test_records_go_on_while_a_topic_claims_all_partitions() -> None:
    rig = Rig()
    rig.push("Topic", [topic("t", EVERYTHING)])
    assert not rig.engine._is_created("t")
    assert deliver(rig).result(0).acknowledged


def test_available_partitions_follow_every_change() -> None:
    metadata = Metadata()
    metadata.begin()
    offline = partition("t-1", 5001).replace(
        status=partition("t-1", 5001).status.replace(resolution=PartitionResolution.OFFLINE)
    )
    steps: list[tuple[WatchUpdate, tuple[int, ...], int]] = [
        (WatchUpdate("Topic", 0, all=(topic("t", 3), topic("t-1", 1))), (), 0),
        (WatchUpdate("Partition", 0, all=tuple(partition(f"t-{n}", 5001) for n in (2, 0, 1))), (0, 1, 2), 3),
        (WatchUpdate("Partition", 0, (Change(delete=False, content=offline),)), (0, 2), 3),
        (WatchUpdate("Partition", 0, (Change(delete=False, content=offline),)), (0, 2), 3),
        (WatchUpdate("Topic", 0, (Change(delete=False, content=topic("t", 2)),)), (0,), 3),
        (WatchUpdate("Partition", 0, (Change(delete=True, content=partition("t-2", 5001)),)), (0,), 2),
        (WatchUpdate("Partition", 0, (Change(delete=True, content=partition("t-2", 5001)),)), (0,), 2),
        (WatchUpdate("Topic", 0, (Change(delete=False, content=topic("t", 3)),)), (0,), 2),
        (WatchUpdate("Partition", 0, all=(partition("t-1-0", 5001), partition("t-1", 5001))), (1,), 1),
    ]
    for update, available, count in steps:
        metadata.apply(update)
        assert (metadata.available("t"), metadata.known_partitions("t")) == (available, count)
    assert metadata.available("t-1") == (0,)


@pytest.mark.parametrize(
    ("label", "make"),
    [("Topic", lambda number: topic(f"new-{number}", 1)), ("SPU", lambda number: spu(7000 + number))],
)
def test_objects_without_end_are_not_taken(
    label: str, make: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cache, "MAX_OBJECTS", 5)
    monkeypatch.setattr(cache, "MAX_SPUS", 5)
    rig = Rig()
    for number in range(20):
        rig.push(label, [make(number)])
    assert len(rig.metadata.topics) + len(rig.metadata.spus) == {"Topic": 7, "SPU": 6}[label]
    assert reports(rig.step()).count("metadata.too_large") <= 1
    assert caplog.text.count("metadata.too_large") == 1
    rig.push(label, [make(0)], delete=True)
    rig.push(label, [make(30)])
    assert make(30).name in {*rig.metadata.topics, *(item.name for item in rig.metadata.spus.values())}


# Long pushes.


def test_a_long_push_is_read_and_taken_over_in_parts_between_other_work() -> None:
    rig = Rig()
    assert deliver(rig).result(0).acknowledged
    rig.push("Topic", [topic("other", 3000)])
    many = [partition("t-0", 5001), *(partition(f"other-{number}", 5002) for number in range(3000))]
    rig.servers.tell("Partition", everything=tuple(many))
    future = rig.send()
    rig.sender.work(0.0)
    (pipeline,) = rig.connected()
    rig.answer(pipeline.in_flight[0])
    assert future.result(0).acknowledged
    known: list[int] = []
    while not known or known[-1] < 3001:
        rig.sender.prepare()
        rig.sender.work(0.0)
        known.append(len(rig.metadata.partitions))
        assert len(known) < 500
    assert len(known) > 40
    assert len({*known}) >= 3, "it was taken over at once"
    assert rig.metadata.available("other") == tuple(range(3000))


def test_small_pushes_that_arrive_together_are_taken_over_together() -> None:
    rig = Rig()
    rig.servers.tell("Topic", changes=(Change(delete=False, content=topic("new", 40)),))
    for number in range(40):
        rig.servers.tell("Partition", changes=(Change(delete=False, content=partition(f"new-{number}", 5001)),))
    rig.sender.work(0.0)
    assert rig.metadata.available("new") == tuple(range(40))


def test_a_renamed_spu_stays() -> None:
    rig = Rig()
    renamed = spu(5001).replace(name="another")
    rig.list_all("SPU", [renamed, spu(5002)])
    assert {*rig.metadata.spus} == {5001, 5002}
    assert rig.metadata.spu_name(5001) == "another"
    rig.list_all("SPU", [spu(5003).replace(name="another")])
    assert {*rig.metadata.spus} == {5003}


def test_a_topic_that_is_made_again_in_one_push_is_never_gone() -> None:
    rig = Rig()
    others = [topic(f"other-{number}", 1) for number in range(500)]
    changes = [
        Change(delete=True, content=topic("t", 1)),
        *(Change(delete=False, content=item) for item in others),
        Change(delete=False, content=topic("t", 1)),
    ]
    future = rig.send()
    rig.servers.tell("Topic", changes=tuple(changes))
    absent = 0
    for _ in range(200):
        rig.sender.prepare()
        rig.sender.work(0.0)
        absent += "t" not in rig.metadata.topics
        assert not rig.metadata.route("t", 0).gone
    assert absent
    assert not future.done()
    assert deliver(rig).result(0).acknowledged


def test_updates_wait_at_the_sc_while_those_before_are_taken_over() -> None:
    rig = Rig()
    items = tuple(partition("t-0", 5001).replace(name="t-0") for _ in range(2000))
    for _ in range(100):
        rig.servers.tell("Partition", everything=items)
    waiting = 0
    for _ in range(400):
        rig.sender.prepare()
        rig.sender.work(0.0)
        waiting = max(waiting, len(rig.sender._watch._untaken))
    assert waiting <= 1


def test_a_push_that_ends_the_connection_half_way_is_forgotten() -> None:
    rig = Rig()
    rig.servers.tell("Partition", everything=tuple(partition(f"other-{number}", 5002) for number in range(3000)))
    rig.sender.work(0.0)
    rig.lose_sc()
    rig.servers.sc_online = True
    rig.run(1.0)
    assert rig.metadata.complete
    assert list(rig.metadata.partitions) == [("t", 0)]


def skimmed(data: bytes, reading: Any = skim_update) -> Any:
    """Return what is read, and the parts."""
    parts = reading(Reader(data), VERSION, kept)
    sizes = []
    while True:
        try:
            sizes.append(next(parts))
        except StopIteration as end:
            return end.value, sizes


def test_what_is_read_in_parts_is_what_is_read_at_once() -> None:
    items = tuple(partition(f"t-{number}", number) for number in range(500))
    changes = tuple(Change(delete=bool(number % 2), content=item) for number, item in enumerate(items))
    update = WatchUpdate("Partition", 7, changes, items)
    found, sizes = skimmed(encoded(update))
    assert len(sizes) > 10
    assert max(sizes) < 5000
    assert (found.label, found.epoch) == ("Partition", 7)
    assert [change.delete for change in found.changes] == [change.delete for change in changes]
    for given, read in ((items, found.all), (items, [change.content for change in found.changes])):
        assert [(item.name, item.spec.leader, item.status.resolution) for item in read] == [
            (item.name, item.spec.leader, item.status.resolution) for item in given
        ]
    answer = ListResponse("Topic", (topic("a", 1), topic("b", 2)))
    listed, _ = skimmed(encoded(answer), skim_list)
    assert [(item.name, item.spec.partition_count) for item in listed] == [("a", 1), ("b", 2)]


def assigned(count: int) -> Any:
    maps = tuple(PartitionMap(number, (5001,)) for number in range(count))
    return topic("t", 1).replace(spec=TopicSpec(AssignedReplicas(maps)))


def uneven(count: int) -> Any:
    maps = tuple(PartitionMap(number, (5001,) * (1 + number % 2)) for number in range(count))
    return topic("t", 1).replace(spec=TopicSpec(AssignedReplicas(maps)))


def with_parameters(count: int) -> Any:
    parameters = {str(number): "x" * 30_000 for number in range(count)}
    return topic("t", 1).replace(spec=TopicSpec(deduplication=Deduplication(1, None, "f", parameters)))


def with_host(host: str) -> Any:
    return spu(5001).spec.replace(public_endpoint=IngressPort(1, (IngressAddr(host),)))


def with_replicas(*replicas: tuple[int, ...]) -> Any:
    return topic("t", 1).replace(status=TopicStatus(TopicResolution.PROVISIONED, dict(enumerate(replicas))))


def test_of_objects_those_parts_are_kept_that_are_asked_for() -> None:
    for count in (1, 3, 60_000):
        (found,) = skimmed(encoded(WatchUpdate("Topic", 0, all=(assigned(count),))))[0].all
        assert found == topic("t", count)
    mixed = AssignedReplicas(
        (PartitionMap(0, (1,)), PartitionMap(1, (1, 2)), PartitionMap(2, (), HomePartition("h", "r")))
    )
    (found,) = skimmed(encoded(WatchUpdate("Topic", 0, all=(topic("t", 1).replace(spec=TopicSpec(mixed)),))))[0].all
    assert found == topic("t", 3)
    addresses = (IngressAddr("a"), IngressAddr("b"))
    many = spu(5001).replace(spec=spu(5001).spec.replace(public_endpoint=IngressPort(1, addresses)))
    (found,) = skimmed(encoded(WatchUpdate("SPU", 0, all=(many,))))[0].all
    assert isinstance(found, SpuObject)
    assert found.spec.public_endpoint.ingress == addresses[:1]
    for replicas in ([(5001, 5002)] * 60_000, [(5001,), (5001, 5002), ()]):
        (found,) = skimmed(encoded(WatchUpdate("Topic", 0, all=(with_replicas(*replicas),))))[0].all
        assert found == topic("t", 1)


@pytest.mark.parametrize(
    ("label", "item", "text"),
    [
        ("Topic", topic("x" * 129, 1), "a name of 129 characters; the limit is 128 bytes"),
        ("Topic", uneven(MAX_OBJECT_ELEMENTS), "too many elements"),
        ("SPU", spu(5001, rack="r" * 30_000).replace(name="n" * 254), "254 characters"),
        ("Topic", with_parameters(5), "too long strings"),
        ("SPU", spu(5001, rack="r").replace(spec=with_host("h" * 254)), "254 characters"),
        ("Topic", with_replicas(*[(5001,)] * MAX_OBJECT_ELEMENTS, ()), "too many elements"),
        ("Topic", topic("\U0001f600" * 64, 1), "64 characters; the limit is 128 bytes"),
        ("Partition", partition("t", 5001), "not the name of a partition"),
    ],
    ids=["name", "elements", "long name", "strings", "host", "uneven replicas", "long letters", "partition"],
)
def test_objects_beyond_the_limits_are_refused(label: str, item: Any, text: str) -> None:
    with pytest.raises(ProtocolError, match=text):
        skimmed(encoded(WatchUpdate(label, 0, all=(item,))))


def test_more_objects_than_are_taken_are_refused_before_one_is_read() -> None:
    claim = encoded(WatchUpdate("Topic", 0))[:-4] + (2**17 + 1).to_bytes(4, "big") + bytes(2**24)
    claim = claim.replace((16).to_bytes(4, "big"), (16 + 2**24).to_bytes(4, "big"), 1)
    with pytest.raises(ProtocolError, match="too many elements"):
        skimmed(claim)
