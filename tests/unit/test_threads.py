# SPDX-License-Identifier: Apache-2.0
"""Threads that are started while an exception is injected into the one that starts them."""

from __future__ import annotations

import ctypes
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from fluvio_sync._base.threads import LONGEST_SLEEP, started
from tests.support.waiting import within

if TYPE_CHECKING:
    from collections.abc import Callable

LONG = 10.0


class TimeLimitError(Exception):
    """As of a job queue that runs its jobs in threads."""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.skipif(sys.version_info >= (3, 13), reason="such an exception reaches the thread that it is for")
def test_an_exception_that_ends_the_new_thread_costs_no_more_than_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = threading.Event()
    start: Callable[..., int] = threading._start_new_thread  # type: ignore[attr-defined]
    injected: list[int] = []

    def start_and_inject(*arguments: Any) -> int:
        ident = start(*arguments)
        if not injected:
            me = threading.get_ident()
            limit = ctypes.py_object(TimeLimitError)
            injected.append(ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(me), limit))
        return ident

    def start_one() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(threading, "_start_new_thread", start_and_inject)
            try:
                thread = started(ran.set, "begun")
            except TimeLimitError:  # it was told in time
                thread = started(ran.set, "begun")
        assert thread is not None

    with ThreadPoolExecutor(1) as pool, within(LONGEST_SLEEP + 2):
        pool.submit(start_one).result(LONG)
    assert injected == [1]
    assert ran.wait(LONG)
