# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from fluvio_sync.protocol.batch import decode_record_set
from fluvio_sync.testing._cluster.partition_log import FileLog, FileStorage, PartitionLog
from tests.dev_cluster.messages import batch

if TYPE_CHECKING:
    from pathlib import Path


EVERYTHING = 1 << 30


@pytest.fixture(params=["memory", "file"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> PartitionLog:
    return PartitionLog() if request.param == "memory" else FileLog(tmp_path / "t-0.log")


@pytest.fixture
def filled(log: PartitionLog) -> PartitionLog:
    """A log with batches of 2, 1 and 3 records, the last two in one append."""
    log.append([(memoryview(batch(b"a", b"b")), 2)])
    log.append([(memoryview(batch(b"c")), 1), (memoryview(batch(b"d", b"e", b"f")), 3)])
    return log


def values(log: PartitionLog, offset: int, end: int, max_bytes: int = EVERYTHING) -> list[object]:
    record_set = b"".join(log.read(offset, end, max_bytes))
    return [(r.offset, r.value) for b in decode_record_set(record_set) for r in b.records]


ALL = [(0, b"a"), (1, b"b"), (2, b"c"), (3, b"d"), (4, b"e"), (5, b"f")]


def test_batches_are_numbered_on_and_read_back(filled: PartitionLog) -> None:
    assert filled.end_offset == 6
    assert values(filled, 0, 6) == ALL
    assert filled.size == len(b"".join(filled.read(0, 6, EVERYTHING)))


@pytest.mark.parametrize(
    ("offset", "end", "expected"),
    [
        (1, 6, ALL),  # the batch that holds the offset comes whole
        (2, 6, ALL[2:]),
        (4, 6, ALL[3:]),
        (0, 3, ALL[:3]),  # nothing behind the end
        (0, 2, ALL[:2]),
        (3, 3, []),
        (6, 6, []),
        (9, 6, []),
    ],
)
def test_reading_serves_whole_batches_up_to_the_end(
    filled: PartitionLog, offset: int, end: int, expected: list[object]
) -> None:
    assert values(filled, offset, end) == expected


def test_reading_stops_at_max_bytes_but_serves_one_batch_at_least(filled: PartitionLog) -> None:
    first = len(b"".join(filled.read(0, 2, EVERYTHING)))
    assert values(filled, 0, 6, 1) == ALL[:2]
    assert values(filled, 0, 6, first) == ALL[:2]
    second = len(b"".join(filled.read(0, 3, EVERYTHING)))
    assert values(filled, 0, 6, second - 1) == ALL[:2]
    assert values(filled, 0, 6, second) == ALL[:3]
    assert values(filled, 2, 6, 1) == ALL[2:3]


@pytest.mark.parametrize(("offset", "end", "begins", "ends"), [(0, 6, 0, 6), (1, 6, 0, 6), (4, 6, 3, 6), (2, 3, 2, 3)])
def test_a_cut_read_has_every_byte_up_to_max_bytes(
    filled: PartitionLog, offset: int, end: int, begins: int, ends: int
) -> None:
    whole = b"".join(filled.read(begins, ends, EVERYTHING))
    for size in range(len(whole) + 2):
        assert filled.read_cut(offset, end, size) == whole[:size]
    assert filled.read_cut(offset, end, -1) == filled.read_cut(6, 6, 100) == filled.read_cut(3, 3, 100) == b""


@pytest.mark.parametrize(("count", "kept"), [(0, 6), (1, 3), (2, 2), (3, 0), (9, 0)])
def test_a_log_loses_its_last_batches(filled: PartitionLog, count: int, kept: int) -> None:
    before = b"".join(filled.read(0, kept, EVERYTHING))
    filled.truncate(count)
    assert (filled.end_offset, filled.size) == (kept, len(before))
    assert b"".join(filled.read(0, 6, EVERYTHING)) == before
    assert filled.append([(memoryview(batch(b"new")), 1)]) == kept
    assert values(filled, 0, 9) == [*ALL[:kept], (kept, b"new")]


def test_a_file_loses_its_last_batches(tmp_path: Path) -> None:
    path = tmp_path / "t-0.log"
    log = FileLog(path)
    for value in (b"a", b"b", b"c"):
        log.append([(memoryview(batch(value)), 1)])
    log.truncate(2)
    assert path.stat().st_size == log.size > 0
    log.append([(memoryview(batch(b"d")), 1)])
    log.close()
    again = FileLog(path)
    assert values(again, 0, 9) == [(0, b"a"), (1, b"d")]
    again.close()


def test_an_empty_log_has_nothing(log: PartitionLog) -> None:
    assert log.read(0, 0, EVERYTHING) == []
    assert log.read_cut(0, 0, EVERYTHING) == b""
    assert log.end_offset == log.size == 0


def test_a_file_is_found_again(tmp_path: Path) -> None:
    log = FileLog(tmp_path / "t-0.log")
    log.append([(memoryview(batch(b"a", b"b")), 2)])
    log.close()
    log = FileLog(tmp_path / "t-0.log")
    assert (log.end_offset, values(log, 0, 2)) == (2, ALL[:2])
    assert log.append([(memoryview(batch(b"c")), 1)]) == 2
    assert values(log, 0, 3) == ALL[:3]


def test_a_torn_tail_is_cut_off_wherever_it_was_torn(tmp_path: Path) -> None:
    path = tmp_path / "t-0.log"
    log = FileLog(path)
    log.append([(memoryview(batch(b"a", b"b")), 2)])
    whole = log.size
    log.append([(memoryview(batch(b"c")), 1)])
    log.close()
    content = path.read_bytes()
    for length in range(whole, len(content)):
        path.write_bytes(content[:length])
        log = FileLog(path)
        assert (log.end_offset, log.size, path.stat().st_size) == (2, whole, whole)
        log.close()


@pytest.mark.parametrize("garbage", [b"\0" * 200, b"\xff" * 200, os.urandom(200)])
def test_garbage_at_the_end_is_cut_off(tmp_path: Path, garbage: bytes) -> None:
    path = tmp_path / "t-0.log"
    log = FileLog(path)
    log.append([(memoryview(batch(b"a", b"b")), 2)])
    log.close()
    with path.open("ab") as file:
        file.write(garbage)
    log = FileLog(path)
    assert (log.end_offset, values(log, 0, 2)) == (2, ALL[:2])
    assert path.stat().st_size == log.size


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t-0.log"
    log = FileLog(path)
    log.append([(memoryview(batch(b"a", b"b")), 2)])
    whole = log.size
    real = os.write

    def full_disk(fd: int, data: bytes) -> int:
        if os.lseek(fd, 0, os.SEEK_CUR) > whole:
            raise OSError(28, "No space left on device")
        return real(fd, data[:10])

    monkeypatch.setattr(os, "write", full_disk)
    with pytest.raises(OSError, match="No space left"):
        log.append([(memoryview(batch(b"c")), 1)])
    monkeypatch.undo()
    assert (log.end_offset, path.stat().st_size) == (2, whole)
    assert log.append([(memoryview(batch(b"c")), 1)]) == 2
    assert values(log, 0, 3) == ALL[:3]


def test_a_folder_serves_one_cluster_at_a_time(tmp_path: Path) -> None:
    first = FileStorage(tmp_path / "data")
    with pytest.raises(OSError, match="in use by another cluster"):
        FileStorage(tmp_path / "data")
    first.close()
    FileStorage(tmp_path / "data").close()


def test_state_is_kept_whole_or_not_at_all(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path)
    assert storage.load_state() is None
    storage.save_state({"topics": [1]})
    with pytest.raises(TypeError):
        storage.save_state({"topics": object()})
    assert storage.load_state() == {"topics": [1]}
    storage.close()
