# SPDX-License-Identifier: Apache-2.0
"""What the decoders do accept, to begin with: captured frames, their parts, and a text that every codec compressed."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from fluvio_sync.protocol import consume, produce, watch
from fluvio_sync.protocol.compression import Codec, compressor
from fluvio_sync.protocol.frames import split_request, split_response
from tests.protocol.conftest import captured_frames

if TYPE_CHECKING:
    from typing import Any

    from tests.protocol.conftest import Captured

Seed = tuple[bytes, int]

_TEXT = b"it was a dark and stormy night; " * 20
_OF_RECORD_SETS = (
    "batch.decode_batch",
    "batch.decode_record_set",
    "batch.iter_batches",
    "batch.iter_headers",
    "batch.verify_batch",
)

_SKIMMED = {watch.WatchUpdate: "skimming.skim_update", watch.ListResponse: "skimming.skim_list"}


def seeds() -> dict[str, list[Seed]]:
    """Return bytes and numbers for the decoders, by their names."""
    found: dict[str, list[Seed]] = defaultdict(list)
    for captured in captured_frames():
        _add(found, captured)
    found["metadata.split_partition_key"] += [(b"orders-0", 0), (b"a-b-4294967295", 0)]
    for codec in Codec:
        found["compression.decompress"].append((compressor(codec)(_TEXT), codec))
    return {name: sorted(set(known)) for name, known in found.items()}


def _add(found: dict[str, list[Seed]], captured: Captured) -> None:
    kind = captured.message
    version = captured.header.api_version
    _, body = (split_request if captured.is_request else split_response)(captured.payload)
    found[f"{kind.__module__.rpartition('.')[2]}.{kind.__name__}.read"].append((bytes(body.peek()), version))
    if kind in _SKIMMED:
        found[_SKIMMED[kind]].append((bytes(body.peek()), version))
    found["frames.split_request" if captured.is_request else "frames.split_response"].append((captured.payload, 0))
    found["frames.FrameReader.feed"].append((captured.data, 3))
    for records in _record_sets(kind.read(body, version)):
        for name in _OF_RECORD_SETS:
            found[name].append((records, 0))


def _record_sets(message: Any) -> list[bytes]:
    if isinstance(message, produce.ProduceRequest):
        return [bytes(partition.records) for topic in message.topics for partition in topic.partitions]
    if isinstance(message, consume.StreamFetchResponse):
        return [bytes(message.partition.records)]
    return []
