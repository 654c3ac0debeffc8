# SPDX-License-Identifier: Apache-2.0
"""TlsConfig: contexts that shake hands with whom they should, and secrets that stay where they are."""

from __future__ import annotations

import base64
import contextlib
import copy
import dataclasses
import pickle
import ssl
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from fluvio_sync.config import TlsConfig
from fluvio_sync.errors import ConfigError

if TYPE_CHECKING:
    from tests.support.certificates import Certificates

TEXT = "-----BEGIN CERTIFICATE-----\ntext\n-----END CERTIFICATE-----\n"
KEY_TEXT = "-----BEGIN PRIVATE KEY-----\ntext\n-----END PRIVATE KEY-----\n"


def pem(path: str) -> str:
    return Path(path).read_text("ascii")


class Server:
    """The server of a handshake in memory; `context`: its settings."""

    def __init__(self, certificates: Certificates) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*certificates.server)
        self._ca = certificates.ca

    def demand_certificate(self) -> None:
        """Serve only clients that show one."""
        self.context.verify_mode = ssl.CERT_REQUIRED
        self.context.load_verify_locations(self._ca)

    def shake_hands(self, config: TlsConfig, spu: str | None = None) -> None:
        """Take a client through the handshake, and one byte either way."""
        context = config.ssl_context()
        assert context is not None
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = context.wrap_bio(to_client, to_server, server_hostname=config.server_name(spu))
        server = self.context.wrap_bio(to_server, to_client, server_side=True)
        for step in (client.do_handshake, server.do_handshake) * 3:
            with contextlib.suppress(ssl.SSLWantReadError):
                step()
        client.write(b"c")
        server.write(b"s")
        assert (server.read(1), client.read(1)) == (b"c", b"s")


@pytest.fixture
def server(certificates: Certificates) -> Server:
    return Server(certificates)


def verified(**changed: Any) -> TlsConfig:
    """Return a config of files that are not read."""
    return TlsConfig.verified(**{"domain": "cluster.test", "ca_cert": "ca.crt", **changed})


@pytest.mark.parametrize("spu", [None, "main-0", "custom-spu-5001"])
def test_verified_servers_of_the_cluster(server: Server, certificates: Certificates, spu: str | None) -> None:
    server.shake_hands(certificates.verified(), spu)


def test_other_servers_are_rejected(server: Server, certificates: Certificates) -> None:
    for changed in ({"domain": "elsewhere.test"}, {"ca_cert": certificates.other_ca}):
        with pytest.raises(ssl.SSLCertVerificationError):
            server.shake_hands(certificates.verified(**changed))


def test_the_authority_may_be_one_between(server: Server, certificates: Certificates) -> None:
    between = trustme.CA().create_child_ca()
    between.issue_cert("cluster.test").configure_cert(server.context)
    server.shake_hands(certificates.verified(ca_cert=between.cert_pem.bytes().decode()))


def test_authorities_need_not_be_by_the_letter_of_the_standard(certificates: Certificates) -> None:
    """Many a self-made one lacks the extensions that Python's own defaults demand since 3.13."""
    context = certificates.verified().ssl_context()
    assert context is not None
    assert not context.verify_flags & ssl.VERIFY_X509_STRICT


def test_a_client_certificate_is_shown_from_files_or_texts(server: Server, certificates: Certificates) -> None:
    server.demand_certificate()
    cert, key = certificates.client
    inline = {"ca_cert": pem(certificates.ca), "cert": pem(cert), "key": pem(key)}
    shown: list[dict[str, Any]] = [
        {"cert": cert, "key": key},
        {"cert": Path(cert), "key": Path(key)},
        inline,
        {"cert": pem(cert) + pem(key)},
        {"cert": cert, "key": pem(key)},
    ]
    for settings in shown:
        server.shake_hands(certificates.verified(**settings))


def test_a_missing_client_certificate_is_noticed_by_the_server(server: Server, certificates: Certificates) -> None:
    server.demand_certificate()
    with pytest.raises(ssl.SSLError):
        server.shake_hands(certificates.verified())


def test_anonymous_verifies_no_server(server: Server) -> None:
    config = TlsConfig.anonymous()
    assert config.server_name("main-0") is None
    server.shake_hands(config)


def test_disabled_is_plain_tcp() -> None:
    config = TlsConfig.disabled()
    assert config.ssl_context() is None
    assert config.server_name(None) is None


def test_old_versions_of_tls_are_not_spoken(certificates: Certificates) -> None:
    for config in (TlsConfig.anonymous(), certificates.verified()):
        context = config.ssl_context()
        assert context is not None
        assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_server_names() -> None:
    config = verified()
    assert config.server_name(None) == "cluster.test"
    assert config.server_name("main-0") == "main-0.cluster.test"


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_texts_are_written_to_private_files_that_are_removed_at_once(
    certificates: Certificates, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: list[int] = []
    original = ssl.SSLContext.load_cert_chain

    def watching(self: ssl.SSLContext, *args: Any, **kwargs: Any) -> None:
        modes.extend(stat.S_IMODE(file.stat().st_mode) for file in temporary.iterdir())
        original(self, *args, **kwargs)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", watching)
    cert, key = map(pem, certificates.client)
    certificates.verified(cert=cert, key=key).ssl_context()
    assert modes == [0o600, 0o600]
    assert list(temporary.iterdir()) == []


def test_texts_that_are_refused_leave_no_files(certificates: Certificates, temporary: Path) -> None:
    config = certificates.verified(cert=pem(certificates.client.cert), key=pem(certificates.server.key))
    with pytest.raises(ConfigError, match=r"^cert <inline> and key <inline> cannot be used"):
        config.ssl_context()
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("setting", ["ca_cert", "cert", "key"])
@pytest.mark.parametrize(("name", "reason"), [("missing.pem", "No such file"), (".", "Is a directory")])
def test_a_path_that_cannot_be_read_is_named(
    certificates: Certificates, setting: str, name: str, reason: str, tmp_path: Path
) -> None:
    files = certificates.client._asdict() | {setting: tmp_path / name}
    with pytest.raises(ConfigError) as caught:
        certificates.verified(**files).ssl_context()
    assert f"{setting} '{tmp_path / name}' cannot be read: {reason}" in str(caught.value)


@pytest.mark.parametrize("setting", ["ca_cert", "cert", "key"])
@pytest.mark.parametrize("inline", [True, False])
def test_text_that_is_not_pem_is_named(
    certificates: Certificates, setting: str, tmp_path: Path, *, inline: bool
) -> None:
    text = "-----BEGIN NONSENSE-----\nsecret\n" if inline else "secret"
    (tmp_path / "x.pem").write_text(text)
    files = certificates.client._asdict() | {setting: text if inline else tmp_path / "x.pem"}
    with pytest.raises(ConfigError) as caught:
        certificates.verified(**files).ssl_context()
    named = "<inline>" if inline else f"'{tmp_path}/x.pem'"
    assert f"{setting} {named}" in str(caught.value)
    assert "cannot be used" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_texts_with_other_letters_are_refused_and_not_shown() -> None:
    with pytest.raises(ConfigError, match=r"^ca_cert <inline> cannot be used") as caught:
        verified(ca_cert="-----BEGIN CERTIFICATE-----\nbücher").ssl_context()
    assert "bücher" not in str(caught.value)


def test_an_encrypted_key_is_refused_without_asking_on_the_terminal(certificates: Certificates, tmp_path: Path) -> None:
    key = load_pem_private_key(pem(certificates.client.key).encode(), None)
    encrypted = tmp_path / "encrypted.key"
    encrypted.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))
    cert = certificates.client.cert
    with pytest.raises(ConfigError, match=r"encrypted\.key' is encrypted"):
        certificates.verified(cert=cert, key=encrypted).ssl_context()
    with pytest.raises(ConfigError, match="<inline> is encrypted"):
        certificates.verified(cert=cert, key=encrypted.read_text()).ssl_context()


def test_a_path_may_begin_at_home(
    server: Server, certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "ca.crt").write_text(pem(certificates.ca))
    server.shake_hands(certificates.verified(ca_cert="~/ca.crt"))


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"domain": ""}, "^domain cannot be ''"),
        ({"domain": None}, "^domain cannot be None"),
        ({"ca_cert": None}, "^ca_cert cannot be a NoneType"),
        ({"ca_cert": ""}, "^ca_cert is empty"),
        ({"cert": " "}, "^cert is empty"),
        ({"cert": "client.crt", "key": b"secret"}, "^key cannot be a bytes"),
        ({"key": "client.key"}, "^key without cert"),
    ],
)
def test_arguments_that_verified_needs(changed: dict[str, Any], error: str) -> None:
    with pytest.raises(ConfigError, match=error) as caught:
        verified(**changed)
    assert "secret" not in str(caught.value)


def test_repr_shows_paths_and_no_text() -> None:
    assert repr(TlsConfig.disabled()) == "TlsConfig.disabled()"
    assert repr(TlsConfig.anonymous()) == "TlsConfig.anonymous()"
    config = verified(cert=TEXT, key=KEY_TEXT)
    assert repr(config) == ("TlsConfig.verified(domain='cluster.test', ca_cert='ca.crt', cert=<inline>, key=<inline>)")
    assert f"{config}" == repr(config)


@pytest.mark.parametrize(
    "config",
    [
        TlsConfig.disabled(),
        TlsConfig.anonymous(),
        verified(cert="client.crt", key="client.key"),
        verified(ca_cert=TEXT),
    ],
)
def test_paths_and_certificates_are_pickled(config: TlsConfig) -> None:
    assert pickle.loads(pickle.dumps(config)) == config


def test_private_keys_are_not_pickled() -> None:
    for config in (verified(cert="client.crt", key=KEY_TEXT), verified(cert=TEXT + KEY_TEXT)):
        with pytest.raises(TypeError, match="cannot pickle a TlsConfig that holds a private key"):
            pickle.dumps(config)


def test_a_text_with_more_than_certificates_is_not_pickled() -> None:
    """What stands between the certificates may be a key whose first line was lost."""
    with pytest.raises(TypeError, match="another text than certificates"):
        pickle.dumps(verified(ca_cert=f"{TEXT}MHcCAQEE\n"))
    two = verified(ca_cert=TEXT + "\n" + TEXT.replace("CERTIFICATE", "TRUSTED CERTIFICATE"))
    assert pickle.loads(pickle.dumps(two)) == two


def test_texts_are_in_no_dictionary_of_a_config() -> None:
    config = verified(cert=TEXT, key=KEY_TEXT)
    for found in (dataclasses.asdict(config), dataclasses.astuple(config), copy.deepcopy(config)):
        assert "<inline>" in repr(found)
        assert "text" not in str(found)
    assert copy.deepcopy(config) == copy.copy(config) == config


@pytest.mark.parametrize(
    "key",
    [
        base64.b64encode(KEY_TEXT.encode()).decode(),
        KEY_TEXT.encode().hex(),
        KEY_TEXT.partition("\n")[2],
        "MHcCAQEE" + "x" * 40,
        "MHcCAQEE\\n" + "x" * 40,
        "k" * 256,
        "folder/" + "ü" * 128,
        "a\0b",
    ],
)
def test_what_may_be_a_key_is_no_path_and_is_not_shown(key: str) -> None:
    for setting in ("ca_cert", "cert", "key"):
        with pytest.raises(ConfigError, match=f"^{setting} is neither PEM text nor a path") as caught:
            verified(**({"cert": "client.crt"} | {setting: key}))
        assert key not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("k" * 255, "'kkkkkkkk...'"),
        ("/run/" + "k" * 40 + "/tls.key", "'/run/" + "k" * 40 + "/tls.key'"),
        ("/run/" + "k" * 41 + "/tls.key", "'/run/kkkkkkkk.../tls.key'"),
        ("/run/Abcdefghijklmn01", "'/run/Abcdefgh...'"),
        ("some/Parts01/of/base64/in/a/row/x", "'some/Par...'"),
        ("certificates/of-some-client.2026", "'certificates/of-some-client.2026'"),
    ],
)
def test_a_path_is_shown_without_what_looks_like_a_key(path: str, shown: str) -> None:
    config = verified(ca_cert=path)
    assert repr(config) == f"TlsConfig.verified(domain='cluster.test', ca_cert={shown})"
    with pytest.raises(ConfigError) as caught:
        config.ssl_context()
    assert str(caught.value).startswith(f"ca_cert {shown} cannot be read: ")
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("domain", "reason"),
    [
        ("a..b", "no part between its dots may be empty"),
        (".a", "neither begins nor ends with a dot"),
        ("a.", "neither begins nor ends with a dot"),
        (".", "neither begins nor ends with a dot"),
        ("x" * 64, "longer than 63 characters"),
        ("ü" * 60, "longer than 63 characters"),
        ("a\ud800b", "cannot be written in a certificate"),
        ("a\0b", "nothing else"),
        (" ", "nothing else"),
        ("host:9003", "no port"),
        ("fluvio://host", "no scheme"),
        ("a." * 126 + "ab", "longer than 253 characters"),
    ],
)
def test_a_domain_that_no_certificate_is_for(domain: str, reason: str) -> None:
    with pytest.raises(
        ConfigError, match=f"^domain cannot be .* it is the name in the SC's certificate, and .*{reason}"
    ):
        verified(domain=domain)


@pytest.mark.parametrize(
    "domain", ["localhost", "a_b.example", "bücher.example", "127.0.0.1", "x" * 63, "a." * 126 + "a"]
)
def test_domains(domain: str) -> None:
    assert verified(domain=domain).server_name() == domain


def test_configs_compare_and_hash_by_value() -> None:
    assert verified() == verified(ca_cert=Path("ca.crt"))
    assert verified(ca_cert=TEXT) == verified(ca_cert=TEXT) != verified(ca_cert=TEXT + "\n")
    assert len({verified(ca_cert=TEXT), verified(ca_cert=TEXT), verified(ca_cert=TEXT + "\n")}) == 2
    assert len({verified(), verified(), TlsConfig.anonymous(), TlsConfig.disabled()}) == 3
