# SPDX-License-Identifier: Apache-2.0
"""The house: which rooms are pure, what stands on what, and what importing the package costs."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import fluvio_sync

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(fluvio_sync.__file__).parent

EFFECTS = {"socket", "ssl", "select", "selectors", "threading", "time", "random", "logging", "structlog", "os", "queue"}

LAYERS = [
    ("ground", "errors _version _clock _log _threads _timers _tls_socket _wording stats"),
    ("protocol", "protocol protocol.*"),
    (
        "settings",
        "_settings _topic_name _endpoint _tls_config _environment config delivery retry partitioner profile topics",
    ),
    ("futures", "futures _callbacks"),
    (
        "decisions",
        "_lane _link _channel _books _actions _failures _halving _metadata _dispatch _accumulator",
    ),
    ("connections", "_resolution _tls_failures _undisturbed _connection _poller _blocking _watch _admin _spu_requests"),
    ("sender", "_sender _sender_thread"),
    ("client", "_uwsgi _engine _exit _session producer client"),
    ("package", "fluvio_sync"),
    ("around the client", "_unconnected _doctor_advice _doctor testing testing.* contrib._backlog"),
    ("frameworks", "_pytest_plugin contrib contrib.*"),
    ("command", "_cli_* cli __main__"),
]
"""From the ground up: a module imports its own layer and those below, and nothing above, for types neither."""

DATA_THAT_REFERS_TO_EACH_OTHER = {"_channel", "_lane", "_link"}
"""A channel has lanes, a lane its batches and its link, a link its lanes: these name each other's types."""

PURE = [
    *sorted(path.relative_to(PACKAGE).as_posix() for path in (PACKAGE / "protocol").glob("*.py")),
    "_actions.py",
    "_books.py",
    "_channel.py",
    "_cli_durations.py",
    "_dispatch.py",
    "_doctor_advice.py",
    "_endpoint.py",
    "_failures.py",
    "_halving.py",
    "_lane.py",
    "_link.py",
    "_metadata.py",
    "_settings.py",
    "_timers.py",
    "_topic_name.py",
    "_wording.py",
    "delivery.py",
    "errors.py",
    "retry.py",
    "testing/_cluster/core.py",
    "testing/_cluster/faults.py",
    "testing/_cluster/model.py",
    "testing/_cluster/modules.py",
    "testing/_cluster/produce.py",
    "testing/_cluster/sc.py",
    "testing/_cluster/session.py",
    "testing/_cluster/spu.py",
    "testing/_cluster/stream.py",
    "testing/_cluster/topics.py",
]


def name_of(path: Path) -> str:
    """Return a module's name without the package's, which stands for the package itself."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    if parts[-1] == "__init__":
        parts = parts[:-1]
    return ".".join(parts) or "fluvio_sync"


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def is_for_types(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def statements(body: list[ast.stmt], *, types: bool) -> Iterator[ast.stmt]:
    """Yield what runs when a module is imported; with `types` also what type checkers alone read."""
    for node in body:
        yield node
        if isinstance(node, ast.If | ast.Try | ast.With):
            if types or not is_for_types(node):
                yield from statements(node.body, types=types)
            yield from statements(getattr(node, "orelse", []), types=types)
            for handler in getattr(node, "handlers", []):
                yield from statements(handler.body, types=types)


def everything(path: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_text()))


def at_import(path: Path) -> Iterator[ast.AST]:
    return statements(ast.parse(path.read_text()).body, types=False)


def with_types(path: Path) -> Iterator[ast.AST]:
    return statements(ast.parse(path.read_text()).body, types=True)


def imported(nodes: Iterator[ast.AST]) -> set[str]:
    """Return the full names of the modules that are imported, and of the names that are imported from them."""
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def ours(nodes: Iterator[ast.AST]) -> set[str]:
    """Return which of our own modules are imported; a package is not, where it only says where a module stands."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                found.add(name if known(name) in MODULES else node.module or "")
    return {known(name) for name in found} & MODULES.keys()


def known(name: str) -> str:
    return name if name == "fluvio_sync" else name.removeprefix("fluvio_sync.")


def layer_of(module: str) -> int:
    """Return the number of a module's layer: its own name decides before a pattern does."""
    members = {name: number for number, (_, names) in enumerate(LAYERS) for name in names.split()}
    if module in members:
        return members[module]
    for pattern, number in members.items():
        if pattern.endswith("*") and module.startswith(pattern[:-1]):
            return number
    raise AssertionError(f"{module} is in no layer: which one does it belong to?")


@pytest.mark.parametrize("module", MODULES)
def test_nothing_is_imported_from_above(module: str) -> None:
    path = MODULES[module]
    above = {other for other in ours(everything(path)) if layer_of(other) > layer_of(module)}
    assert not above, f"{module} ({LAYERS[layer_of(module)][0]}) knows what stands above it"


def circle(graph: dict[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


def test_no_import_goes_round_in_a_circle() -> None:
    assert circle({module: ours(at_import(path)) - {module} for module, path in MODULES.items()}) == []


def test_no_type_goes_round_in_a_circle() -> None:
    graph = {module: ours(with_types(path)) - {module} for module, path in MODULES.items()}
    for module in DATA_THAT_REFERS_TO_EACH_OTHER:
        graph[module] -= DATA_THAT_REFERS_TO_EACH_OTHER
    assert circle(graph) == []


@pytest.mark.parametrize("name", PURE)
def test_a_pure_room_imports_no_effect(name: str) -> None:
    assert not {module.split(".")[0] for module in imported(everything(PACKAGE / name))} & EFFECTS


COMMANDS = {f"_cli_{name}" for name in ("completion", "doctor", "produce", "topics")}


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_no_command_knows_another(command: str) -> None:
    assert not ours(everything(MODULES[command])) & (COMMANDS | {"cli"})


# --- what importing costs --------------------------------------------------------------------------


def alone() -> dict[str, str]:
    """Return the environment of a process that coverage does not follow: it would import more."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("COVERAGE_", "COV_"))}


def run(code: str) -> str:
    """Run a program in a process of its own and return what it prints."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=alone())
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


def test_importing_starts_no_thread_and_opens_nothing() -> None:
    code = """
import sys
opened = []
sys.addaudithook(lambda event, args: opened.append(event) if event.startswith(("socket.", "_thread.start")) else None)
import threading, fluvio_sync, fluvio_sync.testing
print(opened, threading.enumerate() == [threading.main_thread()])
"""
    assert run(code) == "[] True"


def test_importing_brings_nothing_heavy() -> None:
    # asyncio takes as long to import as the whole package, and so do the packages that import it.
    heavy = ("asyncio", "backoff", "structlog", "cramjam", "argparse", "tomllib", "http", "email", "multiprocessing")
    code = f"import sys, fluvio_sync; print([name for name in {heavy} if name in sys.modules])"
    assert run(code) == "[]"


def test_importing_takes_little_beside_starting_python(tmp_path: Path) -> None:
    """Some 70 ms where Python starts in 24, 2.9 times as long; a ratio, because machines differ, and are busy."""
    env = alone() | {"PYTHONPYCACHEPREFIX": str(tmp_path), "PYTHONDONTWRITEBYTECODE": ""}

    def spent(code: str) -> float:
        process = subprocess.Popen([sys.executable, "-c", code], env=env)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = status
        assert status == 0
        return usage.ru_utime + usage.ru_stime

    spent("import fluvio_sync")  # compiles it
    pairs = [(spent("pass"), spent("import fluvio_sync")) for _ in range(15)]
    start, whole = (min(times) for times in zip(*pairs, strict=True))
    assert whole - start < 3.5 * start, f"{whole - start:.3f} s beside {start:.3f} s"
