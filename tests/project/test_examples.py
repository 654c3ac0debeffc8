# SPDX-License-Identifier: Apache-2.0
"""Every example runs, on a cluster of its own and on a given one, and the quickstart finds errors."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fluvio_sync import TlsConfig

if TYPE_CHECKING:
    from fluvio_sync.testing import LocalCluster
    from tests.support.cluster import Where

EXAMPLES = Path(__file__).parents[2] / "examples"

# The output of each; the quickstart takes too long to be run as it is.
EXPECTED = {
    "at_most_once.py": ["acknowledged=False)", "10000 handed to the socket, 0 dropped"],
    "back_pressure.py": ["block: 3000 acknowledged, none refused", "raise: "],
    "blocking_script.py": ["partition 0: ", "partition 1: ", "partition 2: "],
    "callbacks.py": ["partition 0: 50 events", "partition 1: 50 events"],
}


def run(example: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / example), *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_every_example_is_tested() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == {*EXPECTED, "quickstart.py"}


@pytest.mark.parametrize("example", EXPECTED)
def test_example_starts_a_cluster(example: str) -> None:
    lines = run(example).splitlines()
    assert len(lines) == len(EXPECTED[example])
    for line, expected in zip(lines, EXPECTED[example], strict=True):
        assert expected in line


def test_example_takes_an_endpoint(own: LocalCluster) -> None:
    run("callbacks.py", own.endpoint)
    assert [len(own.records("example-events", partition)) for partition in (0, 1)] == [50, 50]


def test_back_pressure_refuses_what_it_does_not_acknowledge(own: LocalCluster) -> None:
    words = run("back_pressure.py", own.endpoint).splitlines()[1].split()
    assert int(words[1]) + int(words[3]) == 3000
    assert int(words[3]) > 0
    assert len(own.records("example-uploads")) == 3000 + int(words[1])


# The quickstart, on a library of four files.


@pytest.fixture
def where(where: Where) -> Where:
    if where.tls != TlsConfig.disabled():
        pytest.skip("the quickstart reads back in plain")
    return where


@pytest.fixture
def quickstart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    spec = importlib.util.spec_from_file_location("quickstart", EXAMPLES / "quickstart.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "package").mkdir()
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "a.py").write_bytes(b"one\n\ntwo\n\nthree")
    (tmp_path / "empty.py").touch()
    (tmp_path / "package" / "b.py").write_bytes(b"\n" * 100)
    (tmp_path / "c.py").write_bytes(b"\xff\xfe\n\r\n")
    (tmp_path / "d.py").write_bytes(b"".join(b"%d\n" % number for number in range(10_000)))
    (tmp_path / "site-packages" / "not.py").write_bytes(b"not\n")
    monkeypatch.setattr(module, "LIBRARY", tmp_path)
    return module


def test_quickstart_succeeds(quickstart: Any, where: Where, capsys: pytest.CaptureFixture[str]) -> None:
    assert quickstart.run(where.endpoint) == 0
    printed = capsys.readouterr().out
    assert "10107 records acknowledged" in printed
    assert printed.endswith("every record is there exactly once, and those of a file in order.\n")
    assert not [topic for topic in where.admin.topics() if topic.startswith("quickstart-")]


def problems(quickstart: Any, where: Where, *more: dict[str, Any], drop: bytes = b"") -> str:
    """Return the complaints after a run that left a file out, or sent more records than it should."""
    topic = where.topic(partitions=3)
    files = quickstart.source_files()
    with where.connect() as fluvio:
        kept = {key: path for key, path in files.items() if key != drop}
        sent, samples = quickstart.produce(fluvio, topic, kept)
        producer = fluvio.topic_producer(topic)
        home = samples[0].partition  # of the first file, a.py
        for record in more:
            aside = record.pop("aside", None)
            producer.send(**record, partition=None if aside is None else (home + aside) % 3)
        producer.flush()
    where.read_all(topic, 3, sent + len(more))
    return "\n".join(quickstart.check(where.endpoint, topic, files, samples))


@pytest.mark.parametrize(
    ("record", "complaint"),
    [
        (
            {"value": b"", "key": b"empty.py"},
            "empty.py: 1 lines are stored instead of 0; the first that differs is line 1",
        ),
        ({"value": b"x", "key": b"x.py"}, "has records with the key b'x.py', which nobody sent"),
        ({"value": b"x"}, "has records with the key None, which nobody sent"),
        (
            {"value": b"three", "key": b"a.py"},
            "a.py: 6 lines are stored instead of 5; the first that differs is line 6",
        ),
        ({"value": b"", "key": b"a.py", "aside": 1}, "a.py: its lines are in two partitions"),
    ],
)
def test_quickstart_finds_what_is_too_much(quickstart: Any, where: Where, record: Any, complaint: str) -> None:
    assert complaint in problems(quickstart, where, dict(record))


def test_quickstart_finds_what_is_missing(quickstart: Any, where: Where) -> None:
    assert problems(quickstart, where) == ""
    assert problems(quickstart, where, drop=b"c.py") == "c.py: all of its lines are missing"


def test_quickstart_finds_what_is_out_of_order(quickstart: Any) -> None:
    difference = quickstart.difference([b"1", b"2", b"3"], [b"1", b"3", b"2"])
    assert difference == "3 lines are stored instead of 3; the first that differs is line 2"


def test_quickstart_finds_metadata_that_is_not_true(quickstart: Any, where: Where) -> None:
    topic = where.topic(partitions=3)
    files = quickstart.source_files()
    with where.connect() as fluvio:
        sent, samples = quickstart.produce(fluvio, topic, files)
    where.read_all(topic, 3, sent)
    wrong = samples[0]._replace(offset=samples[0].offset - 1)
    assert list(quickstart.check(where.endpoint, topic, files, [wrong])) == [f"{wrong} is not where a last line is"]
