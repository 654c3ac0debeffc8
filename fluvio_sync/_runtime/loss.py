# SPDX-License-Identifier: Apache-2.0
"""Tells of records that were lost because an exception left a `with` block, which then waits for a short time only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fluvio_sync._base.stderr import say
from fluvio_sync._base.text import counted

if TYPE_CHECKING:
    from fluvio_sync._base.log import Logger
    from fluvio_sync._outcomes.handle_stats import Unseen


def tell_loss(leaving: BaseException, lost: Unseen, owner: str, timeout: float, log: Logger) -> None:
    """Log the loss, add a note to the exception, and write a line to standard error unless the log shows errors.

    * `leaving`: the exception that left the block.
    * `lost`: the records; nothing is told if there are none.
    * `owner`: the client or the producer whose block it is.
    * `timeout`: `exit_timeout`, in seconds.
    * `log`: the client's.
    """
    if not lost.records:
        return
    error = {} if lost.first_error is None else {"error": str(lost.first_error)}
    log.error("records.lost", records=lost.records, reason=f"{type(leaving).__name__} left the `with` block", **error)
    first = "" if lost.first_error is None else f"; the first error: {lost.first_error}"
    text = (
        f"{counted(lost.records, 'record')} lost by the end of the `with` block of {owner}, which "
        f"{type(leaving).__name__} left: it then waits at most {timeout} s (exit_timeout){first}"
    )
    if not log.shows_errors():
        say(text)
    add_note = getattr(leaving, "add_note", None)  # since Python 3.11
    if add_note is not None:
        add_note(f"fluvio_sync: {text}")
