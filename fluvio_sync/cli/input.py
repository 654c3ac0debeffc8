# SPDX-License-Identifier: Apache-2.0
"""The input of `produce`: the lines of a stream as they come, or the whole stream as one record.

A thread reads, because a read may block at any time; it ends with the process.  Bytes are never decoded.
"""

from __future__ import annotations

import contextlib
import os
import queue
import stat
import sys
import threading
from typing import BinaryIO

from fluvio_sync._base.threads import LONGEST_SLEEP

_CHUNK = 65_536


def open_input(path: str | None) -> BinaryIO:
    """Open a file, or standard input for None; raises `OSError`."""
    # Unbuffered, so that a read returns as soon as there are some bytes.
    if path is not None:
        return open(path, "rb", buffering=0)  # noqa: PTH123 - the reading thread closes it
    if sys.stdin is None:
        raise OSError(0, "it is closed")
    return open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)


class Chunks:
    """The bytes of a stream, read in the background, a little ahead.

    `taken`: how many `next` has returned so far.
    `size`: how many a regular file holds, None for other streams.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self.taken: int = 0
        self.size: int | None = _size(stream)
        self._stream = stream
        self._read: queue.Queue[bytes | OSError] = queue.Queue(maxsize=4)
        self._ended = False
        threading.Thread(target=self._run, name="fluvio-sync-input", daemon=True).start()

    def _run(self) -> None:
        try:
            while chunk := self._stream.read(_CHUNK):
                self._read.put(chunk)
            self._read.put(b"")
        except OSError as error:
            self._read.put(error)

    def next(self, timeout: float | None) -> bytes | None:
        """Return the next bytes, b"" after `timeout` seconds without any, None at the end; raises `OSError`."""
        if self._ended:
            return None
        while True:
            try:
                chunk = self._read.get(timeout=LONGEST_SLEEP if timeout is None else timeout)
                break
            except queue.Empty:
                if timeout is not None:
                    return b""
        if isinstance(chunk, OSError):
            raise chunk
        self.taken += len(chunk)
        self._ended = not chunk
        return chunk or None


def _size(stream: BinaryIO) -> int | None:
    with contextlib.suppress(OSError):  # a stream without a file descriptor
        found = os.fstat(stream.fileno())
        if stat.S_ISREG(found.st_mode):
            return found.st_size
    return None


class Lines:
    """The lines of a stream, as they come.

    `limit`: bytes; a longer line is dropped while it is read.
    """

    def __init__(self, chunks: Chunks, limit: int) -> None:
        self._chunks = chunks
        self._limit = limit
        self._started: list[bytes] = []  # the pieces of a line that has not ended
        self._size = 0  # the bytes of that line, the dropped ones included

    def next(self, timeout: float | None) -> list[bytes | None] | None:
        """Return the next lines, with None in place of one that is too long.

        Returns an empty list after `timeout` seconds without a line, and None at the end.  Raises `OSError` if the
        stream cannot be read.
        """
        chunk = self._chunks.next(timeout)
        if chunk is None:
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


class Whole:
    """The whole stream as one record.

    `limit`: bytes; a longer input is not read to its end.
    """

    def __init__(self, chunks: Chunks, limit: int) -> None:
        self._chunks = chunks
        self._limit = limit
        self._pieces: list[bytes] = []
        self._size = 0
        self._given = False

    def next(self, timeout: float | None) -> list[bytes | None] | None:
        """Return the record, with None in its place if it is too long; otherwise as `Lines.next`."""
        if self._given:
            return None
        chunk = self._chunks.next(timeout)
        if chunk is not None:
            self._pieces.append(chunk)
            self._size += len(chunk)
            if self._size <= self._limit:
                return []
        self._given = True
        return [b"".join(self._pieces) if self._size <= self._limit else None]
