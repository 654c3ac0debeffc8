# SPDX-License-Identifier: Apache-2.0
"""Canaries: keys, records and passwords that calls fail with are in nothing that an application sees of the failure.

What is searched: an error with its arguments, attributes, causes and contexts, its pickle, all attributes of all log
records, the health, the counters, the metrics, the doctor's steps, and the `repr()` of everything.
"""

from __future__ import annotations

import base64
import contextlib
import copy
import dataclasses
import itertools
import json
import logging
import pickle
import re
import ssl
from array import array
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from flask import Flask
from prometheus_client import CollectorRegistry, generate_latest

from fluvio_sync import AtMostOnce, ConfigError, Fluvio, FluvioError, ProducerConfig, TlsConfig
from fluvio_sync.contrib.flask import FlaskFluvio
from fluvio_sync.contrib.logging import FluvioHandler
from fluvio_sync.contrib.prometheus import FluvioCollector
from fluvio_sync.doctor import diagnose
from fluvio_sync.profile import load_profile
from fluvio_sync.protocol.error_code import Code
from fluvio_sync.testing import FakeFluvio, FaultProxy, LocalCluster, read_records
from fluvio_sync.tls import TlsPolicy
from tests.support.client import WIDE, attempts, emit_events
from tests.support.shell import run
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.certificates import Certificates

CANARY = "CANARY-in-a-coal-mine"
PIECE = 16
"""Characters of a key that are a leak; 8 of a path's part are shown."""


class Seen:
    """All texts that an application can get hold of."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._known: dict[int, object] = {}

    def add(self, *things: object) -> None:
        """Add texts and bytes, and all that other objects have in them."""
        for thing in things:
            if isinstance(thing, str):
                self.texts.append(thing)
            elif isinstance(thing, (bytes, bytearray)):
                self.texts.append(thing.decode("latin-1"))
            elif id(thing) not in self._known:
                self._known[id(thing)] = thing
                self._look_into(thing)

    def _look_into(self, thing: object) -> None:
        self.add(repr(thing), str(thing))
        if isinstance(thing, BaseException):
            # Not vars(): the attributes of the built-in ones, such as `UnicodeError.object`, are not in it.
            names = [name for name in dir(thing) if not name.startswith("__")]
            found = [
                getattr(thing, name)
                for name in [*names, "__cause__", "__context__", "__notes__"]
                if hasattr(thing, name)
            ]
            self.add(*(part for part in found if not callable(part)))
        elif isinstance(thing, dict):
            self.add(*thing, *thing.values())
        elif isinstance(thing, (tuple, list, set, frozenset)):
            self.add(*thing)
        elif isinstance(thing, logging.LogRecord):
            self.add(vars(thing), thing.getMessage())

    def failure(self, error: BaseException) -> None:
        self.add(error, pickle.dumps(error), repr(copy.copy(error)))

    def client(self, fluvio: Fluvio, *others: object) -> None:
        """Add what a client shows of itself."""
        registry = CollectorRegistry()
        FluvioCollector(fluvio, registry=registry)
        self.add(
            repr(fluvio), str(fluvio), fluvio.health(), fluvio.stats(), generate_latest(registry), *map(repr, others)
        )
        self.add(*diagnose(endpoint=fluvio.endpoint))
        for thing in (fluvio, *others):
            self.add(pickle.dumps(thing))

    def holds(self, secret: str) -> bool:
        """Whether a piece of a secret is anywhere, also with its special characters escaped."""
        everything = "\n".join(self.texts)
        plain = [re.sub(r"\s", "", part) for part in secret.split("-----") if "PRIVATE KEY" not in part]
        pieces = {part[at : at + PIECE] for part in plain for at in range(max(1, len(part) - PIECE + 1)) if part}
        return any(piece in everything for piece in pieces)


@pytest.fixture
def seen() -> Iterator[Seen]:
    """Texts, with those of all log records of the library."""
    found = Seen()

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.add(record)

    logger, handler = logging.getLogger("fluvio_sync"), Handler()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(1)
    yield found
    logger.removeHandler(handler)
    logger.setLevel(before)


def test_the_search_finds_what_is_hidden(seen: Seen) -> None:
    def nested() -> None:
        try:
            f"{CANARY}\ud800".encode()
        except UnicodeEncodeError:
            raise ValueError("nothing") from None

    with pytest.raises(ValueError, match="nothing") as caught:
        nested()
    seen.failure(caught.value)
    assert seen.holds(CANARY)


# --- keys --------------------------------------------------------------------------------------


def der(pem: str, kind: PrivateFormat) -> bytes:
    return load_pem_private_key(pem.encode(), None).private_bytes(Encoding.DER, kind, NoEncryption())


FORMS: dict[str, Callable[[str], str]] = {
    "PEM": lambda pem: pem,
    "PEM with a surrogate": lambda pem: pem + "\udcff",
    "PEM that is broken": lambda pem: pem.replace("\n", "\n!", 2),
    "no first line": lambda pem: pem.split("\n", 1)[1],
    "no fences": lambda pem: "\n".join(pem.splitlines()[1:-1]),
    "no fences, one line": lambda pem: "".join(pem.splitlines()[1:-1]),
    "no fences, escaped line breaks": lambda pem: "\\n".join(pem.splitlines()[1:-1]),
    "base64 of PEM": lambda pem: base64.b64encode(pem.encode()).decode(),
    "base64 of PEM, wrapped": lambda pem: base64.encodebytes(pem.encode()).decode(),
    "base64 of PEM, for URLs": lambda pem: base64.urlsafe_b64encode(pem.encode()).decode().rstrip("="),
    "base64 of base64 of PEM": lambda pem: base64.b64encode(base64.b64encode(pem.encode())).decode(),
    "base64 of PEM, marked": lambda pem: "base64:" + base64.b64encode(pem.encode()).decode(),
    "PKCS 8 in base64": lambda pem: base64.b64encode(der(pem, PrivateFormat.PKCS8)).decode(),
    "hexadecimal PEM": lambda pem: pem.encode().hex(),
    "hexadecimal DER": lambda pem: der(pem, PrivateFormat.TraditionalOpenSSL).hex(),
    "hexadecimal DER, colons": lambda pem: der(pem, PrivateFormat.PKCS8).hex(":"),
    "bare number, base64": lambda pem: base64.b64encode(der(pem, PrivateFormat.PKCS8)[36:68]).decode(),
    "bare number, hexadecimal": lambda pem: der(pem, PrivateFormat.PKCS8)[36:68].hex(),
    "JSON": lambda pem: json.dumps({"key": pem}),
}


def verified(certificates: Certificates, **changed: Any) -> TlsConfig:
    return certificates.verified(**(certificates.client._asdict() | changed))


def profile_with(folder: Path, certificates: Certificates, key: str, source: str) -> Path:
    certs = {"domain": "d", "ca_cert": certificates.ca, "cert": certificates.client.cert}
    if source == "inline":
        certs |= {name: Path(certs[name]).read_text() for name in ("ca_cert", "cert")}
    lines = [f"{name} = {json.dumps(value)}" for name, value in {**certs, "key": key}.items()]
    path = folder / "config"
    path.write_text(
        'current_profile = "p"\n[profile.p]\ncluster = "c"\n[cluster.c]\nendpoint = "127.0.0.1:1"\n[cluster.c.tls]\n'
        f'tls_policy = "verified"\ntls_source = "{source}"\n[cluster.c.tls.certs]\n' + "\n".join(lines),
        "utf-8",
        "surrogatepass",
    )
    return path


def malformed(path: Path, text: str) -> Path:
    path.write_bytes(path.read_bytes() + text.encode("latin-1"))
    return path


Given = tuple["Certificates", Path, "pytest.MonkeyPatch"]


def from_environment(key: str, given: Given) -> TlsConfig | None:
    certificates, _, patch = given
    for name, value in (
        ("DOMAIN", "d"),
        ("CA_CERT", certificates.ca),
        ("CERT", certificates.client.cert),
        ("KEY", key),
    ):
        patch.setenv(f"FLUVIO_SYNC_TLS_{name}", value)
    Fluvio.connect("127.0.0.1:1")
    return None


def profile(source: str, ending: str = "") -> Callable[[str, Given], TlsConfig | None]:
    return lambda key, given: load_profile(path=malformed(profile_with(given[1], given[0], key, source), ending)).tls


def cluster(key: str, given: Given) -> None:
    LocalCluster(in_process=True, tls_cert=given[0].server.cert, tls_key=key).start()


CALLS: dict[str, Callable[[str, Given], TlsConfig | None]] = {
    "verified(key)": lambda key, given: verified(given[0], key=key),
    "verified(cert)": lambda key, given: verified(given[0], cert=key, key=None),
    "verified(ca_cert)": lambda key, given: verified(given[0], ca_cert=key),
    "verified(domain)": lambda key, given: verified(given[0], domain=key),
    "TlsConfig()": lambda key, given: TlsConfig(TlsPolicy.VERIFIED, "d", given[0].ca, given[0].client.cert, key),
    "replace": lambda key, given: dataclasses.replace(verified(given[0]), key=key),
    "environment": from_environment,
    "profile, inline": profile("inline"),
    "profile, files": profile("files"),
    "profile, no TOML": profile("inline", "\n= ="),
    "profile, no UTF-8": profile("inline", "\n# \xff"),
    "cluster": cluster,
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("form", FORMS)
def test_keys_in_whatever_form(
    form: str, call: str, certificates: Certificates, tmp_path: Path, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = FORMS[form](Path(certificates.client.key).read_text("ascii"))
    with contextlib.ExitStack() as stack:
        caught = stack.enter_context(pytest.raises(Exception))  # noqa: PT011 - of any kind: it is searched
        tls = CALLS[call](key, (certificates, tmp_path, monkeypatch))
        assert tls is not None
        seen.add(tls, copy.deepcopy(tls))
        if not form.startswith("bare"):  # which nothing tells from a path
            seen.add(dataclasses.asdict(tls), dataclasses.astuple(tls))
        if form.startswith("PEM"):
            with pytest.raises(TypeError, match="cannot pickle") as refused:
                pickle.dumps(tls)
            seen.failure(refused.value)
        Fluvio.connect("127.0.0.1:1", tls=tls)
    seen.failure(caught.value)
    assert not seen.holds(key), [
        text for text in seen.texts if any(key[at : at + PIECE] in text for at in range(len(key)))
    ]


def test_a_client_with_a_key_in_it(certificates: Certificates, seen: Seen) -> None:
    cert, key = (Path(path).read_text("ascii") for path in certificates.client)
    with LocalCluster(in_process=True, **certificates.of_cluster("mutual")) as mutual:
        mutual.create_topic("t")
        with Fluvio.connect(mutual.endpoint, tls=certificates.verified(cert=cert, key=key)) as fluvio:
            producer = fluvio.topic_producer("t")
            producer.send(b"").result(10)
            seen.add(repr(fluvio), repr(producer), fluvio.health(), fluvio.stats(), repr(fluvio._holder.config))
            seen.add(*diagnose("t", endpoint=mutual.endpoint, tls=certificates.verified(cert=cert, key=key)))
            for thing in (fluvio, producer):
                with pytest.raises(TypeError, match="cannot pickle") as caught:
                    pickle.dumps(thing)
                seen.failure(caught.value)
            emit_events(fluvio)
    assert not seen.holds(key)


# --- records -----------------------------------------------------------------------------------


class Odd:
    """An object that is no record, and shows its content."""

    def __repr__(self) -> str:
        return CANARY


SENT: dict[str, dict[str, Any]] = {
    "value, surrogate": {"value": f"{CANARY}\ud800"},
    "key, surrogate": {"value": b"", "key": f"{CANARY}\udcff"},
    "value, object": {"value": Odd()},
    "key, object": {"value": b"", "key": Odd()},
    "value, list": {"value": [CANARY]},
    "value, wide characters": {"value": array(WIDE, CANARY)},
    "value, large": {"value": CANARY * 100_000},
    "key, large": {"value": b"", "key": CANARY * 100_000},
    "partition": {"value": CANARY, "key": CANARY, "partition": 99},
    "timestamp": {"value": CANARY, "key": CANARY, "timestamp": -1},
}


@pytest.mark.parametrize("what", SENT)
def test_records_that_are_refused(what: str, own: LocalCluster, seen: Seen) -> None:
    own.create_topic("t")
    with Fluvio.connect(own.endpoint) as fluvio, FakeFluvio() as fake:
        fake.create_topic("t")
        producer = fluvio.topic_producer("t")
        for one in (producer, fake.topic_producer("t")):
            with pytest.raises((TypeError, ValueError, FluvioError)) as caught:
                one.send(**SENT[what])
            seen.failure(caught.value)
        if SENT[what].keys() <= {"value", "key"}:
            error = producer.send_all([(SENT[what].get("key"), SENT[what]["value"])])[0].exception(10)
            assert error is not None
            seen.failure(error)
        seen.client(fluvio, producer)
        emit_events(fluvio)
    assert not seen.holds(CANARY)


@pytest.mark.parametrize("semantic", [attempts(1), AtMostOnce()], ids=["at-least-once", "at-most-once"])
def test_records_that_are_not_delivered(semantic: Any, own: LocalCluster, seen: Seen) -> None:
    own.create_topic("t")
    own.fail_next_produce(Code.MESSAGE_TOO_LARGE)
    with Fluvio.connect(own.endpoint) as fluvio:
        producer = fluvio.topic_producer("t", delivery_semantic=semantic)
        future = producer.send(CANARY, key=CANARY)
        producer.flush(10)
        if isinstance(semantic, AtMostOnce):
            wait_until(lambda: producer.stats().records_rejected, "the answer")
        else:
            error = future.exception(10)
            assert error is not None
            seen.failure(error)
        own.kill_spu(5001)
        lost = producer.send(CANARY, key=CANARY)
        seen.client(fluvio, producer)
        seen.add(repr(lost), repr(producer.close(0)))
        with pytest.raises(Exception, match="closed") as caught:
            producer.send(CANARY, key=CANARY)
        seen.failure(caught.value)
        fluvio.close(0)
    assert any("records.failed" in text or "at_most_once" in text for text in seen.texts)
    assert not seen.holds(CANARY)


def test_keys_of_log_records(own: LocalCluster, seen: Seen, capsys: pytest.CaptureFixture[str]) -> None:
    own.create_topic("logs")
    handler = FluvioHandler("logs", own.endpoint, key=lambda record: f"{CANARY}\ud800")
    handler.emit(logging.LogRecord("app", logging.INFO, "", 1, "a message", None, None))
    handler.close()
    seen.add(capsys.readouterr().err)
    assert not seen.holds(CANARY)
    assert [record.key for record in read_records(own.endpoint, "logs")] == [rf"{CANARY}\ud800".encode()]


# --- passwords ---------------------------------------------------------------------------------

ADDRESSES = [
    f"fluvio://user:{CANARY}@127.0.0.1:1",
    f"kafka+ssl://:{CANARY}@127.0.0.1:1/topic",
    f"user:{CANARY}@127.0.0.1:1",
    f"user:{CANARY}@127.0.0.1",
    f"{CANARY}@127.0.0.1",
    f"user:{CANARY}@[::1]:1",
    f"user:a@b/{CANARY}@127.0.0.1:1",
    "user:" + "long" * 20 + f"{CANARY}@127.0.0.1:1",
]
ODD_ADDRESSES = [
    f"user:{CANARY} @127.0.0.1:1",
    f"user:it's{CANARY}@127.0.0.1:1",
    f"127.0.0.1:1?password={CANARY}",
    f"user:{CANARY}@127.0.0.1:1".encode(),
    (f"user:{CANARY}@127.0.0.1", 1),
]


def in_profile(address: Any, folder: Path) -> object:
    path = folder / "config"
    path.write_text(
        f'current_profile = "p"\n[profile.p]\ncluster = "c"\n[cluster.c]\nendpoint = {json.dumps(str(address))}\n'
    )
    return Fluvio.connect(profile_path=path)


def flask(address: Any, _folder: Path) -> object:
    app = Flask("app")
    app.config["FLUVIO_ENDPOINT"] = address
    return FlaskFluvio(app)


PLACES: dict[str, Callable[[Any, Path], object]] = {
    "connect": lambda address, _: Fluvio.connect(address),
    "profile": in_profile,
    "override": lambda address, _: Fluvio.connect("127.0.0.1:1", spu_address_override={5001: address}),
    "read_records": lambda address, _: read_records(address, "t"),
    "proxy": lambda address, _: FaultProxy(address),
    "handler": lambda address, _: FluvioHandler("t", address),
    "flask": flask,
}
OTHER_PLACES: dict[str, Callable[[Any, Path], object]] = {
    "topic": lambda address, _: FakeFluvio().topic_producer(address),
    "create_topic": lambda address, _: FakeFluvio().create_topic(address),
    "a key of the override": lambda address, _: Fluvio.connect(
        "127.0.0.1:1", spu_address_override={address: "127.0.0.1:1"}
    ),
    "config": lambda address, _: ProducerConfig(isolation=address),
}
"""Where an address is taken for something else."""


@pytest.mark.parametrize(
    ("place", "address"),
    [*itertools.product(PLACES, [*ADDRESSES, *ODD_ADDRESSES]), *itertools.product(OTHER_PLACES, ADDRESSES)],
)
def test_passwords_in_addresses(place: str, address: Any, seen: Seen, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        (PLACES | OTHER_PLACES)[place](address, tmp_path)
    seen.failure(caught.value)
    assert not seen.holds(CANARY)


@pytest.mark.parametrize("variable", ["ENDPOINT", "SPU_ADDRESS_OVERRIDE"])
@pytest.mark.parametrize("address", ADDRESSES)
def test_passwords_in_variables(variable: str, address: str, seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    for form in (address, f"5001={address}"):
        monkeypatch.setenv(f"FLUVIO_SYNC_{variable}", form)
        with pytest.raises(ConfigError) as caught:
            Fluvio.connect()
        seen.failure(caught.value)
        seen.add(*diagnose())
    assert not seen.holds(CANARY)


def test_a_function_that_gives_an_address_with_a_password(own: LocalCluster, seen: Seen) -> None:
    own.create_topic("t")
    address = ADDRESSES[0]
    with Fluvio.connect(own.endpoint, spu_address_override=lambda _spu, _advertised: address) as fluvio:
        error = fluvio.topic_producer("t", delivery_semantic=attempts(1, timeout=1)).send(b"").exception(10)
        assert error is not None
        seen.failure(error)
        seen.add(fluvio.health())
        emit_events(fluvio)
    assert not seen.holds(CANARY)


@pytest.mark.parametrize(
    "arguments",
    [["doctor", "-c"], ["produce", "t", "-c"], ["topics", "list"], ["topics", "create"], ["doctor"], [], ["produce"]],
)
def test_passwords_on_the_command_line(arguments: list[str], seen: Seen) -> None:
    done = run(*arguments, ADDRESSES[0])
    assert done.returncode
    seen.add(done.stdout, done.stderr)
    assert not seen.holds(CANARY)


def test_keys_on_the_command_line(certificates: Certificates, seen: Seen) -> None:
    key = FORMS["base64 of PEM"](Path(certificates.client.key).read_text("ascii"))
    options = ["--tls", "--domain", "d", "--ca-cert", certificates.ca, "--enable-client-cert", "--client-cert", "c"]
    done = run("doctor", "-c", "127.0.0.1:1", *options, "--client-key", key)
    assert done.returncode
    seen.add(done.stdout, done.stderr)
    assert not seen.holds(key)


# --- warnings ----------------------------------------------------------------------------------


def context_without_verification() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@pytest.mark.parametrize("tls", [TlsConfig.anonymous(), context_without_verification()], ids=["anonymous", "context"])
def test_a_client_that_verifies_nobody_says_so_once(tls: Any, certificates: Certificates, seen: Seen) -> None:
    with LocalCluster(in_process=True, **certificates.of_cluster("tls")) as secured:
        secured.create_topic("t")
        with Fluvio.connect(secured.endpoint, tls=tls) as fluvio:
            fluvio.topic_producer("t").send(b"").result(10)
            emit_events(fluvio)
    assert len([text for text in seen.texts if text.startswith("tls.unverified client_id='fluvio-sync' reason=")]) == 1


def test_a_client_that_verifies_says_nothing(certificates: Certificates, seen: Seen) -> None:
    secured = LocalCluster(in_process=True, **certificates.of_cluster("tls"))
    with secured, Fluvio.connect(secured.endpoint, tls=certificates.verified()) as fluvio:
        emit_events(fluvio)
    assert not any("tls.unverified" in text for text in seen.texts)
