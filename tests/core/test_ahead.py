# SPDX-License-Identifier: Apache-2.0
"""What the next request of a partition carries is encoded while the SPU stores the last one."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

import pytest

from fluvio_sync.protocol.batch import BatchBuilder, decode_record_set
from fluvio_sync.protocol.compression import Codec
from tests.support.rig import Rig

if TYPE_CHECKING:
    from fluvio_sync._core.partition import Batch

VALUE = bytes(1000)


def busy(**settings: Any) -> tuple[Rig, Any]:
    """Return a rig whose partition has a request under way and full batches behind it, and the request."""
    rig = Rig(linger=0, batch_size=4096, **settings)
    rig.send(VALUE)
    rig.connect()
    (request,) = rig.connected()[0].in_flight
    for _ in range(100):
        rig.send(VALUE)
    return rig, request


def prepared(batch: Batch) -> list[bytes] | None:
    return batch.builder._prepared


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_batches_are_encoded_before_their_request_is_made(compression: str) -> None:
    rig, request = busy(compression=compression)
    waiting = list(rig.queue().sealed)
    assert len(waiting) > 20
    rig.sender.encode_ahead()
    made = [prepared(batch) for batch in waiting]
    assert all(made)
    rig.answer(request)
    (following,) = rig.connected()[0].in_flight
    assert [batch for _, batches in following.entries for batch in batches][: len(waiting)] == waiting
    for batch, sections in zip(waiting, made, strict=True):
        assert sections is not None
        assert batch.encoded is not None
        assert [id(part) for part in batch.encoded[1:]] == [id(part) for part in sections], "encoded a second time"
        assert [record.value for record in decode_record_set(b"".join(batch.encoded))[0].records] == (
            [VALUE] * batch.builder.count
        )


def test_no_more_is_encoded_than_a_request_takes() -> None:
    rig, _ = busy(limit=8 << 20)
    for _ in range(3000):
        rig.send(VALUE)
    rig.sender.encode_ahead()
    waiting = list(rig.queue().sealed)
    ahead = sum(batch.builder.size for batch in waiting if prepared(batch) is not None)
    assert 1_000_000 < ahead < 1_100_000
    assert prepared(waiting[-1]) is None


def test_a_batch_whose_sealing_was_interrupted_is_not_encoded_ahead() -> None:
    """It still takes records."""
    rig, _ = busy()
    queue = rig.queue()
    open_batch = queue.open
    assert open_batch is not None
    queue.sealed.append(open_batch)
    rig.sender.encode_ahead()
    assert prepared(open_batch) is None
    assert all(prepared(batch) for batch in list(queue.sealed)[:-1])


def test_a_step_that_waits_encodes_ahead() -> None:
    rig, _ = busy()
    rig.sender.work(0.001)
    assert all(prepared(batch) for batch in rig.queue().sealed)


def test_a_codec_that_changed_since_is_used() -> None:
    builder = BatchBuilder(0)
    builder.append(None, VALUE, 0)
    builder.prepare()
    (batch,) = decode_record_set(b"".join(builder.build(Codec.GZIP, gzip.compress)))
    assert (batch.header.codec, batch.records[0].value) == (Codec.GZIP, VALUE)
    builder.prepare(Codec.GZIP, gzip.compress)
    (batch,) = decode_record_set(b"".join(builder.build()))
    assert (batch.header.codec, batch.records[0].value) == (Codec.NONE, VALUE)


@pytest.mark.parametrize("interruptible", [False, True])
def test_an_error_is_left_to_the_request(interruptible: bool) -> None:  # noqa: FBT001
    """In a thread of the application it may be that of a signal handler."""
    rig, request = busy()
    values: list[Any] = rig.queue().sealed[0].builder._values
    values[0] = None
    rig.sender.interruptible = interruptible
    if interruptible:
        with pytest.raises(TypeError):
            rig.sender.encode_ahead()
    else:
        rig.sender.encode_ahead()
    values[0] = VALUE
    rig.sender.interruptible = False
    rig.answer(request)
    assert rig.connected()[0].in_flight, "the records go on their way"
