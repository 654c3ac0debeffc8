# SPDX-License-Identifier: Apache-2.0
"""Actions: the dispatcher's decisions as values; the sender carries them out, in order, without the client's lock.

The outcomes of batches (`partition.Outcome`) are among them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fluvio_sync._base.value import Value
from fluvio_sync._core.partition import Outcome

if TYPE_CHECKING:
    from fluvio_sync._core.looking import FirstOffsets, Look
    from fluvio_sync._core.pipeline import CommitWait, Request, SpuPipeline


class Connect(Value):
    """Make the pipeline's connection; answered by `Connected` or `Disconnected` of this generation."""

    __slots__ = ("generation", "pipeline")

    def __init__(self, pipeline: SpuPipeline, generation: int) -> None:
        self.pipeline = pipeline
        self.generation = generation


class Disconnect(Value):
    """Close the pipeline's connection; no event follows."""

    __slots__ = ("pipeline",)

    def __init__(self, pipeline: SpuPipeline) -> None:
        self.pipeline = pipeline


class Write(Value):
    """Encode and write a request; answered by `Written` and `Replied`, or by `Disconnected`."""

    __slots__ = ("request",)

    def __init__(self, request: Request) -> None:
        self.request = request


class AskOffsets(Value):
    """Ask the SPU how far the partition goes; answered by `OffsetsReplied`."""

    __slots__ = ("question",)

    def __init__(self, question: CommitWait | FirstOffsets | Look) -> None:
        self.question = question


class ReadLog(Value):
    """Read the next part of the partition's log; answered by `LogRead`."""

    __slots__ = ("look",)

    def __init__(self, look: Look) -> None:
        self.look = look


class DoubtMetadata(Value):
    """Have the SC asked, if it brings nothing: an SPU does not lead a partition that the metadata says it leads."""

    __slots__ = ()


class AskProgress(Value):
    """Ask the pipeline's connection how much of its stream has arrived at the SPU; answered by `Progressed`."""

    __slots__ = ("pipeline",)

    def __init__(self, pipeline: SpuPipeline) -> None:
        self.pipeline = pipeline


class Report(Value):
    """Log a change of state."""

    __slots__ = ("event", "fields", "level")

    def __init__(self, level: str, event: str, fields: dict[str, object]) -> None:
        self.level = level
        self.event = event
        self.fields = fields


Action = Connect | Disconnect | Write | AskOffsets | ReadLog | AskProgress | DoubtMetadata | Report | Outcome
