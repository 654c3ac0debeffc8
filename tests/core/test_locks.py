# SPDX-License-Identifier: Apache-2.0
"""The locks that no exception of a signal handler leaves locked, and that are not taken twice.

The interpreter runs a signal handler when a function begins and when a call returns, and at no other point of code
without loops.  A profiler is told at exactly these points (`call`, `c_return`), and an exception that it raises comes
out as a handler's would.  So a test that raises at the first of them, at the second, and so on, has tried all.  A
tracer of lines would not do: it also raises between the return of `__enter__` and the body, where no handler runs.
"""

from __future__ import annotations

import _thread
import ast
import dis
import itertools
import random
import signal
import sys
import threading
import time
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING, Any

import pytest

import fluvio_sync
from fluvio_sync._base.threads import Condition, LockBusyError, OuterLock, OwnedLock, TryLock
from tests.support.interruption import Interruption

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

LONG = 20.0  # seconds that nothing here takes


def interrupted_after_call(work: Callable[[], object], at: int) -> bool:
    """Run a function and raise where its handler number `at` could run; False if there are fewer such points."""
    points = itertools.count()

    def profile(_frame: FrameType, event: str, _argument: object) -> None:
        if event in ("call", "c_return") and next(points) == at:
            sys.setprofile(None)
            raise Interruption

    sys.setprofile(profile)
    try:
        work()
    except Interruption:
        return True
    finally:
        sys.setprofile(None)
    return False


def in_a_thread(work: Callable[[], Any]) -> Any:
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    thread.join(LONG)
    return results[0]


def is_free(lock: Any) -> bool:
    """Whether another thread can take a lock."""

    def take() -> bool:
        taken = lock.acquire(blocking=False)
        if taken:
            lock.release()
        return bool(taken)

    return bool(in_a_thread(take))


@pytest.fixture
def held() -> Iterator[TryLock]:
    """A lock that another thread has."""
    lock, taken, done = TryLock(), threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            taken.set()
            done.wait(LONG)

    thread = threading.Thread(target=hold)
    thread.start()
    assert taken.wait(LONG)
    yield lock
    done.set()
    thread.join(LONG)
    assert is_free(lock)


def test_it_is_taken_and_given_back() -> None:
    lock = TryLock()
    with lock:
        assert lock.is_mine()
        assert not in_a_thread(lock.is_mine)
        assert not is_free(lock)
    assert not lock.is_mine()
    assert is_free(lock)


def test_an_exception_of_the_body_gives_it_back() -> None:
    lock = TryLock()
    with pytest.raises(ZeroDivisionError), lock:
        raise ZeroDivisionError
    assert is_free(lock)


def test_an_outer_lock_is_not_waited_for_with_its_inner_one_held() -> None:
    """The thread that has it may wait for the inner one."""
    outer, taken, done = OuterLock(), threading.Event(), threading.Event()
    outer.inner = OwnedLock()

    def hold() -> None:
        with outer:
            taken.set()
            done.wait(10.0)

    with outer.inner, outer:  # it is free
        pass
    thread = threading.Thread(target=hold)
    thread.start()
    taken.wait(10.0)
    try:
        with outer.inner, pytest.raises(RuntimeError, match="called from within itself"), outer:
            pass
        assert not outer.is_mine()
    finally:
        done.set()
        thread.join()
    with outer:
        assert outer.is_mine()


def test_a_lock_that_another_thread_has_is_not_waited_for(held: TryLock) -> None:
    for _ in range(2):
        with pytest.raises(LockBusyError), held:
            raise AssertionError("it was taken")
        assert not held.is_mine()


@pytest.mark.parametrize(("kind", "points"), [(TryLock, 5), (OwnedLock, 6)])
def test_an_exception_wherever_a_signal_handler_runs_leaves_it_free(kind: type[OwnedLock], points: int) -> None:
    def work() -> None:
        with lock:
            len("")

    for at in itertools.count():
        lock = kind()
        was_interrupted = interrupted_after_call(work, at)
        assert not lock.is_mine()
        assert is_free(lock)
        if not was_interrupted:
            # `work` and `__enter__` began; `acquire`, `len` and `__exit__` returned, of an `OwnedLock` `_is_owned` too
            assert at == points
            return


def test_the_thread_that_has_it_does_not_take_it_again() -> None:
    lock = OwnedLock()
    with lock:
        with pytest.raises(RuntimeError, match="was called from within itself"), lock:
            raise AssertionError("it was taken")
        assert lock.is_mine()
        assert not is_free(lock)
    assert is_free(lock)


@pytest.mark.parametrize("timeout", [0.0, 0.05, 1e12])
def test_an_exception_of_a_wait_comes_out_as_it_is_and_leaves_the_lock_free(timeout: float) -> None:
    def work() -> None:
        with lock:
            condition.wait(timeout)

    for at in itertools.count():
        lock = OwnedLock()
        condition = Condition(lock)
        if timeout > 1:
            threading.Timer(0.01, waking(lock, condition)).start()
        was_interrupted = interrupted_after_call(work, at)
        assert not lock.is_mine()
        assert is_free(lock)
        if not was_interrupted:
            assert at > 10
            return


def waking(lock: OwnedLock, condition: Condition) -> Callable[[], None]:
    """Return a function that wakes those that wait, once they do."""

    def wake() -> None:
        for _ in range(100):
            with lock:
                condition.notify_all()
            time.sleep(0.001)

    return wake


def test_a_condition_wakes_all_that_wait_and_says_whether_its_predicate_came_true() -> None:
    lock, answers = OwnedLock(), []
    condition = Condition(lock)
    come: list[bool] = []

    def wait() -> None:
        with lock:
            answers.append(condition.wait_for(lambda: come, LONG))

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    with lock:
        assert not condition.wait_for(lambda: False, 0.01)
        come.append(True)
        condition.notify_all()
    for thread in threads:
        thread.join(LONG)
    assert answers == [True] * 3


def test_an_exception_wherever_a_signal_handler_runs_leaves_it_to_the_thread_that_has_it(held: TryLock) -> None:
    def work() -> None:
        with held:
            raise AssertionError("it was taken")

    for at in itertools.count():
        try:
            was_interrupted = interrupted_after_call(work, at)
        except LockBusyError:
            was_interrupted = False
        assert not held.is_mine()
        assert not is_free(held)
        if not was_interrupted:
            assert at == 3  # `work` and `__enter__` began; `acquire` returned
            return


def test_this_method_finds_the_lock_that_is_taken_before_a_try() -> None:
    class Naive(_thread.RLock):  # type: ignore[misc] # final in the stubs alone
        def __enter__(self) -> bool:  # type: ignore[override]
            if not self.acquire(blocking=False):
                raise LockBusyError
            return True

    def work() -> None:
        with lock:
            pass

    left_locked = []
    for at in range(4):
        lock = Naive()
        interrupted_after_call(work, at)
        left_locked.append(not is_free(lock))
    assert left_locked == [False, False, True, False]  # `acquire` had returned


@pytest.mark.interrupts
@pytest.mark.parametrize("kind", [TryLock, OwnedLock, OuterLock])
def test_real_signals_leave_it_free(kind: type[OwnedLock]) -> None:
    lock = kind()

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise Interruption

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for _ in range(300):
            with pytest.raises(Interruption):
                take_until_interrupted(lock)
            assert not lock.is_mine()
            assert is_free(lock)
    finally:
        signal.signal(signal.SIGALRM, before)


def take_until_interrupted(lock: OwnedLock) -> None:
    signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-5, 2e-4))
    while True:
        with lock:
            pass


def locked_lines(tree: ast.AST) -> set[int]:
    """Return the lines of the blocks that have a lock."""
    return {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.With) and any(ast.unparse(item.context_expr).endswith("lock") for item in node.items)
        for line in range(node.body[0].lineno, (node.end_lineno or 0) + 1)
    }


def code_objects(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from code_objects(constant)


def unprotected_jumps(path: Path) -> Iterator[str]:
    """Return the places where a loop goes back, and a handler may raise, outside of the `with` that it stands in.

    CPython 3.12 to 3.14 leave some out of the table of exceptions, where a condition ends the body of the loop.
    """
    source = path.read_text()
    locked = locked_lines(ast.parse(source))
    for code in code_objects(compile(source, str(path), "exec")):
        if code.co_name in ("<genexpr>", "<lambda>"):
            continue  # it is called, which the table covers
        entries = list(getattr(dis.Bytecode(code), "exception_entries", ()))

        def handlers(offset: int, entries: list[Any] = entries) -> set[int]:
            return {entry.target for entry in entries if entry.start <= offset < entry.end}

        line = 0
        for instruction in dis.get_instructions(code):
            positions = getattr(instruction, "positions", None)
            line = (positions and positions.lineno) or line
            goes_back = instruction.opname == "JUMP_BACKWARD" and line in locked
            if goes_back and handlers(instruction.argval) - handlers(instruction.offset):
                yield f"{path.name}:{line}"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="there is no table of exceptions")
def test_no_loop_goes_back_outside_of_the_block_that_has_its_lock() -> None:
    library = Path(fluvio_sync.__file__).parent
    found = [
        place
        for path in library.rglob("*.py")
        if path.relative_to(library).parts[0] not in ("cli", "testing")
        for place in unprotected_jumps(path)
    ]
    assert found == []
