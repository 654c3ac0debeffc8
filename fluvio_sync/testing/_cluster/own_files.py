# SPDX-License-Identifier: Apache-2.0
"""Files that are the development cluster's own, in a folder that another user may have prepared.

The functions follow no symbolic link and truncate no file; the files and folders that they make are for the cluster's
user alone.  They run in the thread that drives the cluster.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_FOLDER = 0o700
_FILE = 0o600

# A FIFO does not block, and Windows knows none of this but the binary mode.
_CAREFUL = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def make_folder(folder: Path) -> None:
    """Make a folder that only its user can enter, and those above it, where they are missing.

    OSError if it cannot be made, or if another user's symbolic link is in its place.
    """
    if folder.is_symlink() and not _is_ours(folder.lstat()):
        raise refusal(folder, "is a symbolic link of another user")
    for missing in [above for above in reversed(folder.parents) if not above.exists()]:
        missing.mkdir(mode=_FOLDER, exist_ok=True)
    folder.mkdir(mode=_FOLDER, exist_ok=True)


def exposure(folder: Path) -> str | None:
    """Return a warning if other users may put files into a folder, else None."""
    status = folder.stat()
    if not _is_ours(status):
        return f"{folder} belongs to another user, who can read, replace and delete what the cluster keeps there"
    if os.name == "posix" and status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return (
            f"other users may write to {folder}, so they can replace and delete what the cluster keeps there: "
            f"chmod go-w {folder}"
        )
    return None


def open_own(path: Path, flags: int = os.O_RDWR | os.O_CREAT) -> int:
    """Open a file, by default for reading and writing, and make it if it is missing; returns its descriptor.

    FileExistsError if it is a link, no regular file, or another user's; OSError if it cannot be opened.
    """
    if path.is_symlink():
        raise refusal(path, "is a symbolic link")
    descriptor = os.open(path, flags | _CAREFUL, _FILE)
    try:
        _check(path, os.fstat(descriptor))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise refusal(path, "is no regular file")
    if status.st_nlink > 1:
        raise refusal(path, "is a hard link: the file has another name")
    if not _is_ours(status):
        raise refusal(path, "belongs to another user")


def _is_ours(status: os.stat_result) -> bool:
    """Whether it is this user's, or that of root, who needs no tricks."""
    return not hasattr(os, "geteuid") or status.st_uid in (0, os.geteuid())


def refusal(path: Path, reason: str) -> FileExistsError:
    """Return the error for what is not the cluster's own."""
    text = f"{path} {reason}, so the cluster does not use it: move it away, or keep the data in another folder"
    return FileExistsError(errno.EEXIST, text)
