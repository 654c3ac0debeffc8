# SPDX-License-Identifier: Apache-2.0
"""The command `fluvio-sync`: a function for each of its commands.

Exit status: 0; 1 if a record failed, a line was skipped or the cluster could not be used; 2 for wrong usage; 128 and
the signal's number if Ctrl-C or SIGTERM ended it.  What goes wrong is one line on standard error.

Threads: everything happens in the main thread, but for the reading of the input, which may block at any time.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import re
import signal
import sys
import threading
import time
from collections import deque
from queue import Empty, Queue
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, NoReturn

from fluvio_sync._version import __version__
from fluvio_sync.client import Fluvio
from fluvio_sync.config import Compression, ProducerConfig
from fluvio_sync.delivery import AtMostOnce
from fluvio_sync.errors import ClosedError, ConfigError, FluvioError, PartitionNotFoundError
from fluvio_sync.partitioner import SpecificPartitioner

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    from fluvio_sync.futures import DeliveryFuture
    from fluvio_sync.producer import TopicProducer
    from fluvio_sync.stats import FlushResult

_FAILED = 1
_USAGE = 2

# Seconds: a topic may have been created by the command before; more often its name is mistyped.
_TOPIC_TIMEOUT = 3.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line (default: the process's own) and return the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["dev-cluster"]:
        return dev_cluster(arguments[1:])
    options = _parser().parse_args(arguments)
    _show_warnings()
    try:
        return produce(options)
    except ConfigError as error:
        _say(str(error))
        return _USAGE
    except FluvioError as error:
        _say(str(error))
        return _FAILED
    except KeyboardInterrupt as stop:
        _say("interrupted")
        return _status_of(stop)


# The command line.


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fluvio-sync", description="Produce to a Fluvio cluster.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"fluvio-sync {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_produce(
        commands.add_parser("produce", help="produce the lines of a file or of standard input", allow_abbrev=False)
    )
    commands.add_parser("dev-cluster", help="run a cluster on this machine, for development and tests")
    return parser


def _add_produce(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Produce every line as a record, without its line feed; empty lines are records, too, and lines may hold any "
        "bytes. Ctrl-C sends what was read, and a second one drops it."
    )
    parser.epilog = (
        "Exit status: 0; 1 if a record failed, a line was skipped or the cluster could not be used; 2 for wrong usage; "
        "130 after Ctrl-C, 143 after SIGTERM."
    )
    parser.add_argument("topic", metavar="TOPIC")
    parser.add_argument("-f", "--file", metavar="FILE", help="read this file (default: standard input)")
    _add_cluster(parser)
    keys = parser.add_mutually_exclusive_group()
    keys.add_argument("--key", metavar="KEY", type=os.fsencode, help="the key of every record")
    keys.add_argument(
        "--key-separator",
        metavar="SEP",
        type=_separator,
        help="a line is a key, SEP and a value; a line without SEP is skipped",
    )
    parser.add_argument("-p", "--partition", metavar="N", type=int, help="send every record to this partition")
    parser.add_argument("--linger", metavar="TIME", type=_duration, help="wait for more records, e.g. 5ms or 0.005")
    parser.add_argument("--batch-size", metavar="BYTES", type=int, help="close a batch at this size (16384)")
    parser.add_argument("--max-request-size", metavar="BYTES", type=int, help="refuse larger records (1048576)")
    codecs = ", ".join(codec.value for codec in Compression)
    parser.add_argument("--compression", metavar="CODEC", help=f"{codecs} (default: the topic's)")
    parser.add_argument("--delivery-semantic", metavar="NAME", help="at-least-once (default) or at-most-once")
    parser.add_argument("--isolation", metavar="NAME", help="read-uncommitted (default) or read-committed")
    parser.add_argument("--json", action="store_true", help="print what became of each record, as a line of JSON")


def _add_cluster(parser: argparse.ArgumentParser) -> None:
    """Add what every command that talks to a cluster takes."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "-c",
        "--cluster",
        metavar="HOST:PORT",
        help="the cluster's SC (default: $FLUVIO_SYNC_ENDPOINT, else the profile's)",
    )
    where.add_argument("-P", "--profile", metavar="NAME", help="the cluster of this profile (default: the current one)")


def _separator(text: str) -> bytes:
    if not text:
        raise argparse.ArgumentTypeError("it must not be empty")
    return os.fsencode(text)


_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "": 1.0, "m": 60.0}


def _duration(text: str) -> float:
    """Return seconds."""
    found = re.fullmatch(r"(\d+|\d*\.\d+)(us|ms|s|m|)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration such as 5ms, 1.5s or 0.005")
    return float(found[1]) * _UNITS[found[2]]


# The commands.


def dev_cluster(arguments: Sequence[str]) -> int:
    """Run a development cluster until it is interrupted."""
    from fluvio_sync.testing import dev_cluster as command  # noqa: PLC0415 - producing does not need it

    return command.main(arguments)


def produce(options: argparse.Namespace) -> int:
    """Produce the lines of a file or of standard input."""
    config = _producer_config(options)
    try:
        lines = _Lines(_open_input(options.file), config.max_request_size)
    except OSError as error:
        _say(f"cannot read {options.file or 'standard input'}: {error.strerror}")
        return _USAGE
    signal.signal(signal.SIGTERM, _terminate)
    client = Fluvio.connect(options.cluster, profile=options.profile, metadata_timeout=_TOPIC_TIMEOUT)
    try:
        run = _Run(client.topic_producer(options.topic, config), options)
        try:
            stop = run.produce(lines)
            run.wait()
        except KeyboardInterrupt as again:
            stop = again
            client.close(0)
        result = run.end()
    finally:
        client.close()  # not `with`, which would raise the first failure: they have been reported
    if stop is not None:
        return _status_of(stop)
    return _FAILED if result.failed or run.skipped or run.in_trouble else 0


def _producer_config(options: argparse.Namespace) -> ProducerConfig:
    names = ("linger", "batch_size", "max_request_size", "compression", "delivery_semantic", "isolation")
    settings = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    if options.partition is not None:
        settings["partitioner"] = SpecificPartitioner(options.partition)
    # Whoever pipes data in wants it held back, not refused: the records' own deadlines end the wait.
    return ProducerConfig.from_settings(None, settings | {"max_block": 1e6})


def _open_input(path: str | None) -> BinaryIO:
    # Unbuffered, so that a read returns as soon as there is something.
    if path is not None:
        return open(path, "rb", buffering=0)  # noqa: PTH123 - the reading thread closes it
    if sys.stdin is None:
        raise OSError(0, "it is closed")
    return open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)


class _Lines:
    """The lines of a stream, as they come.  `limit`: bytes; a longer line is not kept."""

    _CHUNK = 65_536

    def __init__(self, stream: BinaryIO, limit: int) -> None:
        self._stream = stream
        self._limit = limit
        self._chunks: Queue[bytes | OSError] = Queue(maxsize=4)
        self._started: list[bytes] = []  # the pieces of a line whose end has not come
        self._size = 0  # and their bytes, the dropped ones included
        self._ended = False
        threading.Thread(target=self._read, name="fluvio-sync-input", daemon=True).start()

    def _read(self) -> None:
        try:
            while chunk := self._stream.read(self._CHUNK):
                self._chunks.put(chunk)
            self._chunks.put(b"")
        except OSError as error:
            self._chunks.put(error)

    def next(self, timeout: float | None) -> list[bytes | None] | None:
        """Return the next lines, None for one that is too long; an empty list after `timeout` seconds, None at the end.

        OSError if the stream cannot be read.
        """
        if self._ended:
            return None
        try:
            chunk = self._chunks.get(timeout=timeout)
        except Empty:
            return []
        if isinstance(chunk, OSError):
            raise chunk
        if not chunk:
            self._ended = True
            return [self._end_line()] if self._size else None
        first, *others = chunk.split(b"\n")
        self._continue_line(first)
        if not others:
            return []
        lines = [self._end_line(), *others[:-1]]
        self._continue_line(others[-1])
        return lines

    def _continue_line(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size <= self._limit:
            self._started.append(piece)
        else:
            self._started.clear()

    def _end_line(self) -> bytes | None:
        line = b"".join(self._started) if self._size <= self._limit else None
        self._started.clear()
        self._size = 0
        return line


class _Sent(NamedTuple):
    """A record on its way: the number of its line, and its future."""

    line: int
    future: DeliveryFuture


class _Run:
    """One run of `produce`: sends lines, and reports what becomes of them."""

    _IDLE = 0.05  # seconds without input after which records on their way are looked at
    _MANY = 20_000  # records on their way, beyond which resolved ones are looked for behind one that is not
    _SHOWN = 5  # troubles that are printed; the others are only counted

    def __init__(self, producer: TopicProducer, options: argparse.Namespace) -> None:
        self.skipped = 0
        self.in_trouble = False  # with the input or the output, not with a record
        self._producer = producer
        self._key: bytes | None = options.key
        self._separator: bytes | None = options.key_separator
        self._json: bool = options.json
        self._began = time.monotonic()
        self._line = 0
        self._sent: deque[_Sent] = deque()
        self._look_behind_at = self._MANY
        self._troubles = 0
        self._dropped = 0  # on their way when the second Ctrl-C came
        self._result: FlushResult | None = None

    def produce(self, lines: _Lines) -> KeyboardInterrupt | None:
        """Send all lines; returns what stopped it before the end, if anything did."""
        try:
            while (batch := lines.next(self._IDLE if self._sent else None)) is not None:
                self._send(batch)
                self._examine(idle=not batch)
        except KeyboardInterrupt as stop:
            _say("interrupted: sending what was read (once more drops it)")
            return stop
        except BrokenPipeError:
            self._lose_output()
        except OSError as error:
            self.in_trouble = True
            _say(f"reading failed after line {self._line}: {error.strerror}")
        return None

    def _send(self, lines: list[bytes | None]) -> None:
        numbers, records = [], []
        for line in lines:
            self._line += 1
            record = self._record(line)
            if record is not None:
                numbers.append(self._line)
                records.append(record)
        futures = self._producer.send_all(records)
        self._sent.extend(map(_Sent, numbers, futures))

    def _record(self, line: bytes | None) -> tuple[bytes | None, bytes] | None:
        if line is None:
            limit = self._producer.config.max_request_size
            self._skip("RecordTooLargeError", f"it is longer than max_request_size ({limit} bytes)")
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
        if self._json:
            sys.stdout.flush()

    def _report(self, item: _Sent) -> None:
        error = item.future.exception()
        if isinstance(error, PartitionNotFoundError):
            raise error  # there is no such --partition: no other line would fare better
        if isinstance(error, ClosedError):
            self._dropped += 1
        if error is not None:
            self._report_trouble(item.line, type(error).__name__, str(error))
        elif self._json:
            self._print_json({"line": item.line, **item.future.result()._asdict()})

    def _report_trouble(self, line: int, kind: str, message: str) -> None:
        self._troubles += 1
        if self._troubles <= self._SHOWN:
            _say(f"line {line}: {message}")
        elif self._troubles == self._SHOWN + 1:
            _say("there is more trouble of this kind; it is counted")
        if self._json:
            self._print_json({"line": line, "error": kind, "message": message})

    def _print_json(self, fields: dict[str, object]) -> None:
        sys.stdout.write(json.dumps(fields) + "\n")

    def _lose_output(self) -> None:
        self._json = False
        self.in_trouble = True
        # What the interpreter still has to write at its end must not fail as well.
        with open(os.devnull, "wb") as nothing:  # noqa: PTH123
            os.dup2(nothing.fileno(), sys.stdout.fileno())
        _say("standard output was closed; nothing more is read")

    def wait(self) -> None:
        """Wait until everything sent is resolved."""
        self._result = self._producer.flush()

    def end(self) -> FlushResult:
        """Report the last records, say how it went in one line, and return what became of all."""
        result = self._result or self._producer.flush(0)
        try:
            self._examine(idle=True)
        except BrokenPipeError:
            self._lose_output()
        parts = [f"{_count(result.acked, 'record')} acknowledged"]
        if isinstance(self._producer.config.delivery_semantic, AtMostOnce):
            parts = [f"{_count(result.unacknowledged, 'record')} sent"]
        failed = result.failed - self._dropped
        parts += [f"{failed} failed"] if failed else []
        parts += [f"{_count(self.skipped, 'line')} skipped"] if self.skipped else []
        parts += [f"{self._dropped} dropped"] if self._dropped else []
        _say(f"{', '.join(parts)} in {time.monotonic() - self._began:.2f} s")
        return result


# What all commands use.


class _Terminated(KeyboardInterrupt):
    """SIGTERM, which is to end a command as Ctrl-C does."""


def _terminate(_number: int, _frame: FrameType | None) -> NoReturn:
    raise _Terminated


def _status_of(stop: KeyboardInterrupt) -> int:
    return 128 + (signal.SIGTERM if isinstance(stop, _Terminated) else signal.SIGINT)


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _say(line: str) -> None:
    with contextlib.suppress(OSError):  # nobody listens
        sys.stderr.write(f"fluvio-sync: {line}\n")
        sys.stderr.flush()


class _Warnings(logging.Handler):
    """Shows what the library warns of, such as a lost connection, as one line; records are reported by their lines."""

    def emit(self, record: logging.LogRecord) -> None:
        if not str(record.msg).startswith("records."):
            _say(record.getMessage())


def _show_warnings() -> None:
    logger = logging.getLogger("fluvio_sync")
    logger.addHandler(_Warnings(logging.WARNING))
    logger.propagate = False
