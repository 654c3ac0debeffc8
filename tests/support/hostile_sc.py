# SPDX-License-Identifier: Apache-2.0
"""An SC that attacks, in a process of its own: `python -m tests.support.hostile_sc ATTACK`.

It prints the address of the SC; an SPU that answers everything is in a second process.  Topic `t` has a partition on
that SPU.  A line on standard input begins the attack, which goes on until the input ends; then it
prints how many pushes it made.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import struct
import sys
import time
from typing import TYPE_CHECKING, Any

from fluvio_sync.protocol.error_code import ErrorCode
from fluvio_sync.protocol.frames import MAX_METADATA, encode_response
from fluvio_sync.protocol.metadata import (
    ComputedReplicas,
    TopicObject,
    TopicResolution,
    TopicSpec,
    TopicStatus,
)
from fluvio_sync.protocol.primitives import Writer
from fluvio_sync.protocol.versions import API_VERSIONS, ApiVersionsResponse, ScApi
from fluvio_sync.protocol.watch import Change, WatchRequest, WatchUpdate
from tests.support.hostile import SC_KEYS, SPU_KEYS, Gone, Server, Talk, acknowledgement
from tests.support.servers import partition, spu, topic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Pushes = Iterator[tuple[str, bytes] | None]

EVERYTHING = 2**32 - 1
PARTITIONS = 100_000


def encoded(message: Any) -> bytes:
    writer = Writer()
    message.write(writer, 19)
    return writer.getvalue()


def update(label: str, *changes: Any, everything: tuple[Any, ...] = ()) -> bytes:
    return encoded(WatchUpdate(label, 1, tuple(Change(delete=False, content=item) for item in changes), everything))


def enveloped(label: str, inner: bytes) -> bytes:
    return struct.pack(">H", len(label)) + label.encode() + struct.pack(">I", len(inner)) + inner


def spu_with_addresses(count: int) -> bytes:
    """Return an update with one SPU that has so many addresses of two bytes each."""
    head = struct.pack(">H", 1) + b"s" + struct.pack(">i", 7000) + b"\0" + struct.pack(">HI", 9, count)
    tail = b"\0" + struct.pack(">HH", 0, 0) + b"\0\0\0\0"
    return enveloped("SPU", struct.pack(">qII", 1, 0, 1) + head + b"\0\0" * count + tail)


# Each yields the bodies of pushes; None in between is a pause of 10 ms.


def claims_partitions() -> Pushes:
    """A topic claims all partitions that a number can say."""
    for count in itertools.cycle([EVERYTHING, EVERYTHING - 1]):
        yield "Topic", update("Topic", topic("t", count))
        yield None


def has_addresses() -> Pushes:
    """8 MB of one SPU's addresses."""
    body = spu_with_addresses(4_000_000)
    while True:
        yield "SPU", body
        yield from [None] * 100


def has_partitions() -> Pushes:
    """All of 100,000 partitions, again and again."""
    items = [partition("t-0", 5001), *(partition(f"other-{number}", 5001) for number in range(PARTITIONS))]
    body = update("Partition", everything=tuple(items))
    while True:
        yield "Topic", update("Topic", topic("t", 1), topic("other", PARTITIONS))
        yield "Partition", body
        yield from [None] * 300


def has_topics() -> Pushes:
    """All of 100,000 topics, again and again."""
    body = update("Topic", everything=(topic("t", 1), *(topic(f"t{number}", 1) for number in range(PARTITIONS))))
    while True:
        yield "Topic", body
        yield from [None] * 300


def makes_topics() -> Pushes:
    """New topics without end."""
    for number in itertools.count():
        yield "Topic", update("Topic", *(topic(f"new-{number}-{index}", 1) for index in range(1000)))


def changes_topic() -> Pushes:
    """The topic changes as fast as can be."""
    bodies = [update("Topic", topic("t", count)) for count in (1, 2)]
    for body in itertools.cycle(bodies):
        yield "Topic", body


def changes_nothing() -> Pushes:
    """Empty updates as fast as can be."""
    body = update("Partition")
    while True:
        yield "Partition", body


def is_unreadable() -> Pushes:
    """Updates that cannot be read, as fast as can be."""
    body = enveloped("Topic", struct.pack(">qI", 1, 1) + b"\xff" * 100)
    while True:
        yield "Topic", body


def names_no_partition() -> Pushes:
    """Partitions whose names are none."""
    for name in itertools.cycle(["t", "-", "t-x", "t-99999999999", "", "t-\u0663"]):
        yield "Partition", update("Partition", partition(name, 5001))
        yield None


def has_replicas() -> Pushes:
    """A topic with a long map of replicas."""
    status = TopicStatus(TopicResolution.PROVISIONED, dict.fromkeys(range(65535), (5001, 5002, 5003)))
    body = update("Topic", TopicObject("t", TopicSpec(ComputedReplicas(1)), status))
    while True:
        yield "Topic", body
        yield None


def moves_spus() -> Pushes:
    """New SPUs without end, each with another address."""
    for number in itertools.count(10_000):
        yield "SPU", update("SPU", *(spu(number * 100 + index, port=1 + index) for index in range(100)))


ATTACKS: dict[str, Callable[[], Pushes]] = {
    attack.__name__: attack
    for attack in (
        claims_partitions,
        has_addresses,
        has_partitions,
        has_topics,
        makes_topics,
        changes_topic,
        changes_nothing,
        is_unreadable,
        names_no_partition,
        has_replicas,
        moves_spus,
    )
}
RAW = {"floods_with_frames": struct.pack(">ii", 4, 99) * 8192, "claims_a_frame": struct.pack(">i", MAX_METADATA)}
"""Attacks by bytes that are no pushes."""


def serve_spu(talk: Talk) -> None:
    talk.shake_hands(SPU_KEYS)
    while True:
        header, request = talk.produce_request()
        talk.reply(header, acknowledgement(request))


class Sc:
    """Answers as an SC, and attacks each watch once `began` is set; `pushed`: how often."""

    def __init__(self, attack: str, port: int) -> None:
        self.attack = attack
        self._pushes = ATTACKS[attack]() if attack in ATTACKS else iter(())
        self._first = next(self._pushes, None)  # which may take seconds to make
        self.began = False
        self.pushed = 0
        self._objects = {
            "SPU": (spu(5001, port=port),),
            "Partition": (partition("t-0", 5001),),
            "Topic": (topic("t", 1),),
        }

    def serve(self, talk: Talk) -> None:
        streams: dict[str, int] = {}
        while len(streams) < 3:
            header, reader = talk.request()
            if header.api_key == API_VERSIONS:
                talk.reply(header, ApiVersionsResponse(ErrorCode.NONE, SC_KEYS, "0.18.1"))
            elif header.api_key == ScApi.WATCH:
                label = WatchRequest.read(reader, header.api_version).label
                streams[label] = header.correlation_id
                talk.send(encode_response(header.correlation_id, update(label, everything=self._objects[label])))
        while not self.began:
            time.sleep(0.01)
        if self.attack in RAW:
            talk.send(RAW[self.attack])
            while True:
                time.sleep(0.01)
                talk.send(b"\0" if self.attack == "claims_a_frame" else RAW[self.attack])
                self.pushed += 1
        for push in itertools.chain([self._first], self._pushes):
            if push is None:
                time.sleep(0.01)
            else:
                label, body = push
                talk.send(encode_response(streams[label], body))
                self.pushed += 1


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    ports, tell_port = os.pipe()
    life, alive = os.pipe()  # ends with the parent
    if not os.fork():
        os.close(alive)
        with contextlib.suppress(Gone), Server(serve_spu) as server:
            os.write(tell_port, server.endpoint.rpartition(":")[2].encode())
            os.read(life, 1)
        os._exit(0)
    sc = Sc(sys.argv[1], int(os.read(ports, 100)))
    say(Server(sc.serve).endpoint)
    sys.stdin.readline()
    sc.began = True
    sys.stdin.read()
    say(str(sc.pushed))
    os._exit(0)


if __name__ == "__main__":
    main()
