# SPDX-License-Identifier: Apache-2.0
"""The parts of the command that need no cluster."""

from __future__ import annotations

import io
import logging
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit import wait_until

from fluvio_sync import AtLeastOnce, AtMostOnce, Compression, TlsConfig
from fluvio_sync.cli import command
from fluvio_sync.cli.durations import parse_duration
from fluvio_sync.cli.input import Chunks, Lines, Whole
from fluvio_sync.cli.options import connect_settings
from fluvio_sync.cli.produce import producer_config
from fluvio_sync.cli.progress import Counts, Progress, progress_line
from fluvio_sync.cli.run import Run, Sent
from fluvio_sync.cli.screen import Screen, in_words
from fluvio_sync.delivery import Isolation
from fluvio_sync.errors import ConfigError
from fluvio_sync.retry import RetryPolicy, RetryStrategy

if TYPE_CHECKING:
    from argparse import Namespace


def parsed(*arguments: str) -> Namespace:
    return command._parser().parse_args(arguments)


# Input.


class Stream(io.RawIOBase):
    """A stream whose reads return these chunks, and then fail if they should."""

    def __init__(self, chunks: list[bytes], failure: OSError | None = None) -> None:
        self._chunks = iter(chunks)
        self._failure = failure
        self.reads = 0

    def read(self, _size: int = -1) -> bytes:
        self.reads += 1
        chunk = next(self._chunks, b"")
        if not chunk and self._failure is not None:
            raise self._failure
        return chunk


def records_of(kind: type[Lines | Whole], stream: Stream, limit: int) -> list[bytes | None]:
    records = kind(Chunks(cast("Any", stream)), limit)
    found: list[bytes | None] = []
    while (more := records.next(None)) is not None:
        found += more
    assert records.next(None) is None
    return found


CHUNKS = st.lists(st.text("ab\n", min_size=1, max_size=6).map(str.encode), max_size=8)


@given(chunks=CHUNKS)
def test_lines_do_not_depend_on_how_they_are_read(chunks: list[bytes]) -> None:
    *expected, rest = b"".join(chunks).split(b"\n")
    assert records_of(Lines, Stream(chunks), limit=1000) == [*expected, *([rest] if rest else [])]


@given(chunks=CHUNKS)
def test_the_whole_input_is_one_record(chunks: list[bytes]) -> None:
    assert records_of(Whole, Stream(chunks), limit=1000) == [b"".join(chunks)]


def test_a_line_that_is_too_long_is_not_kept() -> None:
    chunks = [b"first\nxxx", b"xxx", b"xxx", b"x\n", b"exactly8\nlast", b"and more"]
    assert records_of(Lines, Stream(chunks), limit=8) == [b"first", None, b"exactly8", None]


def test_an_input_that_is_too_long_is_not_read_to_its_end() -> None:
    stream = Stream([b"xxxx"] * 1000)
    assert records_of(Whole, stream, limit=8) == [None]
    assert stream.reads < 20  # a few ahead
    assert records_of(Whole, Stream([b"xxxx"] * 2), limit=8) == [b"xxxxxxxx"]


@pytest.mark.parametrize("kind", [Lines, Whole])
def test_reading_fails(kind: type[Lines | Whole]) -> None:
    with pytest.raises(OSError, match="the disk is gone"):
        records_of(kind, Stream([b"first\n"], OSError(5, "the disk is gone")), limit=8)


def test_what_is_resolved_behind_a_record_that_is_not_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Run, "_MANY", 10)
    run = Run(cast("Any", None), parsed("produce", "t"), Screen(None), asks=False)
    waits, done = Future[Any](), Future[Any]()
    done.set_result(None)
    run._sent.append(Sent(1, cast("Any", waits)))
    for line in range(2, 1000):
        run._sent.append(Sent(line, cast("Any", done)))
        run._examine(idle=False)
        assert len(run._sent) <= 10
    assert run._sent[0].future is cast("Any", waits)


# Durations.


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("150ms", 0.15),
        ("20s", 20.0),
        ("1m 30s", 90.0),
        ("1m30s", 90.0),
        ("1h 1m 1s 1ms", 3661.001),
        ("2hours 5 min", 7500.0),
        ("500us", 0.0005),
        ("1.5s", 1.5),
        (".5s", 0.5),
        ("0.005", 0.005),
        ("0", 0.0),
        ("1d", 86_400.0),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", " ", "s", "5 parsecs", "-1s", "1 30s", "1m 30", "1e3", "inf", "5S", "1,5s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


@given(st.text("0123456789. msh-", max_size=12))
def test_a_duration_is_a_number_or_refused(text: str) -> None:
    try:
        seconds = parse_duration(text)
    except ValueError:
        return
    assert seconds >= 0


# Options.


def test_every_option_of_a_producer_arrives() -> None:
    options = parsed(
        "produce", "t", "--linger", "5ms", "--batch-size", "1000", "--max-request-size", "2000", "--isolation",
        "ReadCommitted", "--compression", "GZIP", "--compression-level", "7", "--partition", "3", "--retries", "2",
        "--retry-strategy", "fibonacci", "--retry-initial", "1s", "--retry-max-delay", "2s", "--delivery-timeout", "1m",
        "--sm", "m", "-e", "a=1", "--params", "b==",
    )  # fmt: skip
    config = producer_config(options)
    assert (config.linger, config.batch_size, config.max_request_size) == (0.005, 1000, 2000)
    assert (config.isolation, config.compression, config.compression_level) == (
        Isolation.READ_COMMITTED,
        Compression.GZIP,
        7,
    )
    assert repr(config.partitioner) == "SpecificPartitioner(3)"
    policy = RetryPolicy(max_retries=2, strategy="fibonacci", initial_delay=1, max_delay=2, timeout=60)
    assert config.delivery_semantic == AtLeastOnce(policy)
    assert [(module.name, module.params) for module in config.smartmodules] == [("m", {"a": "1", "b": "="})]


@pytest.mark.parametrize(
    ("option", "names", "expected"),
    [
        (
            "isolation",
            "read_committed ReadCommitted readCommitted readcommitted read-committed",
            Isolation.READ_COMMITTED,
        ),
        (
            "isolation",
            "read_uncommitted ReadUncommitted readUncommitted readuncommitted read-uncommitted",
            Isolation.READ_UNCOMMITTED,
        ),
        ("delivery_semantic", "at_most_once at-most-once AtMostOnce atMostOnce atmostonce", AtMostOnce()),
        ("delivery_semantic", "at_least_once at-least-once AtLeastOnce atLeastOnce atleastonce", AtLeastOnce()),
        ("compression", "zstd ZSTD Zstd", Compression.ZSTD),
        ("retry_strategy", "constant fixed fixed-delay FixedDelay", RetryStrategy.FIXED_DELAY),
        ("retry_strategy", "exponential exponential-backoff ExponentialBackoff", RetryStrategy.EXPONENTIAL_BACKOFF),
    ],
)  # fmt: skip
def test_spellings(option: str, names: str, expected: object) -> None:
    for name in names.split():
        options = parsed("produce", "t", "--" + option.replace("_", "-"), name)
        assert getattr(options, option) == expected


def test_what_is_not_said_is_left_to_the_library() -> None:
    assert connect_settings(parsed("produce", "t"), {}) == {}
    config = producer_config(parsed("produce", "t"))
    assert (config.linger, config.batch_size, config.max_request_size) == (0.0, 16_384, 1_048_576)
    assert config.delivery_semantic == AtLeastOnce()


def test_the_client_id_of_the_official_command_line() -> None:
    assert connect_settings(parsed("doctor"), {"FLUVIO_CLIENT_ID": "me"}) == {"client_id": "me"}
    assert connect_settings(parsed("doctor"), {"FLUVIO_CLIENT_ID": ""}) == {}


def test_a_cluster_may_be_named_before_the_command_or_behind_it() -> None:
    options = ["-c", "example.com", "--timeout", "2s", "--tls"]
    command = ["topics", "list"]
    timeouts = {"connect_timeout": 2.0, "request_timeout": 2.0}
    for arguments in ([*options, *command], [*command, *options]):
        settings = connect_settings(parsed(*arguments), {})
        assert settings == {"endpoint": "example.com:9003", "tls": TlsConfig.anonymous(), **timeouts}


ALL_FOUR = ["--domain", "d", "--ca-cert", "a", "--client-cert", "c", "--client-key", "k"]


@pytest.mark.parametrize(
    ("options", "tls"),
    [
        ([], TlsConfig.anonymous()),
        (["--domain", "d", "--ca-cert", "a"], TlsConfig.verified(domain="d", ca_cert="a")),
        (["--enable-client-cert", *ALL_FOUR], TlsConfig.verified(domain="d", ca_cert="a", cert="c", key="k")),
    ],
)
def test_kinds_of_tls(options: list[str], tls: TlsConfig) -> None:
    assert connect_settings(parsed("doctor", "-c", "h", "--tls", *options), {})["tls"] == tls
    assert connect_settings(parsed("doctor", "--tls", *options), {"FLUVIO_SYNC_ENDPOINT": "h"})["tls"] == tls


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["-c", "h", "--domain", "d"], "--domain has no effect without --tls"),
        (["-c", "h", "--enable-client-cert"], "--enable-client-cert has no effect without --tls"),
        (["-c", "h", "--tls", "--domain", "d"], "--domain needs --ca-cert as well"),
        (["-c", "h", "--tls", "--ca-cert", "a"], "--ca-cert needs --domain as well"),
        (["-c", "h", "--tls", *ALL_FOUR], "--client-cert has no effect without --enable-client-cert"),
        (
            ["-c", "h", "--tls", "--enable-client-cert", *ALL_FOUR[:6]],
            "--enable-client-cert needs --client-key as well",
        ),
        (["--tls"], "--tls needs --cluster"),
        (["-P", "p", "--tls"], "--tls needs --cluster"),
        (["-c", "h", "-P", "p"], "--cluster and --profile exclude each other"),
    ],
)
def test_options_of_the_cluster_that_do_not_fit(options: list[str], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        connect_settings(parsed("topics", "list", *options), {})


# The screen.


def test_a_line_does_not_run_into_a_prompt_or_the_progress() -> None:
    stream = io.StringIO()
    screen = Screen(stream)
    screen.prompt()
    screen.say("one")
    screen.answered()
    screen.line("two")
    screen.draw("50 %")
    screen.say("three")
    screen.draw("60 %")
    screen.end()
    erase = "\r\x1b[K"
    lines = ["> \nfluvio-sync: one\n> two\n", f"{erase}50 %", f"{erase}fluvio-sync: three\n", f"{erase}60 %", erase]
    assert stream.getvalue() == "".join(lines)


def test_a_screen_that_nobody_looks_at() -> None:
    closed = io.StringIO()
    closed.close()
    for stream in (None, closed):
        screen = Screen(stream)
        screen.prompt()
        screen.say("one")
        screen.end()


def test_the_progress_fits_the_terminal() -> None:
    counts = Counts(read=1_234_567, size=123_456_789, acked=1_234_000, failed=3)
    line = progress_line(counts, 98_765.4, 200)
    assert line == "1,234,567 records read (123.5 MB), 1,234,000 acknowledged, 98,765/s, 3 failed"
    assert progress_line(counts, 1.0, 20) == line[:19]
    assert progress_line(Counts(1, 999, 0, 0), 0.0, 80).startswith("1 records read (999 B)")


def test_the_progress_is_erased_at_its_end() -> None:
    stream = io.StringIO()
    with Progress(Screen(stream), lambda: Counts(7, 0, 0, 0)):
        wait_until(lambda: "7 records read" in stream.getvalue(), "it is drawn")
    assert stream.getvalue().endswith("\r\x1b[K")


@pytest.mark.parametrize(
    ("event", "fields", "words"),
    [
        ("metadata.lost", {"client_id": "c", "error": "gone"}, "metadata lost: gone"),
        ("config.isolation_without_effect", {"topic": "t", "reason": "why"}, "config isolation without effect: why"),
        (
            "environment.unknown",
            {"variable": "A", "did_you_mean": "B"},
            "environment unknown: variable A, did_you_mean B",
        ),
        ("sender.stopped", {}, "sender stopped"),
    ],
)
def test_warnings_in_words(event: str, fields: dict[str, str], words: str) -> None:
    text = " ".join([event, *(f"{name}=%({name})r" for name in fields)])
    arguments = (fields,) if fields else ()
    assert in_words(logging.LogRecord("fluvio_sync", logging.WARNING, "", 0, text, arguments, None)) == words
