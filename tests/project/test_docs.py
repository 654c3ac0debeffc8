# SPDX-License-Identifier: Apache-2.0
"""The documentation: its code runs, its tables are those of the code, and no public name is missing."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import inspect
import re
import socket
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

import fluvio_sync
from fluvio_sync import Fluvio, FluvioError, ProducerConfig, RetryPolicy
from fluvio_sync._core.failures import Treatment, treatment_of
from fluvio_sync._settings import environment
from fluvio_sync.protocol.error_code import Code
from fluvio_sync.protocol.versions import SC_CLIENT_RANGES, SPU_CLIENT_RANGES
from fluvio_sync.testing import LocalCluster
from tests.support import sockets
from tests.support.documents import CLUSTER, PAGES, ROOT, WORDS, Reader, blocks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import ModuleType

DOCS = ROOT / "docs"
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


def text_of(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


# The code.


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster() as cluster:
        yield cluster


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if "reference/" not in name])
def test_a_page_can_be_followed(name: str, cluster: LocalCluster, tmp_path: Path) -> None:
    with Reader(ROOT / name, tmp_path, cluster) as reader:
        reader.follow()
    assert cluster.violations() == []


def test_a_cluster_of_a_page_gets_ports_that_it_can_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets no port that an outgoing connection has, or had until a moment ago.

    A cluster of docs/django.md met it at its second port, and did not start.
    """
    first = sockets.free_port(following=4)
    monkeypatch.setattr(sockets, "_LOWEST_PORT", first)
    monkeypatch.setattr(sockets, "_HIGHEST_PORT", first + 3)
    with socket.socket() as other:
        other.bind(("127.0.0.1", first + 1))
        found = {sockets.free_port(following=1) for _ in range(100)}
    assert found == {first + 2, first + 3}


@pytest.mark.parametrize("name", NAMES)
def test_a_page_has_no_code_that_nobody_runs(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    for block in blocks(text):
        assert block.language in {"wait", "sh", "python", "text", "ini", "toml", "{eval-rst}", "{toctree}"}, block
        assert block.words.keys() <= WORDS or block.language == "text", block
    fences = re.findall(r"^\s*[`~]{3}.*$", text, re.MULTILINE)
    assert len(fences) == 2 * sum(block.language != "wait" for block in blocks(text)), "fences that are no blocks"
    assert not re.search(r"^ {4}(\$|>>>|pip|python|make|fluvio-sync) ", text, re.MULTILINE), "code without a fence"


def test_the_links_of_the_readme_lead_to_files() -> None:
    """Sphinx checks those of the documentation."""
    links = re.findall(r"\]\((?!https://)([^)\s#]+)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(links) > 5
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_example_of_the_package_works(capsys: pytest.CaptureFixture[str]) -> None:
    _, _, example = inspect.getdoc(fluvio_sync).partition(":\n\n")  # type: ignore[union-attr]
    with LocalCluster(in_process=True) as cluster:
        cluster.create_topic("orders")
        exec(textwrap.dedent(example).replace(CLUSTER, cluster.endpoint), {})
    assert capsys.readouterr().out.startswith("RecordMetadata(topic='orders', partition=0, offset=0, ")


# The reference.

NO_IMPORTS = re.compile(
    r"protocol|testing\.|cli\b|doctor$|contrib\.(pytest_plugin|django\.(apps|checks|management|outbox\.))"
)
"""Modules that no application imports: the command, pytest and Django do, or other modules show their names."""

PARTS = {
    "client": {
        "check_client_settings",
        "checked_config",
        "condition",
        "leave_open_at_exit",
        "try_again",
        "unconnected",
        "waits_for_fork",
    },
    "delivery": {"delivery_semantic"},
    "errors": {"PlainTimeoutError"},
    "futures": {"error_of"},
    "producer": {"check_size", "refuse_single", "to_bytes", "to_milliseconds"},
    "retry": {"load"},
    "tls": {"TlsPolicy", "authority", "present", "problem_of_name", "source", "trust", "verifies_nobody"},
}
"""The names that only other modules of the package use."""


def public_modules() -> Iterator[str]:
    package = ROOT / "fluvio_sync"
    for path in sorted(package.rglob("*.py")):
        name = ".".join(path.relative_to(package).with_suffix("").parts).removesuffix("__init__").removesuffix(".")
        if not re.search(r"(^|\.)_", name) and not NO_IMPORTS.match(name):
            yield name


def public_names(module: ModuleType, path: str) -> set[str]:
    if hasattr(module, "__all__"):
        return set(module.__all__) - {"__version__"} - PARTS.get(path, set())
    defined = re.findall(r"^(?:class |def |(?=[A-Z]\w+(?:: \S+)? = ))(\w{2,})", inspect.getsource(module), re.MULTILINE)
    return {name for name in defined if not name.startswith("_")} - PARTS.get(path, set())


def documented() -> dict[str, Any]:
    """Return the objects that the pages of the reference show, by their names there."""
    found: dict[str, Any] = {}
    for page in sorted((DOCS / "reference").glob("*.md")):
        module = "fluvio_sync"
        for kind, given in re.findall(r"^\.\. (\w+):: ([\w.]+)", page.read_text(encoding="utf-8"), re.MULTILINE):
            if kind in {"module", "currentmodule"}:
                module = given
                continue
            name = given if given.startswith("fluvio_sync.") else f"{module}.{given}"
            assert name not in found, f"{name} is there twice"
            where, _, what = name.rpartition(".")
            found[name] = getattr(importlib.import_module(where), what)
    return found


def test_the_reference_has_every_public_name_once() -> None:
    shown = documented()
    assert len({id(thing) for thing in shown.values()}) == len(shown), "something is there under two names"
    missing = []
    for path in public_modules():
        module = importlib.import_module(f"fluvio_sync.{path}" if path else "fluvio_sync")
        missing += [
            f"{module.__name__}.{name}"
            for name in public_names(module, path)
            if not any(getattr(module, name) is thing for thing in shown.values())
        ]
    assert missing == [], "put them into docs/reference, or among PARTS"


# Tables.


def rows(text: str, heading: str) -> list[list[str]]:
    """Return the rows of the tables under a heading, without their heads."""
    section = re.split(r"\n#+ ", text.split(f"\n## {heading}\n")[1])[0]
    tables = re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE)
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")] for table in tables for line in table.splitlines()[2:]
    ]


def test_the_drawing_and_the_tables_of_states_are_those_of_the_code() -> None:
    spec = importlib.util.spec_from_file_location("draw_states", ROOT / "tools" / "draw_states.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for path, content in module.files().items():
        assert path.read_text(encoding="utf-8") == content, "run: python tools/draw_states.py"


def test_the_table_of_codes_names_every_code_that_is_not_final() -> None:
    _, _, table = text_of("delivery.md").partition("| server's code |")
    named = {
        int(number)
        for row in table.splitlines()
        for number in re.findall(r"-?\d+", row.split("|")[1:2][0] if "|" in row else "")
    }
    assert named == {code for code in Code if treatment_of(code) is not Treatment.REJECT and code}


def test_the_table_of_variables_is_that_of_the_code() -> None:
    shown = {
        name for row in text_of("reference/environment.md").splitlines() for name in re.findall(r"^\| (.*?) \|", row)
    }
    names = (*environment._READERS, "tls", *environment._CERTIFICATES)
    assert set(re.findall("FLUVIO_SYNC_[A-Z_]+", " ".join(shown))) == {environment._variable(name) for name in names}


def test_every_error_is_explained() -> None:
    page = text_of("what-can-go-wrong.md")
    tables = rows(page, "Errors of a future") + rows(page, "Errors of calls")
    explained = {name for row in tables for name in re.findall(r"`(\w+Error)`", row[0])}
    public = {
        name
        for name in fluvio_sync.__all__
        if isinstance(kind := getattr(fluvio_sync, name), type) and issubclass(kind, FluvioError)
    }
    assert explained == public - {"FluvioError"} | {"TimeoutError"}


def test_the_settings_that_matter_exist() -> None:
    places = {
        "topic_producer": {field.name for field in dataclasses.fields(ProducerConfig)},
        "RetryPolicy": {field.name for field in dataclasses.fields(RetryPolicy)},
        "connect": set(inspect.signature(Fluvio.connect).parameters),
    }
    table = rows(text_of("choosing.md"), "Settings that matter")
    assert len(table) >= 10
    for names, place, *_ in table:
        for name in re.findall(r"`(\w+)`", names):
            assert name in places[place.strip("`")], name


# The pages about the inside.


def test_the_wires_table_has_the_versions_of_the_code() -> None:
    rows = re.findall(r"^\| (SC|SPU) \| ([\w, ]+) \| ([\d, ]+) \| (\d+) to (\d+) \|", text_of("wire.md"), re.MULTILINE)
    shown = {(node, int(key)): (int(low), int(high)) for node, _, keys, low, high in rows for key in keys.split(", ")}
    ranges = {"SC": SC_CLIENT_RANGES, "SPU": SPU_CLIENT_RANGES}
    assert len(shown) == 9
    assert shown == {(node, key): ranges[node][key] for node, key in shown}
