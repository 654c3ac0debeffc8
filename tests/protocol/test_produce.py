# SPDX-License-Identifier: Apache-2.0
"""Produce: the fast paths of the client make and read the same bytes as the messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluvio_sync.errors import ProtocolError
from fluvio_sync.protocol.error_code import PLAIN_CODES, ErrorCode
from fluvio_sync.protocol.frames import RequestHeader, encode_request
from fluvio_sync.protocol.primitives import Reader, Writer
from fluvio_sync.protocol.produce import (
    PartitionResult,
    ProduceRequest,
    ProduceResponse,
    TopicResult,
    produce_request_buffers,
    read_lone_response,
)
from tests.protocol.invented import I64, TEXTS, U32, invented

if TYPE_CHECKING:
    from fluvio_sync.protocol.primitives import Buffer


def encoded(message: Any, version: int) -> bytes:
    w = Writer()
    message.write(w, version)
    return w.getvalue()


def buffers_of(request: ProduceRequest, version: int = 25) -> list[Any]:
    return produce_request_buffers(
        version=version,
        correlation_id=7,
        client_id="c",
        isolation=request.isolation,
        timeout_ms=request.timeout_ms,
        topics=[
            (topic.name, [(part.partition, len(part.records), [part.records]) for part in topic.partitions])
            for topic in request.topics
        ],
        smartmodules=request.smartmodules,
    )


@given(st.data(), st.sampled_from([8, 19, 20, 21, 24, 25]))
def test_the_buffers_of_a_request_are_its_bytes_and_hold_its_records_uncopied(data: Any, version: int) -> None:
    request = data.draw(invented(ProduceRequest, version))._replace(transactional_id=None)
    buffers = buffers_of(request, version)
    body = encoded(request, version)
    assert b"".join(buffers) == encode_request(RequestHeader(0, version, 7, "c"), body)
    for part in (part for topic in request.topics for part in topic.partitions):
        assert any(buffer is part.records for buffer in buffers)


def test_a_version_below_8_is_not_written() -> None:
    with pytest.raises(ValueError, match="not written in version 7"):
        buffers_of(ProduceRequest(1, 0, ()), 7)


def test_a_negative_timeout_is_neither_written_nor_read() -> None:
    request = ProduceRequest(1, -1, ())
    with pytest.raises(ValueError, match="cannot be negative"):
        buffers_of(request)
    with pytest.raises(ProtocolError, match="timeout is negative"):
        ProduceRequest.read(Reader(encoded(request, 25)), 25)


@pytest.mark.parametrize(("partition", "length"), [(1 << 32, 0), (-1, 0), (0, 1 << 31)])
def test_a_partition_whose_numbers_do_not_fit_is_not_written(partition: int, length: int) -> None:
    with pytest.raises(ValueError, match=f"^partition {partition} with {length} bytes: "):
        produce_request_buffers(
            version=25,
            correlation_id=1,
            client_id="",
            isolation=1,
            timeout_ms=0,
            topics=[("t", [(partition, length, [])])],
        )


# --- the answer to a request of one partition ----------------------------------------------------

results = st.builds(PartitionResult, U32, st.just(ErrorCode.NONE), I64, I64, I64)
i32 = st.integers(-(2**31), 2**31 - 1)


def read_lone(data: Buffer, topic: str) -> ProduceResponse | None:
    return read_lone_response(data, topic, topic.encode())


@given(TEXTS, results, i32, st.integers(5, 25))
def test_a_lone_result_is_read_as_any_other(topic: str, result: PartitionResult, throttle: int, version: int) -> None:
    data = encoded(ProduceResponse((TopicResult(topic, (result,)),), throttle), version)
    assert read_lone(data, topic) == ProduceResponse.read(Reader(data), version)
    assert read_lone(memoryview(data), topic) == ProduceResponse.read(Reader(data), version)


@given(TEXTS, results, st.sampled_from(sorted(set(PLAIN_CODES) - {0})))
def test_any_other_answer_is_not_read_as_a_lone_result(topic: str, result: PartitionResult, code: int) -> None:
    alone = TopicResult(topic, (result,))
    for topics in (
        (TopicResult(topic, (result._replace(error_code=ErrorCode(code)),)),),
        (TopicResult(topic, (result._replace(error_code=ErrorCode(7, (1500, 0))),)),),
        (TopicResult(f"{topic}x", (result,)),),
        (TopicResult(f"x{topic}"[: len(topic)], (result,)),) if topic.strip("x") else (),
        (TopicResult(topic, (result, result)),),
        (alone, alone),
        (),
    ):
        assert read_lone(encoded(ProduceResponse(topics), 25), topic) is None
    data = encoded(ProduceResponse((alone,)), 25)
    count = 6 + len(topic.encode())  # the place of the number of partitions
    two_partitions = data[:count] + b"\0\0\0\2" + data[count + 4 :]
    for damaged in (data[:-1], data + b"\0", b"\0\0\0\2" + data[4:], two_partitions):
        assert read_lone(damaged, topic) is None
