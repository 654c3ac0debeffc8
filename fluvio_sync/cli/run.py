# SPDX-License-Identifier: Apache-2.0
"""One run of `produce`: sends the lines that are read, and reports the outcome of each.

All of it happens in the main thread; the client delivers records while more are read.
"""

from __future__ import annotations

import json
import os
import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from fluvio_sync._base import stdout
from fluvio_sync._base.stdout import OutputError
from fluvio_sync._base.text import counted
from fluvio_sync.delivery import AtMostOnce
from fluvio_sync.errors import ClosedError, DeliveryError, FlushTimeoutError, PartitionNotFoundError

if TYPE_CHECKING:
    from argparse import Namespace

    from fluvio_sync.cli.input import Lines, Whole
    from fluvio_sync.cli.screen import Screen
    from fluvio_sync.futures import DeliveryFuture
    from fluvio_sync.producer import TopicProducer
    from fluvio_sync.stats import FlushResult, ProducerStats


class SentLine(NamedTuple):
    """A record without an outcome yet: the number of its line, and its future."""

    line: int
    future: DeliveryFuture


class ProduceRun:
    """Sends lines and reports outcomes.

    `skipped`: the number of lines that were no records.
    `io_failed`: whether reading the input or writing the output failed.
    """

    _IDLE = 0.05  # seconds without input after which outcomes are looked for
    _TYPED_IDLE = 0.01  # the same where a person waits for the answer
    _PATIENCE = 1.0  # seconds that the next prompt waits for acknowledgements
    _MANY = 20_000  # unreported records from which on outcomes are looked for behind one that has none
    _MOST_SHOWN = 5  # errors that are printed; further ones are only counted

    def __init__(self, producer: TopicProducer, options: Namespace, screen: Screen, *, asks: bool) -> None:
        """`asks`: whether to ask for each line with a prompt, and to answer it with "Ok!"."""
        self.skipped: int = 0
        self.io_failed: bool = False
        self._producer = producer
        self._screen = screen
        self._asks = asks
        self._key: bytes | None = options.key
        self._separator: bytes | None = options.key_separator
        self._json: bool = options.json
        self._verbose: bool = options.verbose and options.key_separator is not None
        self._raw: bool = options.raw
        self._began = time.monotonic()
        self._line = 0
        self._sent: deque[SentLine] = deque()
        self._look_behind_at = self._MANY
        self._errors = 0
        self._unqueued = 0  # records that failed before they were queued
        self._dropped = 0  # unacknowledged when the second Ctrl-C came
        self._prompted = False
        self._answered_at = 0.0
        self._result: FlushResult | None = None

    # Sending.

    def produce(self, records: Lines | Whole) -> KeyboardInterrupt | None:
        """Send all records; returns the interrupt that stopped it before the end, if one did."""
        try:
            self._send_all(records)
        except KeyboardInterrupt as stop:
            self._screen.say("interrupted: sending the lines that were read (a second Ctrl-C drops them)")
            return stop
        except OutputError as error:
            self._stop_output(error)
        except OSError as error:
            self.io_failed = True
            self._screen.say(f"reading failed after line {self._line}: {error.strerror}")
        return None

    def _send_all(self, records: Lines | Whole) -> None:
        try:
            while (batch := records.next(self._pause())) is not None:
                if batch and self._prompted:
                    self._screen.answered()
                    self._prompted = False
                self._send(batch)
                self._examine(idle=not batch)
                if self._asks:
                    self._ask(answered=bool(batch))
        finally:
            self._screen.leave_prompt()

    def _pause(self) -> float | None:
        """Return how long to wait for input; None, for ever, only if no outcome and no prompt is due."""
        if self._asks and (self._sent or not self._prompted):
            return self._TYPED_IDLE
        return self._IDLE if self._sent else None

    def _send(self, lines: list[bytes | None]) -> None:
        numbers, records = [], []
        for line in lines:
            self._line += 1
            record = self._record(line)
            if record is not None:
                numbers.append(self._line)
                records.append(record)
        futures = self._producer.send_all(records)
        self._sent.extend(map(SentLine, numbers, futures))
        if self._verbose:
            stdout.write_bytes(b"[%b] %b\n" % (key or b"", value) for key, value in records)

    def _record(self, line: bytes | None) -> tuple[bytes | None, bytes] | None:
        if line is None:
            limit = self._producer.config.max_request_size
            self._skip("RecordTooLargeError", f"it is longer than --max-request-size ({limit} bytes)")
            return None
        if self._separator is None:
            return self._key, line
        key, separator, value = line.partition(self._separator)
        if not separator:
            self._skip("NoSeparator", f"it has no key separator {os.fsdecode(self._separator)!r}")
            return None
        return key, value

    def _skip(self, kind: str, reason: str) -> None:
        self.skipped += 1
        self._report_error(self._line, kind, f"skipped: {reason}")

    # Talking to a person.

    def _ask(self, *, answered: bool) -> None:
        """Ask for the next line once the last is acknowledged, or after `_PATIENCE`."""
        now = time.monotonic()
        if answered:
            self._answered_at = now  # more lines may have been pasted: read them before the next prompt
        elif not self._prompted and (not self._sent or now - self._answered_at > self._PATIENCE):
            if self._sent:
                self._screen.say(f"line {self._sent[0].line} is not acknowledged yet; you can go on")
            self._screen.prompt()
            self._prompted = True

    # Reporting.

    def progress(self) -> str:
        """Return the numbers of records so far in words; any thread."""
        stats = self._producer.stats()
        sent = f"{stats.records_acked:,} acknowledged"
        if isinstance(self._producer.config.delivery_semantic, AtMostOnce):
            sent = f"{stats.records_unacknowledged:,} sent"
        return f"{self._line:,} records read, {sent}, {stats.records_failed + self._unqueued:,} failed"

    def _examine(self, *, idle: bool) -> None:
        """Report the records that have an outcome, and forget them; `idle`: no input is waiting."""
        # Each record is removed before it is reported: Ctrl-C may come between any two lines of this code, and no
        # record may be reported twice.
        sent = self._sent
        while sent and sent[0].future.done():
            self._report(sent.popleft())
        if len(sent) >= self._look_behind_at or (idle and len(sent) < self._MANY):
            # One partition waits while others go on, and the client's memory bounds only records without an outcome.
            for _ in range(len(sent)):
                item = sent.popleft()
                if item.future.done():
                    self._report(item)
                else:
                    sent.append(item)
            self._look_behind_at = max(self._MANY, 2 * len(sent))
        if self._json or self._verbose:
            stdout.flush()

    def _report(self, item: SentLine) -> None:
        error = item.future.exception()
        if isinstance(error, PartitionNotFoundError):
            raise error  # there is no such --partition: all other lines would fail as well
        if isinstance(error, ClosedError):
            self._dropped += 1
        if error is not None:
            self._unqueued += not isinstance(error, DeliveryError)
            self._report_error(item.line, type(error).__name__, str(error))
        elif self._json:
            self._print_json({"line": item.line, **item.future.result()._asdict()})
        elif self._asks:
            self._confirm(item)

    def _confirm(self, item: SentLine) -> None:
        answer = "Ok!" if item.future.result().acknowledged else "Sent."
        self._screen.line(f"{answer} (line {item.line})" if self._prompted else answer)

    def _report_error(self, line: int, kind: str, message: str) -> None:
        self._errors += 1
        if self._errors <= self._MOST_SHOWN or self._asks:
            self._screen.say(f"{'the input' if self._raw else f'line {line}'}: {message}")
        elif self._errors == self._MOST_SHOWN + 1:
            self._screen.say("further errors of this kind are counted, not shown")
        if self._json:
            self._print_json({"line": line, "error": kind, "message": message})

    def _print_json(self, fields: dict[str, object]) -> None:
        stdout.write(json.dumps(fields) + "\n")

    def _stop_output(self, error: OutputError) -> None:
        self._json = self._verbose = False
        self.io_failed = True
        stdout.discard()
        self._screen.say(f"{'standard output was closed' if error.closed else error}: reading stops here")

    # Ending.

    def wait(self) -> None:
        """Wait until every sent record has an outcome."""
        if self._asks:
            try:
                self._result = self._producer.flush(self._PATIENCE)
            except FlushTimeoutError as error:
                waiting = counted(error.outstanding, "record")
                self._screen.say(f"waiting for {waiting} to be acknowledged (Ctrl-C drops the rest)")
        self._result = self._result or self._producer.flush()

    def end(self) -> FlushResult:
        """Report the last records, print the summary, and return the outcomes of all.

        Called when the client is closed, which looks a last time for records that are stored twice.
        """
        result = self._result or self._producer.flush(0)
        try:
            self._examine(idle=True)
        except OutputError as error:
            self._stop_output(error)
        parts = [f"{counted(result.acked, 'record')} acknowledged"]
        if isinstance(self._producer.config.delivery_semantic, AtMostOnce):
            parts = [f"{counted(result.unacknowledged, 'record')} sent"]
        failed = result.failed - self._dropped
        parts += [f"{failed} failed"] if failed else []
        parts += [f"{counted(self.skipped, 'input' if self._raw else 'line')} skipped"] if self.skipped else []
        parts += [f"{self._dropped} dropped"] if self._dropped else []
        parts += _doubts(self._producer.stats())
        self._screen.say(f"{', '.join(parts)} in {time.monotonic() - self._began:.2f} s")
        return result


def _doubts(stats: ProducerStats) -> list[str]:
    """Return what the run knows of records that may have been stored when they were sent again, in words."""
    found = [
        (stats.records_verified, "looked for in the log"),
        (stats.records_duplicated, "stored twice"),
        (stats.records_unverified, "possibly stored twice"),
        (stats.records_overwritten, "lost by a new leader"),
    ]
    return [f"{number} {words}" for number, words in found if number]
