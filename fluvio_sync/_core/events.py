# SPDX-License-Identifier: Apache-2.0
"""Events: the facts that the sender reports to the dispatcher, as values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fluvio_sync._base.value import Value

if TYPE_CHECKING:
    from fluvio_sync._core.looking import FirstOffsets, Look
    from fluvio_sync._core.metadata import MetadataDiff
    from fluvio_sync._core.pipeline import CommitWait, Request, SpuPipeline
    from fluvio_sync.errors import FluvioError
    from fluvio_sync.protocol.batch import BatchHeader
    from fluvio_sync.protocol.error_code import ErrorCode
    from fluvio_sync.protocol.offsets import PartitionOffsets
    from fluvio_sync.protocol.produce import ProduceResponse


class Connected(Value):
    """The pipeline's connection of this generation is ready for requests."""

    __slots__ = ("generation", "pipeline")

    def __init__(self, pipeline: SpuPipeline, generation: int) -> None:
        self.pipeline = pipeline
        self.generation = generation


class Disconnected(Value):
    """The pipeline's connection of this generation could not be made, or broke."""

    __slots__ = ("error", "generation", "pipeline")

    def __init__(self, pipeline: SpuPipeline, generation: int, error: FluvioError) -> None:
        self.pipeline = pipeline
        self.generation = generation
        self.error = error


class Written(Value):
    """All bytes of a request were handed to the socket."""

    __slots__ = ("request",)

    def __init__(self, request: Request) -> None:
        self.request = request


class Replied(Value):
    """The SPU answered a request."""

    __slots__ = ("request", "response")

    def __init__(self, request: Request, response: ProduceResponse) -> None:
        self.request = request
        self.response = response


class Progressed(Value):
    """The stream of the pipeline's connection of this generation has arrived up to here, as far as the system knows."""

    __slots__ = ("arrived", "generation", "pipeline")

    def __init__(self, pipeline: SpuPipeline, generation: int, arrived: int) -> None:
        self.pipeline = pipeline
        self.generation = generation
        self.arrived = arrived


class OffsetsReplied(Value):
    """The SPU answered `AskOffsets`; `offsets` is None if it has no such request, or none to read logs with."""

    __slots__ = ("offsets", "question")

    def __init__(self, question: CommitWait | FirstOffsets | Look, offsets: PartitionOffsets | None) -> None:
        self.question = question
        self.offsets = offsets


class LogRead(Value):
    """The SPU answered `ReadLog` with the batches of these headers, which have `size` bytes, or with an error."""

    __slots__ = ("error", "headers", "look", "size")

    def __init__(self, look: Look, headers: list[BatchHeader], size: int, error: ErrorCode) -> None:
        self.look = look
        self.headers = headers
        self.size = size
        self.error = error


class MetadataChanged(Value):
    """The metadata cache took over an update, or the watch on the SC ended."""

    __slots__ = ("diff",)

    def __init__(self, diff: MetadataDiff) -> None:
        self.diff = diff


Event = Connected | Disconnected | Written | Replied | Progressed | OffsetsReplied | LogRead | MetadataChanged
