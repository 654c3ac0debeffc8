# SPDX-License-Identifier: Apache-2.0
"""The texts on the page docs/what-can-go-wrong.md are those of the errors."""

from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from fluvio_sync import Fluvio, SmartModule, TlsConfig
from fluvio_sync.errors import PlainTimeoutError
from fluvio_sync.protocol.error_code import ErrorCode
from fluvio_sync.protocol.versions import ApiVersionKey, ApiVersionsResponse
from fluvio_sync.testing import LocalCluster
from tests.support.client import attempts, wait_offline
from tests.support.documents import ROOT, blocks
from tests.support.hostile import SC_KEYS, Server, Talk, reply_to
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.certificates import Certificates

PAGE = (ROOT / "docs" / "what-can-go-wrong.md").read_text(encoding="utf-8")
SHOWN = {name: block.text for block in blocks(PAGE) if block.language == "text" for name in block.words}
ONCE = attempts(1, timeout=1.0)
TWICE = attempts(2, timeout=1.0)
MODULES = [SmartModule("my-filter")]


def plain(text: str) -> str:
    """Return a text on one line, without the parts that differ from run to run."""
    text = re.sub(r"127\.0\.0\.1:\d+", "ADDRESS", " ".join(text.split()))
    text = re.sub(r"'[^' ]*/(other-)?ca\.crt'", "CA", text)
    return re.sub(r"\S+/\.fluvio/config", "PROFILE", re.sub(r"in \d+\.\d s", "in TIME", text))


def assert_shown(name: str, printed: str) -> None:
    """The page has this text under this name."""
    expected = ".*".join(map(re.escape, plain(SHOWN[name]).split("...")))
    assert re.fullmatch(expected, plain(printed)), f"{name}: {printed}"


@contextlib.contextmanager
def raising(name: str) -> Iterator[None]:
    """The block raises the error that the page shows."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - the text says which
        yield
    kind = TimeoutError if caught.type is PlainTimeoutError else caught.type  # before Python 3.11 it is of two kinds
    assert_shown(name, f"{kind.__name__}: {caught.value}")


@pytest.fixture
def fluvio(own: LocalCluster) -> Iterator[Fluvio]:
    """A client of `own`, which has a topic with two partitions, and which has written to it."""
    client = Fluvio.connect(own.endpoint, metadata_timeout=0.1, buffer_memory=2_000_000)
    client.create_topic("orders", partitions=2)
    client.topic_producer("orders").send("first", partition=0).result(5)
    yield client
    client.close(0)


def test_every_text_of_the_page_is_shown_here() -> None:
    proven = re.findall(
        r'(?:raising|assert_shown|^ {8})\(\s*"([a-z-]+)"', Path(__file__).read_text(encoding="utf-8"), re.MULTILINE
    )
    assert sorted(proven) == sorted(SHOWN)


# It does not connect.


def test_nobody_listens(own: LocalCluster) -> None:
    endpoint = own.endpoint
    own.kill_sc()
    with raising("refused"):
        Fluvio.connect(endpoint)


def test_a_name_without_an_address() -> None:
    with raising("no-name"):
        Fluvio.connect("sc.invalid:9003")


def test_a_resolver_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fluvio_sync._net.resolver.Resolution._look_up", lambda _: None)
    with raising("slow-name"):
        Fluvio.connect("sc.example:9003", connect_timeout=0.2)


def test_a_server_that_says_nothing() -> None:
    with Server(Talk.wait_for_end) as server, raising("mute"):
        Fluvio.connect(server.endpoint, connect_timeout=0.2)


def test_a_web_server() -> None:
    def answer(talk: Talk) -> None:
        talk.receive()
        talk.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with Server(answer) as server, raising("no-fluvio"):
        Fluvio.connect(server.endpoint)


def test_an_spu_in_the_place_of_the_sc(own: LocalCluster) -> None:
    with raising("spu-as-sc"):
        Fluvio.connect(own.spu_endpoints[5001])


def test_versions_that_do_not_meet() -> None:
    def answer(talk: Talk) -> None:
        header, _ = talk.request()
        keys = tuple(ApiVersionKey(key.api_key, 3, 8) for key in SC_KEYS)
        talk.send(reply_to(header, ApiVersionsResponse(ErrorCode.NONE, keys, "0.9.0")))
        talk.wait_for_end()

    with Server(answer) as server, raising("versions"):
        Fluvio.connect(server.endpoint)


@pytest.mark.parametrize(
    ("name", "server", "client"),
    [
        ("no-tls", "plain", lambda _: TlsConfig.anonymous()),
        ("wants-tls", "tls", lambda _: None),
        ("other-authority", "tls", lambda known: known.verified(ca_cert=known.other_ca)),
        ("other-name", "tls", lambda known: known.verified(domain="fluvio.example.com")),
        ("no-client-certificate", "mutual", lambda known: known.verified()),
        ("strange-client", "mutual", lambda known: known.verified(**known.stranger._asdict())),
    ],
)
def test_tls_that_does_not_fit(
    name: str, server: str, client: Callable[[Certificates], TlsConfig | None], certificates: Certificates
) -> None:
    with LocalCluster(in_process=True, **certificates.of_cluster(server)) as cluster, raising(name):
        Fluvio.connect(cluster.endpoint, tls=client(certificates))


def test_a_certificate_that_has_expired(certificates: Certificates) -> None:
    cert, key = certificates.expired
    with LocalCluster(in_process=True, tls_cert=cert, tls_key=key) as cluster, raising("expired"):
        Fluvio.connect(cluster.endpoint, tls=certificates.verified())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("no-profile", None),
        ("other-profile", 'current_profile = "prod"\n[profile.local]\ncluster = "local"\n'),
    ],
)
def test_a_profile(name: str, content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("FLV_PROFILE_PATH", raising=False)
    if content is not None:
        (tmp_path / ".fluvio").mkdir()
        (tmp_path / ".fluvio" / "config").write_text(content)
    with raising(name):
        Fluvio.connect()


# It connects, and cannot send.


def test_no_topic(own: LocalCluster) -> None:
    with Fluvio.connect(own.endpoint, metadata_timeout=0.1) as fluvio, raising("no-topic"):
        fluvio.topic_producer("orders")


def test_an_sc_that_went_away(own: LocalCluster) -> None:
    with Fluvio.connect(own.endpoint, metadata_timeout=0.1) as fluvio:
        own.kill_sc()
        wait_until(lambda: "refused" in str(fluvio.health().last_error), "the client tries to connect again")
        with raising("sc-away"):
            fluvio.topic_producer("orders")


def test_an_spu_at_an_address_of_another_network(own: LocalCluster) -> None:
    own.create_topic("orders")
    own.advertise(5001, "fluvio-main-0:9005")
    with Fluvio.connect(own.endpoint) as fluvio, raising("spu-unknown"):
        fluvio.topic_producer("orders", delivery_semantic=TWICE).send("x").result(5)


@pytest.mark.parametrize(
    ("name", "use"),
    [
        ("misspelt", lambda fluvio: fluvio.topic_producer("orders", linger_ms=5)),
        ("no-seconds", lambda fluvio: fluvio.topic_producer("orders", linger="5")),
        ("no-bytes", lambda fluvio: fluvio.topic_producer("orders").send({"item": "tea"})),
        ("too-large", lambda fluvio: fluvio.topic_producer("orders").send(bytes(2_000_000))),
        ("no-partition", lambda fluvio: fluvio.topic_producer("orders").send("x", partition=7)),
        (
            "module",
            lambda fluvio: fluvio.topic_producer("orders", smartmodules=MODULES).send("x", partition=0).result(),
        ),
    ],
)
def test_a_call_that_cannot_work(name: str, use: Callable[[Any], object], fluvio: Fluvio) -> None:
    with raising(name):
        use(fluvio)


def test_another_codec_than_the_topics(own: LocalCluster) -> None:
    own.create_topic("orders", compression="gzip")
    with Fluvio.connect(own.endpoint) as fluvio, raising("other-codec"):
        fluvio.topic_producer("orders", compression="lz4")


def test_memory_that_is_taken_up(own: LocalCluster, fluvio: Fluvio) -> None:
    own.hold_replies(5001)
    producer = fluvio.topic_producer("orders", max_block=0.1)
    with raising("full"):
        for _ in range(30):
            producer.send(bytes(100_000))
    own.hold_replies(5001, on=False)


# Records are not acknowledged.


def test_time_that_is_over(own: LocalCluster, fluvio: Fluvio) -> None:
    own.hold_replies(5001)
    with raising("time-out"):
        fluvio.topic_producer("orders", delivery_semantic=ONCE).send("x", partition=0).result(5)
    own.hold_replies(5001, on=False)


def test_time_that_is_over_while_nobody_is_there(own: LocalCluster, fluvio: Fluvio) -> None:
    own.kill_spu(5001)
    wait_offline(fluvio, 5001)
    producer = fluvio.topic_producer("orders", delivery_semantic=attempts(1, timeout=0.1))
    assert "after 0 attempts" in str(producer.send("x").exception(5))
    assert "after 0\nattempts" in PAGE


def test_attempts_that_are_spent(own: LocalCluster, fluvio: Fluvio) -> None:
    own.cut_next_produce(5001, "before", count=2)
    with raising("retries"):
        fluvio.topic_producer("orders", delivery_semantic=TWICE).send("x", partition=0).result(5)


def test_a_topic_that_is_gone(fluvio: Fluvio) -> None:
    future = fluvio.topic_producer("orders", linger=60.0).send("x", partition=0)
    fluvio.delete_topic("orders")
    with raising("deleted"):
        future.result(5)


def test_a_replica_that_is_away(pair: LocalCluster) -> None:
    pair.create_topic("orders", replication=2)
    with Fluvio.connect(pair.endpoint) as fluvio:
        settings: dict[str, Any] = {"isolation": "read-committed", "server_timeout": 0.1}
        producer = fluvio.topic_producer("orders", delivery_semantic=ONCE, **settings)
        producer.send("x").result(5)
        pair.kill_spu(10_003 - pair.leader("orders"))
        with raising("commit"):
            producer.send("y").result(5)


def test_a_client_that_was_closed(own: LocalCluster, fluvio: Fluvio) -> None:
    own.hold_replies(5001)
    producer = fluvio.topic_producer("orders")
    future = producer.send("x", partition=0)
    with raising("flush"):
        producer.flush(0.1)
    with raising("result"):
        future.result(0.1)
    fluvio.close(0)
    own.hold_replies(5001, on=False)
    with raising("closed-before"):
        future.result(5)
    with raising("closed"):
        producer.send("y")


# The program ends; threads, forks, coroutines.


def run(code: str) -> str:
    """Run a program and return its standard error."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60, check=True
    ).stderr


def test_an_end_before_the_record_is_there(own: LocalCluster) -> None:
    own.create_topic("orders")
    own.hold_replies(5001)
    printed = run(f"""
from fluvio_sync import Fluvio
Fluvio.connect({own.endpoint!r}, exit_timeout=0.1).topic_producer("orders").send("x")
""")
    own.hold_replies(5001, on=False)
    assert_shown("exit", printed)


def test_an_exception_that_leaves_records_behind(own: LocalCluster) -> None:
    own.create_topic("orders")
    own.hold_replies(5001)
    printed = run(f"""
import contextlib
from fluvio_sync import Fluvio
with contextlib.suppress(KeyError), Fluvio.connect({own.endpoint!r}, exit_timeout=0.1) as fluvio:
    fluvio.topic_producer("orders").send("x")
    raise KeyError
""")
    own.hold_replies(5001, on=False)
    assert_shown("left", printed)


def test_a_callback_that_waits(own: LocalCluster, fluvio: Fluvio) -> None:
    producer = fluvio.topic_producer("orders")
    seen: list[BaseException] = []
    called = threading.Event()

    def wait(_future: object) -> None:
        try:
            producer.flush()
        except RuntimeError as error:
            seen.append(error)
        called.set()

    own.hold_replies(5001)
    producer.send("x", partition=0).add_done_callback(wait)
    own.hold_replies(5001, on=False)
    assert called.wait(5)
    assert_shown("callback", f"RuntimeError: {seen[0]}")


def test_a_future_that_is_awaited(fluvio: Fluvio) -> None:
    async def wait() -> None:
        await fluvio.topic_producer("orders").send("x")

    with raising("await"):
        asyncio.run(wait())


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_a_child_that_asks_for_the_parents_record(own: LocalCluster) -> None:
    own.create_topic("orders")
    printed = run(f"""
import os, sys
from fluvio_sync import Fluvio, ForkedError
with Fluvio.connect({own.endpoint!r}) as fluvio:
    future = fluvio.topic_producer("orders", linger=60).send("x")
    child = os.fork()
    if not child:
        try:
            future.result()
        except ForkedError as error:
            print(f"ForkedError: {{error}}", file=sys.stderr, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
""")
    assert_shown("forked", printed)


def test_uwsgi_without_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    uwsgi: Any = ModuleType("uwsgi")
    uwsgi.has_threads = 0
    monkeypatch.setitem(sys.modules, "uwsgi", uwsgi)
    with raising("uwsgi"):
        Fluvio.connect("127.0.0.1:9003")
