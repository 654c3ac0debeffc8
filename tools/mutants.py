# SPDX-License-Identifier: Apache-2.0
"""Mutation test of the pure rooms: changes the code a little, and sees whether a test fails.

`python tools/mutants.py [MODULE ...] [--jobs N] [--list]`.  `MODULE` is a file below `fluvio_sync/`, such as
`_dispatch.py`; by default, all of `ROOMS`.  Prints how many mutants each module has, and those that no test noticed.
`tests/mutants.md` names the ones that are expected to survive, and why; the exit status is 1 if there is another, or
if one of those is noticed now.

A script of our own, because the well-kept tools do not fit.  mutmut 3 changes only the bodies of undecorated functions,
once the package is imported; much of these rooms stands outside of any: the table of moves, what each error code means,
constants, properties, the layouts of messages.  cosmic-ray starts Python and imports everything anew for each
mutant, runs all tests of the room, and removes no statements.

No file is changed.  One run under coverage tells which tests reach which line.  Then each mutant gets a forked process
that has imported everything but the package; it imports the package with the change in it and runs the tests that
reach the line, the fast ones and those that noticed other mutants first, until one fails.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import gc
import importlib
import importlib.abc
import importlib.util
import multiprocessing
import os
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter, deque
from dataclasses import dataclass, field
from importlib.machinery import SourceFileLoader
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

import coverage
import hypothesis
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from importlib.machinery import ModuleSpec
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess
    from types import CodeType

TOP = Path(__file__).resolve().parent.parent
PACKAGE = TOP / "fluvio_sync"
EXPLAINED = TOP / "tests" / "mutants.md"

ROOMS = [
    ("retry.py delivery.py partitioner.py", "tests/unit"),
    (
        "_dispatch.py _lane.py _link.py _timers.py _failures.py _halving.py _metadata.py",
        "tests/core tests/simulation/test_simulation.py::test_the_promises_hold",
    ),
    ("protocol/*.py", "tests/protocol tests/unit/test_partitioner.py"),
]
"""Modules, and the tests that have to notice what is wrong with them."""

MEMORY = 4 << 30
"""Bytes of address space for a mutant, in case that it never stops to ask for more."""

NOTICED, LATE, SURVIVED = "noticed", "too late", "survived"

SLOWEST_IMPORT = 20.0
"""Seconds."""

FORK = multiprocessing.get_context("fork")


# Changes.

SWAPPED: dict[type[ast.AST], tuple[type[Any], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.FloorDiv,),
    ast.Div: (ast.Mult,),
    ast.FloorDiv: (ast.Mult,),
    ast.Mod: (ast.FloorDiv,),
    ast.LShift: (ast.RShift,),
    ast.RShift: (ast.LShift,),
    ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd,),
    ast.BitXor: (ast.BitOr,),
}
NAMES = {"min": "max", "max": "min", "any": "all", "all": "any", "reversed": "list", "sorted": "list"}
CONSTANT = re.compile(r"_?[A-Z][A-Z0-9_]+")
TRUE, FALSE, NONE = ast.Constant(True), ast.Constant(False), ast.Constant(None)
NOTHING = ast.Name("**{}", ast.Load())  # where an argument by name was

SKIPPED_FIELDS = {"annotation", "returns", "decorator_list", "bases"}
SKIPPED_NAMES = {"__slots__", "__all__"}


def _with(node: Any, **fields: Any) -> Any:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def _without(items: list[Any], index: int) -> list[Any]:
    return [*items[:index], *items[index + 1 :]]


def _is_text(value: str) -> bool:
    """Whether a string is text for people, whose wording the tests leave free."""
    return " " in value


def statement_changes(node: ast.stmt) -> Iterator[tuple[ast.AST, ast.AST]]:
    """Yield what may be replaced in a statement, and by what; not what is in its expressions."""
    match node:
        case ast.If(test=test) | ast.While(test=test):
            yield test, FALSE
            if isinstance(node, ast.If):
                yield test, TRUE
        case ast.For(iter=items):
            yield items, ast.Tuple([], ast.Load())
        case ast.Return(value=ast.expr() as value) if not (isinstance(value, ast.Constant) and value.value is None):
            yield value, NONE
        case ast.AugAssign(op=op):
            yield node, ast.Pass()
            for swapped in SWAPPED.get(type(op), ()):
                yield node, _with(node, op=swapped())
        case (
            ast.Raise()
            | ast.Continue()
            | ast.Break()
            | ast.Return()
            | ast.Expr(value=ast.Call() | ast.Yield() | ast.YieldFrom())
            | ast.Assign(targets=[ast.Attribute() | ast.Subscript(), *_])
            | ast.AnnAssign(target=ast.Attribute() | ast.Subscript(), value=ast.expr())
        ):
            yield node, ast.Pass()


def expression_changes(  # noqa: C901, PLR0912 - one case for each kind of node
    node: ast.AST, constants: dict[str, str]
) -> Iterator[tuple[ast.AST, ast.AST]]:
    """Yield what may be replaced in an expression, and by what; not what is in the expressions that it is made of."""
    match node:
        case ast.Compare(ops=ops, comparators=others):
            for index, op in enumerate(ops):
                for swapped in SWAPPED[type(op)]:
                    yield node, _with(node, ops=[*ops[:index], swapped(), *ops[index + 1 :]])
            for other in others:
                if isinstance(other, ast.Tuple | ast.Set | ast.List) and len(other.elts) > 1:
                    yield from ((other, _with(other, elts=_without(other.elts, i))) for i in range(len(other.elts)))
        case ast.BoolOp(values=values):
            for index in range(len(values)):
                rest = _without(values, index)
                yield node, _with(node, values=rest) if len(rest) > 1 else rest[0]
        case ast.UnaryOp(op=ast.Not() | ast.Invert() | ast.USub(), operand=operand):
            yield node, operand
        case ast.BinOp(op=op):
            for swapped in SWAPPED.get(type(op), ()):
                yield node, _with(node, op=swapped())
        case ast.IfExp(body=body, orelse=orelse):
            yield node, body
            yield node, orelse
        case ast.comprehension(ifs=ifs):
            for condition in ifs:
                yield condition, TRUE
                yield condition, FALSE
        case ast.Slice(lower=lower, upper=upper):
            if lower is not None:
                yield node, _with(node, lower=None)
            if upper is not None:
                yield node, _with(node, upper=None)
        case ast.Dict(keys=keys, values=values):
            for index, key in enumerate(keys):
                if key is not None:
                    yield node, _with(node, keys=_without(keys, index), values=_without(values, index))
        case ast.Call(keywords=keywords):
            yield from ((keyword, NOTHING) for keyword in keywords if keyword.arg is not None)
        case ast.Constant(value=bool() as flag):
            yield node, ast.Constant(not flag)
        case ast.Constant(value=int() | float() as number):
            yield node, ast.Constant(number + 1)
        case ast.Constant(value=str() as text) if not _is_text(text):
            yield node, ast.Constant(text + "X")
        case ast.Constant(value=bytes() as data):
            yield node, ast.Constant(data + b"X")
        case ast.JoinedStr(values=parts):
            if not any(isinstance(part, ast.Constant) and _is_text(str(part.value)) for part in parts):
                yield node, ast.Constant("X")
        case ast.Name(id=name, ctx=ast.Load()) if name in NAMES:
            yield node, _with(node, id=NAMES[name])
        case ast.Name(ctx=ast.Load()) | ast.Attribute(value=ast.Name(), ctx=ast.Load()):
            other_name = constants.get(ast.unparse(node))
            if other_name is not None:
                yield node, ast.Name(other_name, ast.Load())


def _constants(tree: ast.Module) -> dict[str, str]:
    """Return for each constant of a module, `NAME` or `Class.NAME`, another one of its kind."""
    kinds: dict[str, set[str]] = {}
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id=kind), attr=name) if kind[0].isupper() and CONSTANT.fullmatch(name):
                kinds.setdefault(kind, set()).add(f"{kind}.{name}")
            case ast.Name(id=name, ctx=ast.Load()) if CONSTANT.fullmatch(name) and name != "TYPE_CHECKING":
                kinds.setdefault("", set()).add(name)
    pairs: dict[str, str] = {}
    for names in kinds.values():
        ordered = deque(sorted(names))
        if len(ordered) > 1:
            ordered.rotate(-1)
            pairs |= dict(zip(sorted(names), ordered, strict=True))
    return pairs


# Mutants.


@dataclass(frozen=True)
class Mutant:
    """One change of a module."""

    name: str  # lasts as long as the code that it is about, wherever that moves
    code: CodeType
    lines: range  # of the statement, or of the expression in the head of a compound one


def mutants(path: Path) -> list[Mutant]:
    """Make all mutants of a module."""
    source = path.read_bytes()
    tree = ast.parse(source)
    starts = [0, 0]  # of lines, of which the first is number 1
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    sources, names = {source}, Counter[str]()
    found = []
    for where, lines, old, new in _changes(tree, "", _constants(tree)):
        begin, end = starts[old.lineno] + old.col_offset, starts[old.end_lineno] + old.end_col_offset
        changed = source[:begin] + _replacement(new, source[begin:end].count(b"\n")) + source[end:]
        if changed in sources:
            continue
        sources.add(changed)
        name = f"{path.relative_to(PACKAGE).as_posix()} {where}: {_shown(old, new)}"
        names[name] += 1
        if names[name] > 1:
            name += f" ({names[name]})"
        found.append(Mutant(name, compile(changed, str(path), "exec", dont_inherit=True), lines))
    return found


def _changes(node: Any, where: str, constants: dict[str, str]) -> Iterator[tuple[str, range, Any, Any]]:
    """Yield for each change where it is, the lines that tell whether a test gets there, and the old and new node."""
    yield from _changes_at(node, where, range(0), constants)


def _changes_at(
    node: Any, where: str, lines: range, constants: dict[str, str]
) -> Iterator[tuple[str, range, Any, Any]]:
    if isinstance(node, ast.stmt):
        if _is_skipped(node):
            return
        lines = range(0) if hasattr(node, "body") else _lines(node)
        found = statement_changes(node)
    else:
        found = expression_changes(node, constants)
    for old, new in found:
        yield where, lines or _lines(old), old, new
    if isinstance(node, ast.JoinedStr):
        return  # text for people, or changed as a whole
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        where = f"{where}.{node.name}".lstrip(".")
    for name, value in ast.iter_fields(node):
        if name not in SKIPPED_FIELDS:
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from _changes_at(child, where, lines, constants)


def _lines(node: Any) -> range:
    return range(node.lineno, node.end_lineno + 1)


def _is_skipped(node: ast.stmt) -> bool:
    match node:
        case ast.Expr(value=ast.Constant()) | ast.Assert() | ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.FunctionDef(decorator_list=[ast.Name(id="overload")]):
            return True
        case ast.Assign(value=ast.Call(func=ast.Name(id="TypeVar"))):
            return True
        case ast.Assign(targets=[ast.Name(id=name)]):
            return name in SKIPPED_NAMES
    return False


def _replacement(new: ast.AST, newlines: int) -> bytes:
    """Return the source of a node, with as many lines as before: those below keep their numbers."""
    text, gap = ast.unparse(new), "\n" * newlines
    bare = isinstance(new, ast.stmt | ast.Slice) or new is NOTHING
    return f"{text}{gap}".encode() if bare else f"({text}{gap})".encode()


def _shown(old: ast.AST, new: ast.AST) -> str:
    if isinstance(old, ast.Dict) and isinstance(new, ast.Dict):
        ((key, value),) = (pair for pair in zip(old.keys, old.values, strict=True) if pair[0] not in new.keys)
        return f"{_short(key)}: {_short(value)} → nothing"
    return f"{_short(old)} → {'nothing' if new is NOTHING else _short(new)}"


def _short(node: ast.AST | None) -> str:
    text = " ".join(ast.unparse(node).split()) if node is not None else ""
    return text if len(text) <= 70 else f"{text[:69]}…"


# Tests.


@dataclass
class Reach:
    """Which tests there are, and what each reaches."""

    seconds: dict[str, float] = field(default_factory=dict)
    tests: dict[tuple[str, int], set[str]] = field(default_factory=dict)  # by file and line; "": when it is imported
    unseen: set[str] = field(default_factory=set)  # trace by themselves, so that coverage does not see what they reach
    modules: list[str] = field(default_factory=list)  # that were imported, our own and the tests excepted

    def of(self, path: Path, lines: range) -> set[str]:
        """Return the tests that reach any of these lines."""
        reaching: set[str] = set().union(*(self.tests.get((str(path), line), set()) for line in lines))
        return set(self.seconds) if "" in reaching else reaching | self.unseen


class Recorder:
    """Pytest plugin: notes what each test reaches and how long it takes."""

    def __init__(self) -> None:
        self.reach = Reach()
        self._coverage = coverage.Coverage(data_file=None, config_file=False, include=[f"{PACKAGE}/*"])
        self._settrace = sys.settrace
        self._test = ""
        self._coverage.start()

    def _note_tracer(self, function: Any) -> None:
        if self._test:
            self.reach.unseen.add(self._test)
        self._settrace(function)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Switch to the test's own record."""
        self._test = item.nodeid
        self._coverage.switch_context(item.nodeid)
        sys.settrace, begin = self._note_tracer, time.perf_counter()
        result = yield
        self.reach.seconds[item.nodeid] = time.perf_counter() - begin
        sys.settrace = self._settrace
        return result

    def finish(self) -> Reach:
        """Return what was noted."""
        self._coverage.stop()
        data = self._coverage.get_data()
        for path in data.measured_files():
            for line, tests in data.contexts_by_lineno(path).items():
                self.reach.tests[path, line] = set(tests)
        ours = str(TOP)
        self.reach.modules = [
            name
            for name, module in sys.modules.items()
            if (file := getattr(module, "__file__", None)) and not file.startswith(ours)
        ]
        return self.reach


class Chosen:
    """Pytest plugin: runs chosen tests only, in their order, and notes which fails.

    A test that takes much longer than it should ends the process, by a signal.
    """

    def __init__(self, tests: dict[str, float]) -> None:
        """`tests`: with the seconds that each may take."""
        self._tests = tests
        self._places = {test: place for place, test in enumerate(tests)}
        self.failed: str | None = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> None:
        """Set the time."""
        signal.setitimer(signal.ITIMER_REAL, self._tests[item.nodeid])

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Choose and order."""
        items[:] = sorted((item for item in items if item.nodeid in self._places), key=lambda i: self._places[i.nodeid])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a failure."""
        if report.failed:
            self.failed = report.nodeid


def run_pytest(arguments: Iterable[str], plugin: object) -> int:
    """Run tests in this process, always in the same way."""
    # Whatever finds a fault has found it: there is nobody to shrink the example for.
    phases = [hypothesis.Phase.explicit, hypothesis.Phase.generate]
    hypothesis.settings.register_profile("mutants", database=None, phases=phases)
    hypothesis.settings.load_profile("mutants")
    options = ["-x", "-q", "--assert=plain", "-p", "no:randomly", "-p", "no:cacheprovider", "--hypothesis-seed=0"]
    return int(pytest.main([*options, *arguments], plugins=[plugin]))


def record(tests: str, answer: Connection) -> None:
    """Run the tests of a room as they are; in a process of its own."""
    recorder = Recorder()
    status = run_pytest(tests.split(), recorder)
    answer.send((status, recorder.finish()))


def test(module: str, path: Path, code: CodeType, tests: dict[str, float], answer: Connection) -> None:
    """Run tests with one module changed; in a process of its own."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.setitimer(signal.ITIMER_REAL, SLOWEST_IMPORT)
    sys.meta_path.insert(0, Changed(module, path, code))
    try:
        importlib.import_module(module)
    except BaseException:  # noqa: BLE001 - whatever it is, nobody could overlook it
        answer.send((True, None))
        return
    chosen = Chosen(tests)
    status: int = pytest.ExitCode.OK
    # When it ends, pytest may come upon an iterator that it has itself left open.
    with contextlib.suppress(pytest.PytestUnraisableExceptionWarning):
        status = run_pytest(sorted({test.split("::")[0] for test in tests}), chosen)
    answer.send((status != pytest.ExitCode.OK or chosen.failed is not None, chosen.failed))


class Changed(importlib.abc.MetaPathFinder):
    """Has one module imported from other code."""

    def __init__(self, module: str, path: Path, code: CodeType) -> None:
        self._module, self._path, self._code = module, path, code

    def find_spec(self, fullname: str, _path: object, _target: object = None) -> ModuleSpec | None:
        """Find the one module."""
        if fullname != self._module:
            return None
        loader = _Given(fullname, str(self._path))
        loader.code = self._code
        return importlib.util.spec_from_file_location(fullname, self._path, loader=loader)


class _Given(SourceFileLoader):
    code: CodeType

    def get_code(self, fullname: str) -> CodeType:
        del fullname
        return self.code


# Processes.


def _child(work: Callable[..., None], arguments: tuple[Any, ...], answer: Connection, *, quiet: bool) -> None:
    os.setsid()
    if quiet:
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
    try:
        work(*arguments, answer)
    except BaseException:  # noqa: BLE001 - the parent reports it
        answer.send(traceback.format_exc())
    os._exit(0)  # whatever threads it has left


class Work:
    """A forked process, and what it answers."""

    def __init__(self, work: Callable[..., None], *arguments: Any, quiet: bool = True) -> None:
        self.answer, theirs = FORK.Pipe(duplex=False)
        self._process: BaseProcess = FORK.Process(
            target=_child, args=(work, arguments, theirs), kwargs={"quiet": quiet}
        )
        self._process.start()
        theirs.close()

    def result(self) -> Any:
        """Wait for what it sends; a number if it ended without: the signal that ended it, negative."""
        try:
            result = self.answer.recv()
        except EOFError:
            self._process.join()
            result = self._process.exitcode
        self.answer.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid or 0, signal.SIGKILL)
        self._process.join()
        if isinstance(result, str):
            sys.exit(result)
        return result


class Run:
    """The mutants of one module."""

    def __init__(self, path: Path, reach: Reach, expected: set[str]) -> None:
        """`expected`: mutants that are known to survive."""
        self.path = path
        self.verdicts: dict[str, str] = {}
        self._reach = reach
        self._expected = expected
        self._name = ".".join(path.relative_to(TOP).with_suffix("").parts).removesuffix(".__init__")
        self._noticed: Counter[str] = Counter()  # how many mutants each test noticed
        self._running: dict[Connection, tuple[Mutant, Work]] = {}

    def all(self, jobs: int) -> None:
        """Try all."""
        for mutant in mutants(self.path):
            while len(self._running) >= jobs:
                self._collect()
            self._begin(mutant)
        while self._running:
            self._collect()

    def of(self, verdict: str) -> list[str]:
        """Return the mutants of which this is known."""
        return [name for name, found in self.verdicts.items() if found == verdict]

    def _begin(self, mutant: Mutant) -> None:
        seconds, noticed = self._reach.seconds, self._noticed
        reaching = self._reach.of(self.path, mutant.lines)
        order = sorted(reaching, key=lambda test: (seconds[test] / (1 + noticed[test]), test))
        if order:
            # What coverage makes slower is slower than it will be.
            work = Work(test, self._name, self.path, mutant.code, {test: 5 + 5 * seconds[test] for test in order})
            self._running[work.answer] = mutant, work
        else:
            self._decide(mutant, SURVIVED)

    def _collect(self) -> None:
        """Wait for one at least."""
        for answer in wait(self._running):
            mutant, work = self._running.pop(answer)  # type: ignore[call-overload] # it is one of these
            result = work.result()
            if isinstance(result, int):
                self._decide(mutant, LATE if result == -signal.SIGALRM else NOTICED)
                continue
            failed, by = result
            if by is not None:
                self._noticed[by] += 1
            self._decide(mutant, NOTICED if failed else SURVIVED)

    def _decide(self, mutant: Mutant, verdict: str) -> None:
        self.verdicts[mutant.name] = verdict
        if verdict == SURVIVED and mutant.name not in self._expected:
            print(f"  survived: {mutant.name}", flush=True)


def explained() -> set[str]:
    """Return the mutants that `tests/mutants.md` names."""
    text = EXPLAINED.read_text("utf-8") if EXPLAINED.exists() else ""
    return set(re.findall(r"^ *\* `(.+ → .+)`$", text, re.MULTILINE))


def recorded(tests: str) -> Reach:
    """Run the tests of a room, and import here what they need, so that it is there in each forked process."""
    result = Work(record, tests).result()
    if not isinstance(result, tuple) or result[0] != pytest.ExitCode.OK:
        sys.exit(f"The tests do not pass as they are, see: pytest {tests}")
    reach: Reach = result[1]
    for name in reach.modules:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.freeze()  # children need not look through it
    return reach


def chosen_rooms(wanted: list[str]) -> Iterator[tuple[list[Path], str]]:
    """Return modules and the tests for them."""
    for patterns, tests in ROOMS:
        paths = sorted(path for pattern in patterns.split() for path in PACKAGE.glob(pattern))
        paths = [path for path in paths if not wanted or path.relative_to(PACKAGE).as_posix() in wanted]
        if paths:
            yield paths, tests


def main() -> None:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(description="Change the pure rooms a little, and see whether a test fails.")
    parser.add_argument("module", nargs="*", help="a file below fluvio_sync/, such as _dispatch.py; default: all")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at a time")
    parser.add_argument("--list", action="store_true", help="show the mutants, run none")
    options = parser.parse_args()
    os.chdir(TOP)
    os.environ.setdefault("FLUVIO_SYNC_SEEDS", "100")
    known = explained()
    status = False
    print(f"{'':26}{'mutants':>8}{NOTICED:>9}{LATE:>9}{SURVIVED:>10}{'explained':>11}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = folder
        for paths, tests in chosen_rooms(options.module):
            if options.list:
                print("\n".join(mutant.name for path in paths for mutant in mutants(path)))
                continue
            reach = recorded(tests)
            for path in paths:
                run = Run(path, reach, known)
                run.all(options.jobs)
                module = path.relative_to(PACKAGE).as_posix()
                left = set(run.of(SURVIVED))
                gone = {name for name in known if name.startswith(f"{module} ")} - left
                print("".join(f"  explained, but noticed: {name}\n" for name in sorted(gone)), end="")
                counts = [len(run.verdicts), len(run.of(NOTICED)), len(run.of(LATE)), len(left), len(left & known)]
                print("{:26}{:8}{:9}{:9}{:10}{:11}".format(module, *counts), flush=True)
                status |= bool(gone or left - known)
    sys.exit(status)


if __name__ == "__main__":
    main()
