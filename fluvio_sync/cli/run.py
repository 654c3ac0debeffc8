# SPDX-License-Identifier: Apache-2.0
"""One run of `produce`: sends what is read, and reports what becomes of it.

Everything happens in the main thread; records travel while more are read.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from fluvio_sync._wording import counted
from fluvio_sync.cli.progress import Counts
from fluvio_sync.delivery import AtMostOnce
from fluvio_sync.errors import ClosedError, DeliveryError, FlushTimeoutError, PartitionNotFoundError

if TYPE_CHECKING:
    from argparse import Namespace

    from fluvio_sync.cli.input import Lines, Whole
    from fluvio_sync.cli.screen import Screen
    from fluvio_sync.futures import DeliveryFuture
    from fluvio_sync.producer import TopicProducer
    from fluvio_sync.stats import FlushResult


class Sent(NamedTuple):
    """A record on its way: the number of its line, and its future."""

    line: int
    future: DeliveryFuture


class Run:
    """See the module's description.

    `skipped`: lines that were no records; `in_trouble`: with the input or the output, not with a record.
    """

    _IDLE = 0.05  # seconds without input after which records on their way are looked at
    _TYPED_IDLE = 0.01  # the same where a person waits for the answer
    _PATIENCE = 1.0  # seconds that the next prompt waits for acknowledgements
    _MANY = 20_000  # records on their way, beyond which resolved ones are looked for behind one that is not
    _SHOWN = 5  # troubles that are printed; the others are only counted

    def __init__(self, producer: TopicProducer, options: Namespace, screen: Screen, *, asks: bool) -> None:
        """`asks`: for each line with a prompt, and answers it with "Ok!"."""
        self.skipped = 0
        self.in_trouble = False
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
        self._size = 0
        self._sent: deque[Sent] = deque()
        self._look_behind_at = self._MANY
        self._troubles = 0
        self._refused = 0  # records that never reached a queue
        self._dropped = 0  # on their way when the second Ctrl-C came
        self._prompted = False
        self._answered_at = 0.0
        self._result: FlushResult | None = None

    # Sending.

    def produce(self, records: Lines | Whole) -> KeyboardInterrupt | None:
        """Send all records; returns what stopped it before the end, if anything did."""
        try:
            self._send_all(records)
        except KeyboardInterrupt as stop:
            self._screen.say("interrupted: sending what was read (once more drops it)")
            return stop
        except BrokenPipeError:
            self._lose_output()
        except OSError as error:
            self.in_trouble = True
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
            self._screen.end()

    def _pause(self) -> float | None:
        """Return how long to wait for input: for ever only if there is nothing else to do."""
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
        self._size += sum(map(len, filter(None, lines)))
        futures = self._producer.send_all(records)
        self._sent.extend(map(Sent, numbers, futures))
        if self._verbose:
            sys.stdout.buffer.writelines(b"[%b] %b\n" % (key or b"", value) for key, value in records)

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
        self._report_trouble(self._line, kind, f"skipped: {reason}")

    # Talking to a person.

    def _ask(self, *, answered: bool) -> None:
        """Ask for the next line once the last is acknowledged, or is not for long: the person may go on."""
        now = time.monotonic()
        if answered:
            self._answered_at = now  # more may have been pasted: look first
        elif not self._prompted and (not self._sent or now - self._answered_at > self._PATIENCE):
            if self._sent:
                self._screen.say(f"line {self._sent[0].line} is not acknowledged yet; you can go on")
            self._screen.prompt()
            self._prompted = True

    # Reporting.

    def count(self) -> Counts:
        """Return how far it is; any thread."""
        stats = self._producer.stats()
        acked = stats.records_acked + stats.records_unacknowledged
        return Counts(self._line, self._size, acked, stats.records_failed + self._refused)

    def _examine(self, *, idle: bool) -> None:
        """Report the records that are resolved, and forget them; `idle`: there is nothing else to do."""
        # In place, and forgotten first: Ctrl-C may come between any two lines, and nothing is to be reported twice.
        sent = self._sent
        while sent and sent[0].future.done():
            self._report(sent.popleft())
        if len(sent) >= self._look_behind_at or (idle and len(sent) < self._MANY):
            # One partition waits and others go on; the client's memory bounds only what is unresolved.
            for _ in range(len(sent)):
                item = sent.popleft()
                if item.future.done():
                    self._report(item)
                else:
                    sent.append(item)
            self._look_behind_at = max(self._MANY, 2 * len(sent))
        if self._json or self._verbose:
            sys.stdout.flush()

    def _report(self, item: Sent) -> None:
        error = item.future.exception()
        if isinstance(error, PartitionNotFoundError):
            raise error  # there is no such --partition: no other line would fare better
        if isinstance(error, ClosedError):
            self._dropped += 1
        if error is not None:
            self._refused += not isinstance(error, DeliveryError)
            self._report_trouble(item.line, type(error).__name__, str(error))
        elif self._json:
            self._print_json({"line": item.line, **item.future.result()._asdict()})
        elif self._asks:
            self._confirm(item)

    def _confirm(self, item: Sent) -> None:
        answer = "Ok!" if item.future.result().acknowledged else "Sent."
        self._screen.line(f"{answer} (line {item.line})" if self._prompted else answer)

    def _report_trouble(self, line: int, kind: str, message: str) -> None:
        self._troubles += 1
        if self._troubles <= self._SHOWN or self._asks:
            self._screen.say(f"{'the input' if self._raw else f'line {line}'}: {message}")
        elif self._troubles == self._SHOWN + 1:
            self._screen.say("there is more trouble of this kind; it is counted")
        if self._json:
            self._print_json({"line": line, "error": kind, "message": message})

    def _print_json(self, fields: dict[str, object]) -> None:
        sys.stdout.write(json.dumps(fields) + "\n")

    def _lose_output(self) -> None:
        self._json = self._verbose = False
        self.in_trouble = True
        # What the interpreter still has to write at its end must not fail as well.
        with open(os.devnull, "wb") as nothing:  # noqa: PTH123
            os.dup2(nothing.fileno(), sys.stdout.fileno())
        self._screen.say("standard output was closed; nothing more is read")

    # Ending.

    def wait(self) -> None:
        """Wait until everything sent is resolved."""
        if self._asks:
            try:
                self._result = self._producer.flush(self._PATIENCE)
            except FlushTimeoutError as error:
                waiting = counted(error.outstanding, "record")
                self._screen.say(f"waiting for {waiting} to be acknowledged (Ctrl-C drops what is left)")
        self._result = self._result or self._producer.flush()

    def end(self) -> FlushResult:
        """Report the last records, say how it went in one line, and return what became of all."""
        result = self._result or self._producer.flush(0)
        try:
            self._examine(idle=True)
        except BrokenPipeError:
            self._lose_output()
        parts = [f"{counted(result.acked, 'record')} acknowledged"]
        if isinstance(self._producer.config.delivery_semantic, AtMostOnce):
            parts = [f"{counted(result.unacknowledged, 'record')} sent"]
        failed = result.failed - self._dropped
        parts += [f"{failed} failed"] if failed else []
        parts += [f"{counted(self.skipped, 'input' if self._raw else 'line')} skipped"] if self.skipped else []
        parts += [f"{self._dropped} dropped"] if self._dropped else []
        self._screen.say(f"{', '.join(parts)} in {time.monotonic() - self._began:.2f} s")
        return result
