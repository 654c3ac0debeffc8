# SPDX-License-Identifier: Apache-2.0
"""Actions: the dispatcher's decisions as values; the sender carries them out, in order, without the client's lock.

The outcomes of batches (`partition.Outcome`) are among them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from fluvio_sync._core.partition import Outcome

if TYPE_CHECKING:
    from fluvio_sync._core.looking import FirstOffsets, Look
    from fluvio_sync._core.pipeline import CommitWait, Request, SpuPipeline


class Connect(NamedTuple):
    """Make the pipeline's connection; answered by `Connected` or `Disconnected` of this generation."""

    pipeline: SpuPipeline
    generation: int


class Disconnect(NamedTuple):
    """Close the pipeline's connection; no event follows."""

    pipeline: SpuPipeline


class Write(NamedTuple):
    """Encode and write a request; answered by `Written` and `Replied`, or by `Disconnected`."""

    request: Request


class AskOffsets(NamedTuple):
    """Ask the SPU how far the partition goes; answered by `OffsetsReplied`."""

    question: CommitWait | FirstOffsets | Look


class ReadLog(NamedTuple):
    """Read the next part of the partition's log; answered by `LogRead`."""

    look: Look


class DoubtMetadata(NamedTuple):
    """Have the SC asked, if it brings nothing: an SPU does not lead a partition that the metadata says it leads."""


class AskProgress(NamedTuple):
    """Ask the pipeline's connection how much of its stream has arrived at the SPU; answered by `Progressed`."""

    pipeline: SpuPipeline


class Report(NamedTuple):
    """Log a change of state."""

    level: str
    event: str
    fields: dict[str, object]


Action = Connect | Disconnect | Write | AskOffsets | ReadLog | AskProgress | DoubtMetadata | Report | Outcome
