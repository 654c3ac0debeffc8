# SPDX-License-Identifier: Apache-2.0
"""The outcomes of the records of one producer handle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from fluvio_sync._base.threads import OwnedLock
from fluvio_sync.stats import FlushResult

if TYPE_CHECKING:
    from collections.abc import Callable

# The number of unseen failures that are remembered; raising takes one.
_REMEMBERED: Final = 100


class Unseen(NamedTuple):
    """Failed records whose futures no caller looked at.

    * `records`: their number.
    * `first_error`: the error of the first; None without one, and for records of at-most-once.
    """

    records: int
    first_error: Exception | None


class OwnerSpan:
    """Consecutive records of a batch that one handle sent: from `start` up to the next span, or the batch's end."""

    __slots__ = ("counted", "failure", "handle_stats", "start", "unseen")

    def __init__(self, start: int, handle_stats: HandleStats) -> None:
        self.start: int = start
        self.handle_stats: HandleStats = handle_stats
        self.unseen: int = 0  # failed records whose error no caller has seen
        self.failure: Callable[[], Exception] | None = None
        self.counted: bool = False


class HandleStats:
    """The outcomes of one handle's records, for `flush()`, `close()` and the end of a `with` block.

    * `whole`: the client's own, which counts the same records.
    * `closed`: the handle takes no more records.

    A span is counted once, even if it is reported again after an interruption: each change is one statement without a
    call in it, which no signal interrupts.
    """

    def __init__(self, whole: HandleStats | None = None, lock: OwnedLock | None = None) -> None:
        """`lock`: the client's for all outcomes; None: that of `whole`, or one of its own."""
        self.closed = False
        self._whole = self if whole is None else whole
        self._lock: OwnedLock = lock or (OwnedLock() if whole is None else whole._lock)
        self._unseen: dict[OwnerSpan, None] = {}
        self._acked = 0
        self._unacknowledged = 0
        self._failed = 0
        self._unseen_records = 0  # those of `_unseen`, and of spans beyond the remembered ones
        self._first_failure: Callable[[], Exception] | None = None

    def add_acked(self, span: OwnerSpan, records: int) -> None:
        """Count the records of a span that were acknowledged."""
        whole = self._whole
        with self._lock:
            if not span.counted:
                self._acked, whole._acked, span.counted = self._acked + records, whole._acked + records, True

    def add_unacknowledged(self, span: OwnerSpan, records: int) -> None:
        """Count the records of a span that at-most-once handed to the socket."""
        whole = self._whole
        with self._lock:
            if not span.counted:
                self._unacknowledged, whole._unacknowledged, span.counted = (
                    self._unacknowledged + records,
                    whole._unacknowledged + records,
                    True,
                )

    def add_dropped(self, span: OwnerSpan, records: int) -> None:
        """Count the records of a span that at-most-once lost; they raise no error."""
        whole = self._whole
        with self._lock:
            if not span.counted:
                self._failed, whole._failed, span.counted = self._failed + records, whole._failed + records, True

    def add_failed(self, span: OwnerSpan, records: int) -> None:
        """Count the records of a span that failed; `span.failure` makes the error of the first on demand."""
        whole = self._whole
        with self._lock:
            if span.counted:
                return
            unseen = span.unseen + records  # less those that were looked at in the moment since they failed
            self._remember(span, unseen)
            whole._remember(span, unseen)
            self._failed, whole._failed, self._unseen_records, whole._unseen_records, span.unseen, span.counted = (
                self._failed + records,
                whole._failed + records,
                self._unseen_records + unseen,
                whole._unseen_records + unseen,
                unseen,
                True,
            )

    def _remember(self, span: OwnerSpan, unseen: int) -> None:
        if self._first_failure is None:
            self._first_failure = span.failure
        if unseen > 0 and len(self._unseen) < _REMEMBERED:
            self._unseen[span] = None

    def looked_at(self, span: OwnerSpan) -> None:
        """Note that a caller saw the error of one failed record."""
        whole = self._whole
        with self._lock:
            if not span.counted:
                span.unseen -= 1
            elif span.unseen > 0:
                self._unseen_records, whole._unseen_records, span.unseen = (
                    self._unseen_records - 1,
                    whole._unseen_records - 1,
                    span.unseen - 1,
                )
            if span.unseen <= 0:
                self._unseen.pop(span, None)
                whole._unseen.pop(span, None)

    def take_unseen(self) -> Unseen:
        """Return the failed records whose futures no caller looked at, and count all as seen."""
        whole = self._whole
        with self._lock:
            spans, self._unseen = self._unseen, {}
            records = self._unseen_records
            whole._unseen_records, self._unseen_records = whole._unseen_records - records, 0
            for span in spans:
                whole._unseen.pop(span, None)
                span.unseen = 0
        failure = next((span.failure for span in spans), None)
        # Looking at a failure beyond the remembered ones, once it was taken, makes the next number too small.
        return Unseen(max(0, records), None if failure is None else failure())

    def take(self) -> FlushResult:
        """Return the outcomes since the last call."""
        with self._lock:
            outcomes = (self._acked, self._unacknowledged, self._failed)
            failure = self._first_failure
            self._acked = self._unacknowledged = self._failed = 0
            self._first_failure = None
        return FlushResult(*outcomes, None if failure is None else failure())
