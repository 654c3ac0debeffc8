# SPDX-License-Identifier: Apache-2.0
"""Where the development cluster keeps its records: one log a partition, in memory or in a file.

Owns the bytes of the batches and the index from offsets to batches.  A batch is kept as it came,
only its base offset (its first 8 bytes, outside the checksum) is set.  The file kind does file I/O
and nothing else; neither imports a socket, a thread or a clock.  Everything here runs in the thread
that drives the cluster; there are no locks.
"""

from __future__ import annotations

import json
import os
import struct
import tempfile
from bisect import bisect_left, bisect_right
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fluvio_sync.protocol.batch import BATCH_HEADER
from fluvio_sync.testing._cluster.own_files import make_folder, open_own, refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

    Blob = bytes | memoryview

_BASE = struct.Struct(">q")
_LENGTH = struct.Struct(">i")
_LENGTH_AT = 8
_PRELUDE = 12
_DELTA = struct.Struct(">i")
_DELTA_AT = 23


class PartitionLog:
    """The log of a partition, in memory: batches are views of the requests they came in, uncopied.

    `end_offset`: the offset of the next record; `size`: bytes of all batches.
    """

    def __init__(self) -> None:
        self.end_offset = 0
        self.size = 0
        self._bases: list[int] = []
        self._ends: list[int] = []  # bytes up to and with each batch
        self._bodies: list[memoryview] = []

    def append(self, batches: Sequence[tuple[memoryview, int]]) -> int:
        """Append whole batches, each with its number of records.

        Returns the offset of the first record.  OSError if they could not be stored; then none is.
        """
        base = self.end_offset
        self._store(batches)
        for batch, count in batches:
            self._index(len(batch), count)
        return base

    def read(self, offset: int, end: int, max_bytes: int) -> list[Blob]:
        """Return the batches from the one that holds `offset` to the last that ends by `end`.

        At most `max_bytes` bytes, but at least one batch if there is one; joined, the pieces are a
        record set without its length.
        """
        first, last = self._span(offset, end)
        fitting = bisect_right(self._ends, self._start(first) + max_bytes, first, last)
        last = max(fitting, min(first + 1, last))
        return self._load(first, last) if first < last else []

    def read_cut(self, offset: int, end: int, max_bytes: int) -> bytes:
        """Return the same batches as `read`, but of exactly `max_bytes` bytes if there are more: the last one is cut.

        So does a real SPU answer a one-shot fetch.
        """
        first, last = self._span(offset, end)
        touched = bisect_left(self._ends, self._start(first) + max_bytes, first, last) + 1
        pieces = self._load(first, min(touched, last)) if first < last else []
        return b"".join(pieces)[: max(0, max_bytes)]

    def _span(self, offset: int, end: int) -> tuple[int, int]:
        """Return the index of the batch that holds `offset`, and that behind the last one that ends by `end`."""
        end = min(end, self.end_offset)
        if offset >= end:
            return 0, 0
        first = bisect_right(self._bases, offset) - 1
        # A batch ends where the next one begins, so the one that holds `end` itself stays out.
        return first, len(self._bases) if end > self._bases[-1] else bisect_right(self._bases, end) - 1

    def _start(self, index: int) -> int:
        return self._ends[index - 1] if index else 0

    def _index(self, size: int, count: int) -> None:
        self._bases.append(self.end_offset)
        self.end_offset += count
        self.size += size
        self._ends.append(self.size)

    def truncate(self, count: int) -> None:
        """Remove the last `count` batches, or all if there are fewer; OSError, with nothing removed, if it fails."""
        kept = max(0, len(self._bases) - count)
        if kept < len(self._bases):
            self._discard(kept)
            self.end_offset = self._bases[kept]
            self.size = self._start(kept)
            del self._bases[kept:], self._ends[kept:]

    def _discard(self, kept: int) -> None:
        """Forget the bytes of all batches but the first `kept`."""
        del self._bodies[kept:]

    def _store(self, batches: Sequence[tuple[memoryview, int]]) -> None:
        self._bodies += [batch[_BASE.size :] for batch, _ in batches]

    def _load(self, first: int, last: int) -> list[Blob]:
        pieces: list[Blob] = []
        for index in range(first, last):
            pieces += _BASE.pack(self._bases[index]), self._bodies[index]
        return pieces

    def close(self) -> None:
        """Close its files; it is not used again."""


class FileLog(PartitionLog):
    """A log in a file: batches back to back, each append handed to the operating system at once.

    An incomplete batch at the end (the process died while it wrote) is cut off when the file is
    opened, and so is everything from the first bytes on that are no batch.  FileExistsError for a
    file that does not begin with a batch: it is no log.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._fd = open_own(path)
        try:
            self._recover(path)
        except BaseException:
            os.close(self._fd)
            raise

    def _read(self, size: int, start: int) -> bytes:
        os.lseek(self._fd, start, os.SEEK_SET)  # Windows has no `pread`
        return os.read(self._fd, size)

    def _recover(self, path: Path) -> None:
        length = os.fstat(self._fd).st_size
        while True:
            header = self._read(BATCH_HEADER, self.size)
            if len(header) < BATCH_HEADER:
                break
            (base,) = _BASE.unpack_from(header)
            (batch_len,) = _LENGTH.unpack_from(header, _LENGTH_AT)
            (last_delta,) = _DELTA.unpack_from(header, _DELTA_AT)
            end = self.size + _PRELUDE + batch_len
            if base != self.end_offset or last_delta < 0:
                break
            if batch_len < BATCH_HEADER - _PRELUDE or end > length:
                break
            self._index(_PRELUDE + batch_len, last_delta + 1)
        if not self.size and not self._is_torn(length):
            raise refusal(path, "does not begin with a batch of records")
        if self.size < length:
            os.ftruncate(self._fd, self.size)

    def _is_torn(self, length: int) -> bool:
        """Whether a file of `length` bytes without a whole batch is what a crash left of a log's first batch.

        After a loss of power there may be zeros in the place of bytes that were written.
        """
        prelude = self._read(_PRELUDE, 0).ljust(_PRELUDE, b"\0")
        (batch_len,) = _LENGTH.unpack_from(prelude, _LENGTH_AT)
        return _BASE.unpack_from(prelude) == (0,) and (batch_len == 0 or _PRELUDE + batch_len > length)

    def _store(self, batches: Sequence[tuple[memoryview, int]]) -> None:
        base = self.end_offset
        pieces: list[Blob] = []
        for batch, count in batches:
            pieces += _BASE.pack(base), batch[_BASE.size :]
            base += count
        data = memoryview(b"".join(pieces))
        done = 0
        try:
            os.lseek(self._fd, self.size, os.SEEK_SET)
            while done < len(data):
                done += os.write(self._fd, data[done:])
        except OSError:
            os.ftruncate(self._fd, self.size)
            raise

    def _discard(self, kept: int) -> None:
        os.ftruncate(self._fd, self._start(kept))

    def _load(self, first: int, last: int) -> list[Blob]:
        start = self._start(first)
        return [self._read(self._start(last) - start, start)]

    def close(self) -> None:
        """See `PartitionLog`."""
        os.close(self._fd)


class LogStorage:
    """Makes logs, and keeps the cluster's own state beside them: here for the life of the cluster, in memory.

    `state_name`: what users know the state by.
    """

    state_name = "the state of the cluster"

    def open_log(self, _topic: str, _partition: int, /) -> PartitionLog:
        """Open a partition's log, with its earlier records if they are kept."""
        return PartitionLog()

    def remove_log(self, topic: str, partition: int) -> None:
        """Remove a closed log for good."""

    def load_state(self) -> dict[str, Any] | None:
        """Return the last argument of `save_state`; None if it is not kept."""
        return None

    def save_state(self, state: dict[str, Any]) -> None:
        """Keep `state` (JSON values) in place of the earlier state, whole or not at all."""

    def close(self) -> None:
        """Close the rest; all logs are closed already."""


class FileStorage(LogStorage):
    """A folder with `<topic>-<partition>.log` for every partition, and `cluster.json`.

    OSError if it cannot be used, if another cluster uses it now, or if a file there is not the cluster's own.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._state_path = folder / "cluster.json"
        self.state_name = str(self._state_path)
        make_folder(folder)
        self._lock = open_own(folder / "lock")
        try:
            self._take_lock()
        except BaseException:
            os.close(self._lock)
            raise

    def _take_lock(self) -> None:
        if os.fstat(self._lock).st_size:
            raise refusal(self._folder / "lock", "is not empty")
        try:
            _lock(self._lock)
        except OSError as error:
            text = f"{self._folder} is in use by another cluster"
            raise OSError(error.errno, text) from error

    def _log_path(self, topic: str, partition: int) -> Path:
        return self._folder / f"{topic}-{partition}.log"

    def open_log(self, topic: str, partition: int, /) -> PartitionLog:
        """See `LogStorage`."""
        return FileLog(self._log_path(topic, partition))

    def remove_log(self, topic: str, partition: int) -> None:
        """See `LogStorage`."""
        self._log_path(topic, partition).unlink(missing_ok=True)

    def load_state(self) -> dict[str, Any] | None:
        """See `LogStorage`; ValueError if the file does not hold a state."""
        try:
            descriptor = open_own(self._state_path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        with os.fdopen(descriptor, encoding="utf-8") as file:
            text = file.read()
        try:
            state = json.loads(text)
        except ValueError as error:
            raise ValueError(f"{self._state_path} does not hold the state of a cluster: {error}") from error
        if not isinstance(state, dict):
            raise ValueError(f"{self._state_path} does not hold the state of a cluster")  # noqa: TRY004
        return state

    def save_state(self, state: dict[str, Any]) -> None:
        """See `LogStorage`."""
        text = json.dumps(state, indent=1)
        descriptor, name = tempfile.mkstemp(".tmp", "cluster-", self._folder)  # a new file, of this user alone
        scratch = Path(name)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            scratch.replace(self._state_path)
        except BaseException:
            scratch.unlink()
            raise

    def close(self) -> None:
        """See `LogStorage`."""
        os.close(self._lock)


def _lock(descriptor: int) -> None:
    """Lock a file until it is closed, by the process's end at the latest; OSError if another has locked it."""
    try:
        import fcntl  # noqa: PLC0415 - of POSIX
    except ImportError:
        import msvcrt  # noqa: PLC0415 - of Windows

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
