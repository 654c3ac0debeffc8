# SPDX-License-Identifier: Apache-2.0
"""TlsConfig: contexts that shake hands with whom they should, and secrets that stay where they are."""

from __future__ import annotations

import contextlib
import pickle
import ssl
import stat
import tempfile
from pathlib import Path
from typing import Any

import pytest

from fluvio_sync.config import TlsConfig
from fluvio_sync.errors import ConfigError

FILES = Path(__file__).parent / "tls"
CA = str(FILES / "ca.crt")
CERT = str(FILES / "client.crt")
KEY = str(FILES / "client.key")


def pem(name: str) -> str:
    return (FILES / name).read_text("ascii")


def server_context(*, client_cert: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(FILES / "server.crt", FILES / "server.key")
    if client_cert:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(CA)
    return context


def shake_hands(config: TlsConfig, spu: str | None = None, *, client_cert: bool = False) -> None:
    """Take a client and a server through the handshake, and one byte either way, in memory."""
    context = config.ssl_context()
    assert context is not None
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(to_client, to_server, server_hostname=config.server_name(spu))
    server = server_context(client_cert=client_cert).wrap_bio(to_server, to_client, server_side=True)
    for step in (client.do_handshake, server.do_handshake) * 3:
        with contextlib.suppress(ssl.SSLWantReadError):
            step()
    client.write(b"c")
    server.write(b"s")
    assert (server.read(1), client.read(1)) == (b"c", b"s")


def verified(**changed: Any) -> TlsConfig:
    return TlsConfig.verified(**{"domain": "cluster.test", "ca_cert": CA, **changed})


@pytest.mark.parametrize("spu", [None, "main-0", "custom-spu-5001"])
def test_verified_servers_of_the_cluster(spu: str | None) -> None:
    shake_hands(verified(), spu)


@pytest.mark.parametrize("config", [verified(domain="elsewhere.test"), verified(ca_cert=FILES / "other-ca.crt")])
def test_other_servers_are_refused(config: TlsConfig) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(config)


def test_a_client_certificate_is_shown_from_files_or_texts() -> None:
    shake_hands(verified(cert=CERT, key=KEY), client_cert=True)
    shake_hands(verified(cert=Path(CERT), key=Path(KEY)), client_cert=True)
    texts = verified(ca_cert=pem("ca.crt"), cert=pem("client.crt"), key=pem("client.key"))
    shake_hands(texts, client_cert=True)
    shake_hands(verified(cert=pem("client.crt") + pem("client.key")), client_cert=True)
    shake_hands(verified(cert=CERT, key=pem("client.key")), client_cert=True)


def test_a_missing_client_certificate_is_noticed_by_the_server() -> None:
    with pytest.raises(ssl.SSLError):
        shake_hands(verified(), client_cert=True)


def test_anonymous_verifies_nobody() -> None:
    config = TlsConfig.anonymous()
    assert config.server_name("main-0") is None
    shake_hands(config)


def test_disabled_is_plain_tcp() -> None:
    config = TlsConfig.disabled()
    assert config.ssl_context() is None
    assert config.server_name(None) is None


def test_old_versions_of_tls_are_not_spoken() -> None:
    for config in (TlsConfig.anonymous(), verified()):
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
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: list[int] = []
    original = ssl.SSLContext.load_cert_chain

    def watching(self: ssl.SSLContext, *args: Any, **kwargs: Any) -> None:
        modes.extend(stat.S_IMODE(file.stat().st_mode) for file in temporary.iterdir())
        original(self, *args, **kwargs)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", watching)
    verified(cert=pem("client.crt"), key=pem("client.key")).ssl_context()
    assert modes == [0o600, 0o600]
    assert list(temporary.iterdir()) == []


def test_texts_that_are_refused_leave_no_files(temporary: Path) -> None:
    with pytest.raises(ConfigError, match=r"^cert <inline> and key <inline> cannot be used"):
        verified(cert=pem("client.crt"), key=pem("server.key")).ssl_context()
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("setting", ["ca_cert", "cert", "key"])
def test_a_missing_file_is_named(setting: str, tmp_path: Path) -> None:
    files = {"cert": CERT, "key": KEY, setting: tmp_path / "missing.pem"}
    with pytest.raises(ConfigError) as caught:
        verified(**files).ssl_context()
    assert f"{setting} '{tmp_path}/missing.pem' cannot be read: No such file" in str(caught.value)


@pytest.mark.parametrize("setting", ["ca_cert", "cert", "key"])
def test_a_directory_is_no_file(setting: str, tmp_path: Path) -> None:
    files = {"cert": CERT, "key": KEY, setting: tmp_path}
    with pytest.raises(ConfigError, match=f"{setting} .* cannot be read: Is a directory"):
        verified(**files).ssl_context()


@pytest.mark.parametrize("setting", ["ca_cert", "cert", "key"])
@pytest.mark.parametrize("inline", [True, False])
def test_what_is_not_pem_is_named(setting: str, inline: bool, tmp_path: Path) -> None:  # noqa: FBT001
    text = "-----BEGIN NONSENSE-----\nsecret\n" if inline else "secret"
    (tmp_path / "x.pem").write_text(text)
    files = {"cert": CERT, "key": KEY, setting: text if inline else tmp_path / "x.pem"}
    with pytest.raises(ConfigError) as caught:
        verified(**files).ssl_context()
    named = "<inline>" if inline else f"'{tmp_path}/x.pem'"
    assert f"{setting} {named}" in str(caught.value)
    assert "cannot be used" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_texts_with_other_letters_are_refused_and_not_shown() -> None:
    with pytest.raises(ConfigError, match=r"^ca_cert <inline> cannot be used") as caught:
        verified(ca_cert="-----BEGIN CERTIFICATE-----\nbücher").ssl_context()
    assert "bücher" not in str(caught.value)


def test_an_encrypted_key_is_refused_without_asking_on_the_terminal() -> None:
    with pytest.raises(ConfigError, match=r"client-encrypted\.key' is encrypted"):
        verified(cert=CERT, key=FILES / "client-encrypted.key").ssl_context()
    with pytest.raises(ConfigError, match="<inline> is encrypted"):
        verified(cert=CERT, key=pem("client-encrypted.key")).ssl_context()


def test_a_path_may_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "ca.crt").write_text(pem("ca.crt"))
    shake_hands(verified(ca_cert="~/ca.crt"))


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"domain": ""}, "^domain cannot be ''"),
        ({"domain": None}, "^domain cannot be None"),
        ({"ca_cert": None}, "^ca_cert cannot be a NoneType"),
        ({"ca_cert": ""}, "^ca_cert is empty"),
        ({"cert": " "}, "^cert is empty"),
        ({"cert": CERT, "key": b"secret"}, "^key cannot be a bytes"),
        ({"key": KEY}, "^key without cert"),
    ],
)
def test_what_verified_needs(changed: dict[str, Any], error: str) -> None:
    with pytest.raises(ConfigError, match=error) as caught:
        verified(**changed)
    assert "secret" not in str(caught.value)


def test_repr_shows_paths_and_no_text() -> None:
    assert repr(TlsConfig.disabled()) == "TlsConfig.disabled()"
    assert repr(TlsConfig.anonymous()) == "TlsConfig.anonymous()"
    config = verified(ca_cert="ca.crt", cert=pem("client.crt"), key=pem("client.key"))
    assert repr(config) == ("TlsConfig.verified(domain='cluster.test', ca_cert='ca.crt', cert=<inline>, key=<inline>)")
    assert f"{config}" == repr(config)


@pytest.mark.parametrize(
    "config",
    [
        TlsConfig.disabled(),
        TlsConfig.anonymous(),
        verified(cert=CERT, key=KEY),
        verified(ca_cert=pem("ca.crt")),
    ],
)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_paths_and_certificates_are_pickled(config: TlsConfig, protocol: int) -> None:
    assert pickle.loads(pickle.dumps(config, protocol)) == config


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_private_keys_are_not_pickled(protocol: int) -> None:
    for config in (
        verified(cert=CERT, key=pem("client.key")),
        verified(cert=pem("client.crt") + pem("client.key")),
    ):
        with pytest.raises(TypeError, match="cannot pickle a TlsConfig that holds a private key"):
            pickle.dumps(config, protocol)


def test_configs_compare_and_hash_by_value() -> None:
    assert verified() == verified(ca_cert=Path(CA))
    assert len({verified(), verified(), TlsConfig.anonymous(), TlsConfig.disabled()}) == 3
