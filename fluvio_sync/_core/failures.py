# SPDX-License-Identifier: Apache-2.0
"""The meaning of failures: which server codes are retried, and the errors that futures raise in the end.

Pure.  An error is made only when a caller looks at the future, one for each record: an exception that many futures
shared would grow its traceback at every raise.
"""

from __future__ import annotations

import enum
from functools import partial
from typing import TYPE_CHECKING, Any

from fluvio_sync._base.text import counted
from fluvio_sync.errors import (
    ClosedError,
    CommitTimeoutError,
    DeliveryError,
    DeliveryTimeoutError,
    FluvioError,
    RejectedError,
    RetriesExhaustedError,
    ServerError,
    TopicNotFoundError,
)
from fluvio_sync.protocol.error_code import Code

if TYPE_CHECKING:
    from collections.abc import Callable

    from fluvio_sync._core.partition import Batch
    from fluvio_sync.protocol.error_code import ErrorCode


# Seconds before the next attempt at an SPU whose disk is full, or whose partition rejects writes after a storage error:
# it needs an operator or a restart.
LONG_DELAY = 1.0


class Treatment(enum.Enum):
    """How the client treats a server's error code: (in words, whether the batch may be stored in spite of it)."""

    REFRESH = ("look the leader up again and retry", False)
    WAIT = ("retry after the policy's delay", False)
    WAIT_IN_DOUBT = ("retry after the policy's delay; it may have been stored, wholly or partly", True)
    WAIT_LONG = ("retry after a long delay; it may have been stored partly", True)
    AWAIT_COMMIT = ("it is stored; ask until it is replicated", True)
    HALVE = ("send it in two halves", False)
    REJECT = ("never retried", False)

    @property
    def may_be_stored(self) -> bool:
        """Whether the batch may be in the log in spite of the error."""
        return bool(self.value[1])


_TREATMENTS: dict[int, Treatment] = {
    Code.NOT_LEADER_FOR_PARTITION: Treatment.REFRESH,
    Code.SPU_OFFLINE: Treatment.REFRESH,
    Code.SPU_NOT_FOUND: Treatment.REFRESH,
    Code.PARTITION_NOT_LEADER: Treatment.REFRESH,
    Code.TOPIC_NOT_FOUND: Treatment.REFRESH,
    Code.TOPIC_PENDING_INITIALIZATION: Treatment.WAIT,
    Code.PARTITION_PENDING_INITIALIZATION: Treatment.WAIT,
    Code.SPU_ERROR: Treatment.WAIT_IN_DOUBT,
    Code.UNKNOWN_SERVER_ERROR: Treatment.WAIT_IN_DOUBT,
    Code.STORAGE_ERROR: Treatment.WAIT_IN_DOUBT,
    Code.PARTITION_FULL: Treatment.WAIT_LONG,
    Code.PARTITION_SHORT_CIRCUITED: Treatment.WAIT_LONG,
    Code.REQUEST_TIMED_OUT: Treatment.AWAIT_COMMIT,
    Code.MESSAGE_TOO_LARGE: Treatment.HALVE,
}


def treatment_of(code: int) -> Treatment:
    """Return the treatment of a code; a batch with any code that is not listed would be rejected again."""
    return _TREATMENTS.get(code, Treatment.REJECT)


_HINTS: dict[int, str] = {
    Code.COMPRESSION_ERROR: "the topic's compression setting does not allow this codec",
    Code.MESSAGE_TOO_LARGE: "the record is larger than the topic's segment size or than an SPU accepts; send less",
    Code.PARTITION_FULL: "the SPU's disk is full; free space or shorten the topic's retention",
    Code.PARTITION_SHORT_CIRCUITED: "the partition rejects writes after a storage error; restart its SPU",
    Code.SMART_MODULE_NOT_FOUND: "load the SmartModule into the cluster first",
}


def server_error(code: ErrorCode, topic: str, partition: int, spu: int) -> ServerError:
    """Return the cause of a failed attempt that the server answered with an error code."""
    message = f"SPU {spu} answered {code.name} ({code.code}) for topic {topic!r}, partition {partition}: {code.text}"
    hint = _HINTS.get(code.code, "")
    return ServerError(f"{message}; {hint}" if hint else message, code=code.code, name=code.name, hint=hint)


def _record(batch: Batch) -> str:
    return f"topic {batch.queue.topic!r}, partition {batch.queue.partition}"


def _effort(batch: Batch, now: float) -> str:
    return f"after {counted(batch.attempts, 'attempt')} in {now - batch.ready_at:.1f} s"


def _facts(batch: Batch, now: float) -> dict[str, Any]:
    return {
        "topic": batch.queue.topic,
        "partition": batch.queue.partition,
        "attempts": batch.attempts,
        "elapsed": now - batch.ready_at,
        "may_be_stored": batch.maybe_written,
    }


def _make(
    kind: type[DeliveryError], message: str, cause: FluvioError | None, facts: dict[str, Any], _index: int
) -> FluvioError:
    error = kind(message, hint="" if cause is None else cause.hint, **facts)
    error.__cause__ = cause
    return error


def _stored(batch: Batch) -> str:
    if batch.maybe_written:
        return "; it may have been stored; resending may duplicate it"
    return "; it is not stored"


def delivery_timed_out(batch: Batch, cause: FluvioError | None, now: float) -> Callable[[int], FluvioError]:
    """Return the maker of the error for a batch that the policy's timeout ended."""
    why = f"; the last failure: {cause}" if cause is not None else ""
    message = (
        f"{_record(batch)}: not acknowledged {_effort(batch, now)}, the policy's timeout is {batch.queue.timeout} s"
        f"{why}{_stored(batch)}"
    )
    return partial(_make, DeliveryTimeoutError, message, cause, _facts(batch, now) | {"retriable": True})


def retries_exhausted(batch: Batch, cause: FluvioError, now: float) -> Callable[[int], FluvioError]:
    """Return the maker of the error for a batch whose last attempt failed."""
    message = (
        f"{_record(batch)}: not acknowledged {_effort(batch, now)}, the last that the policy allows: "
        f"{cause}{_stored(batch)}"
    )
    return partial(_make, RetriesExhaustedError, message, cause, _facts(batch, now) | {"retriable": True})


def rejected(batch: Batch, cause: ServerError, now: float) -> Callable[[int], FluvioError]:
    """Return the maker of the error for a batch that the server rejected for good."""
    facts = _facts(batch, now) | {"code": cause.code, "name": cause.name}
    return partial(_make, RejectedError, f"{_record(batch)}: {cause}", cause, facts)


def gone(batch: Batch, reason: str, now: float) -> Callable[[int], FluvioError]:
    """Return the maker of the error for a batch whose topic or partition was deleted."""
    cause = TopicNotFoundError(reason, topic=batch.queue.topic)
    message = f"{_record(batch)}: {reason}; it was deleted after the producer was made{_stored(batch)}"
    return partial(_make, DeliveryError, message, cause, _facts(batch, now))


def unusable(batch: Batch, cause: FluvioError, now: float) -> Callable[[int], FluvioError]:
    """Return the maker of the error for a batch whose SPU speaks no version of the protocol that the client does."""
    message = f"{_record(batch)}: {cause}{_stored(batch)}"
    return partial(_make, DeliveryError, message, cause, _facts(batch, now))


def commit_timed_out(batch: Batch, base_offset: int, now: float) -> Callable[[int], FluvioError]:
    """Return the maker of the error for a read-committed batch that was stored, but not seen replicated in time."""
    message = (
        f"{_record(batch)}: stored by the leader, but not known to be replicated {_effort(batch, now)} "
        f"(the policy's timeout is {batch.queue.timeout} s); it will become visible to read-committed consumers once "
        "the replicas catch up, and is lost if the leader fails before"
    )
    facts, cause = _facts(batch, now), batch.last_error

    def make(index: int) -> FluvioError:
        offset = None if batch.queue.topic_state.may_drop_records else base_offset + index
        return _make(CommitTimeoutError, message, cause, facts | {"offset": offset}, index)

    return make


def closed(batch: Batch, owner: str, why: FluvioError | None) -> Callable[[int], FluvioError]:
    """Return the maker of the error for a batch that was unresolved when its owner, client or producer, was closed."""
    because = "" if why is None else f"; at that time: {why}"
    message = f"{_record(batch)}: the {owner} was closed before the record was acknowledged{because}{_stored(batch)}"

    def make(_index: int) -> FluvioError:
        error = ClosedError(message)
        error.__cause__ = why
        return error

    return make
