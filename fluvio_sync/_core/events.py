# SPDX-License-Identifier: Apache-2.0
"""Events: the facts that the sender reports to the dispatcher, as values."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from fluvio_sync._core.looking import FirstOffsets, Look
    from fluvio_sync._core.metadata import MetadataDiff
    from fluvio_sync._core.pipeline import CommitWait, Request, SpuPipeline
    from fluvio_sync.errors import FluvioError
    from fluvio_sync.protocol.batch import BatchHeader
    from fluvio_sync.protocol.error_code import ErrorCode
    from fluvio_sync.protocol.offsets import PartitionOffsets
    from fluvio_sync.protocol.produce import ProduceResponse


class Connected(NamedTuple):
    """The pipeline's connection of this generation is ready for requests."""

    pipeline: SpuPipeline
    generation: int


class Disconnected(NamedTuple):
    """The pipeline's connection of this generation could not be made, or broke."""

    pipeline: SpuPipeline
    generation: int
    error: FluvioError


class Written(NamedTuple):
    """All bytes of a request were handed to the socket."""

    request: Request


class Replied(NamedTuple):
    """The SPU answered a request."""

    request: Request
    response: ProduceResponse


class Progressed(NamedTuple):
    """The stream of the pipeline's connection of this generation has arrived up to here, as far as the system knows."""

    pipeline: SpuPipeline
    generation: int
    arrived: int


class OffsetsReplied(NamedTuple):
    """The SPU answered `AskOffsets`; `offsets` is None if it has no such request, or none to read logs with."""

    question: CommitWait | FirstOffsets | Look
    offsets: PartitionOffsets | None


class LogRead(NamedTuple):
    """The SPU answered `ReadLog` with the batches of these headers, which have `size` bytes, or with an error."""

    look: Look
    headers: list[BatchHeader]
    size: int
    error: ErrorCode


class MetadataChanged(NamedTuple):
    """The metadata cache took over an update, or the watch on the SC ended."""

    diff: MetadataDiff


Event = Connected | Disconnected | Written | Replied | Progressed | OffsetsReplied | LogRead | MetadataChanged

HANDLERS = {
    Connected: "_connected",
    Disconnected: "_disconnected",
    Written: "_written",
    Replied: "_replied",
    Progressed: "_progressed",
    OffsetsReplied: "_offsets_replied",
    LogRead: "_log_read",
    MetadataChanged: "_metadata_changed",
}
"""The methods of the dispatcher that take them."""
