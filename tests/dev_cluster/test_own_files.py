# SPDX-License-Identifier: Apache-2.0
"""A data folder that somebody else prepared: what is not the cluster's own is left alone, and refused by its name."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from fluvio_sync.errors import ServerError
from fluvio_sync.testing import LocalCluster
from fluvio_sync.testing._cluster.partition_log import FileLog, FileStorage
from tests.dev_cluster.messages import batch
from tests.support.system import needs_fork

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

VICTIM = b"precious\n" * 100

LINKS: dict[str, Callable[[Path, Path], None]] = {
    "symbolic": lambda link, target: link.symlink_to(target),
    "hard": lambda link, target: link.hardlink_to(target),
}


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "victim"
    path.write_bytes(VICTIM)
    yield path
    assert path.read_bytes() == VICTIM


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


def refused(path: Path, reason: str) -> str:
    return re.escape(f"{path} ") + reason + ".*: move it away, or keep the data in another folder"


def start(data: Path) -> None:
    with LocalCluster(data_dir=data, in_process=True) as cluster:
        cluster.create_topic("t")


# --- links ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("name", ["lock", "cluster.json", "consumer-offset-0.log"])
def test_a_link_in_the_place_of_a_file_is_refused(data: Path, victim: Path, name: str, link: str) -> None:
    LINKS[link](data / name, victim)
    with pytest.raises(RuntimeError, match=refused(data / name, f"is a {link} link")):
        start(data)


def test_a_link_to_nothing_makes_no_file(data: Path, tmp_path: Path) -> None:
    (data / "lock").symlink_to(tmp_path / "planted")
    with pytest.raises(RuntimeError, match=refused(data / "lock", "is a symbolic link")):
        start(data)
    assert not (tmp_path / "planted").exists()


@pytest.mark.parametrize("link", LINKS)
def test_a_link_in_the_place_of_the_temporary_file_is_left_alone(data: Path, victim: Path, link: str) -> None:
    LINKS[link](data / "cluster.tmp", victim)
    start(data)
    assert (data / "cluster.tmp").samefile(victim)
    assert "t" in (data / "cluster.json").read_text()


@pytest.mark.skipif(not hasattr(os, "O_NOFOLLOW"), reason="this system cannot open a file without following links")
def test_a_link_that_appears_at_the_last_moment_is_not_followed(
    data: Path, victim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data / "t-0.log").symlink_to(victim)
    monkeypatch.setattr("pathlib.Path.is_symlink", lambda _: False)
    with pytest.raises(OSError, match="symbolic link"):
        FileLog(data / "t-0.log")


@pytest.mark.parametrize("name", ["t-0.log", "t-1.log"])
def test_a_topic_whose_log_is_a_link_is_not_made(data: Path, victim: Path, name: str) -> None:
    (data / name).symlink_to(victim)
    with LocalCluster(data_dir=data) as cluster:
        for _ in range(2):
            with pytest.raises(ServerError, match=refused(data / name, "is a symbolic link")):
                cluster.create_topic("t", partitions=2)
        assert sorted(path.name for path in data.glob("t-*")) == [name]
        cluster.create_topic("other")
        (data / name).unlink()
        cluster.create_topic("t", partitions=2)


def test_partitions_whose_log_is_a_link_are_not_added(data: Path, victim: Path) -> None:
    (data / "t-2.log").symlink_to(victim)
    with LocalCluster(data_dir=data, in_process=True) as cluster:
        cluster.create_topic("t")
        with pytest.raises(ServerError, match=refused(data / "t-2.log", "is a symbolic link")):
            cluster.add_partitions("t", 2)
        with pytest.raises(ValueError, match="no partition 1"):
            cluster.leader("t", 1)
    with LocalCluster(data_dir=data, in_process=True) as cluster:
        cluster.add_partitions("t", 1)
        assert cluster.leader("t", 1) == 5001


# --- files of others -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("lock", "is not empty"),
        ("consumer-offset-0.log", "does not begin with a batch of records"),
    ],
)
def test_a_file_with_other_contents_is_refused(data: Path, name: str, reason: str) -> None:
    path = data / name
    path.write_bytes(VICTIM)
    with pytest.raises(RuntimeError, match=refused(path, reason)):
        start(data)
    assert path.read_bytes() == VICTIM


@pytest.mark.parametrize("content", ["precious", "[]", "{}", '{"topics": [{}], "consumer_offsets": []}'])
def test_a_state_that_is_none_is_named_and_kept(data: Path, content: str) -> None:
    path = data / "cluster.json"
    path.write_text(content)
    with pytest.raises(RuntimeError, match=re.escape(str(path))):
        start(data)
    assert path.read_text() == content


@pytest.mark.parametrize("content", [b"\0" * 5, b"\0" * 300, batch(b"a")[:30], batch(b"a")[:-1]])
def test_a_first_batch_that_a_crash_cut_short_is_cut_off(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "t-0.log"
    path.write_bytes(content)
    FileLog(path).close()
    assert path.read_bytes() == b""


@needs_fork
def test_a_fifo_is_refused_and_blocks_nobody(data: Path) -> None:
    os.mkfifo(data / "cluster.json")
    with pytest.raises(RuntimeError, match=refused(data / "cluster.json", "is no regular file")):
        start(data)


@needs_fork
def test_a_file_of_another_user_is_refused(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start(data)
    if os.geteuid() == 0:
        os.chown(data / "lock", 12345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(FileExistsError, match=refused(data / "lock", "belongs to another user")):
        FileStorage(data)


@needs_fork
def test_a_folder_that_is_another_users_link_is_refused(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = tmp_path / "link"
    link.symlink_to(data)
    start(link)
    if os.geteuid() == 0:
        os.chown(link, 12345, -1, follow_symlinks=False)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(FileExistsError, match=refused(link, "is a symbolic link of another user")):
        FileStorage(link)


# --- modes ---------------------------------------------------------------------------------------


@needs_fork
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_what_is_made_is_its_users_alone(tmp_path: Path, umask: int) -> None:
    data = tmp_path / "new" / "data"
    code = "from fluvio_sync.testing import LocalCluster\nimport os, sys\nos.umask(int(sys.argv[2]))\n"
    code += "with LocalCluster(data_dir=sys.argv[1]) as cluster: cluster.create_topic('t')"
    subprocess.run([sys.executable, "-c", code, str(data), str(umask)], check=True, timeout=60)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (data.parent, data, *data.iterdir())}
    files = dict.fromkeys(["lock", "cluster.json", "t-0.log", "consumer-offset-0.log"], 0o600)
    assert modes == {"new": 0o700, "data": 0o700, **files}


@needs_fork
@pytest.mark.parametrize(("mode", "warned"), [(0o700, False), (0o755, False), (0o775, True), (0o1777, True)])
@pytest.mark.parametrize("in_process", [False, True])
def test_a_folder_that_others_may_write_is_warned_of(
    data: Path, capfd: pytest.CaptureFixture[str], mode: int, *, warned: bool, in_process: bool
) -> None:
    data.chmod(mode)
    with LocalCluster(data_dir=data, in_process=in_process):
        pass
    text = f"warning: other users may write to {data}, so they can replace and delete what the cluster keeps there"
    assert (text in capfd.readouterr().err) == warned


def test_a_folder_of_before_is_used_on(data: Path) -> None:
    for path in (data / "lock", data / "cluster.tmp"):
        path.touch(mode=0o644)
    log = FileLog(data / "consumer-offset-0.log")
    log.append([(memoryview(batch(b"a")), 1)])
    log.close()
    start(data)
    assert json.loads((data / "cluster.json").read_text())["topics"]
    log = FileLog(data / "consumer-offset-0.log")
    assert log.end_offset == 1
    log.close()
