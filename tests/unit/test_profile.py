# SPDX-License-Identifier: Apache-2.0
"""Fluvio's profile file."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from fluvio_sync.config import TlsConfig
from fluvio_sync.errors import ConfigError
from fluvio_sync.profile import Profile, load_profile, profile_path

EXAMPLE = """
version = "2.0"
current_profile = "dev"
client_id = "ignored"

[profile.dev]
cluster = "dev"
topic = "ignored"
partition = 3

[profile.prod]
cluster = "prod-eu"

[cluster.dev]
endpoint = "127.0.0.1:9003"
use_spu_local_address = false

[cluster.dev.tls]
tls_policy = "disabled"

[cluster.dev.metadata.installation]
type = "ignored"

[cluster.prod-eu]
endpoint = "fluvio.example.com"
use_spu_local_address = true

[cluster.prod-eu.tls]
tls_policy = "verified"
tls_source = "files"

[cluster.prod-eu.tls.certs]
domain = "fluvio.example.com"
key = "certs/client.key"
cert = "certs/client.crt"
ca_cert = "certs/ca.crt"
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config"


def load(path: Path, text: str, name: str | None = None) -> Profile:
    path.write_text(text, "utf-8")
    return load_profile(name, path)


def cluster(section: str) -> str:
    return f'current_profile = "p"\n[profile.p]\ncluster = "c"\n[cluster.c]\n{section}\n'


def tls(section: str) -> str:
    return cluster(f'endpoint = "host"\n[cluster.c.tls]\n{section}')


def failure(path: Path, text: str, name: str | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path, text, name)
    found = re.fullmatch(rf"the profile file {re.escape(str(path))}(, line \d+)?: (.+)", str(caught.value), re.DOTALL)
    assert found is not None
    return found[2]


def test_the_active_profile(path: Path) -> None:
    assert load(path, EXAMPLE) == Profile(
        name="dev",
        cluster="dev",
        endpoint="127.0.0.1:9003",
        use_spu_local_address=False,
        tls=TlsConfig.disabled(),
    )


def test_a_profile_by_name(path: Path) -> None:
    assert load(path, EXAMPLE, "prod") == Profile(
        name="prod",
        cluster="prod-eu",
        endpoint="fluvio.example.com:9003",
        use_spu_local_address=True,
        tls=TlsConfig.verified(
            domain="fluvio.example.com",
            ca_cert="certs/ca.crt",
            cert="certs/client.crt",
            key="certs/client.key",
        ),
    )


def test_addr_is_another_name_of_endpoint(path: Path) -> None:
    assert load(path, cluster('addr = "[::1]:9010"')).endpoint == "[::1]:9010"
    both = cluster('addr = "old:1"\nendpoint = "new:2"')
    assert load(path, both).endpoint == "new:2"


def test_tls_without_verification(path: Path) -> None:
    found = load(path, cluster('endpoint = "host"'))
    assert found.tls == TlsConfig.disabled()
    assert found.use_spu_local_address is False
    for policy in ("disabled", "disable"):
        assert load(path, tls(f'tls_policy = "{policy}"')).tls == TlsConfig.disabled()
    assert load(path, tls('tls_policy = "anonymous"')).tls == TlsConfig.anonymous()


def certs(policy: str, source: str, **certs: Any) -> str:
    lines = "\n".join(f"{key} = {json.dumps(value)}" for key, value in certs.items())
    return tls(f'tls_policy = "{policy}"\ntls_source = "{source}"\n[cluster.c.tls.certs]\n{lines}')


def pem(kind: str) -> str:
    return f"-----BEGIN {kind}-----\nc2VjcmV0\n-----END {kind}-----\n"


PATHS = {"domain": "d", "ca_cert": "ca.pem", "cert": "c.pem", "key": "k.pem"}
TEXTS = {
    "domain": "d",
    "ca_cert": pem("CERTIFICATE"),
    "cert": pem("CERTIFICATE"),
    "key": pem("PRIVATE KEY"),
}


@pytest.mark.parametrize("policy", ["verified", "verify"])
def test_verified_by_files_and_by_texts(policy: str, path: Path) -> None:
    for source in ("files", "file"):
        assert load(path, certs(policy, source, **PATHS)).tls == TlsConfig.verified(**PATHS)
    assert load(path, certs(policy, "inline", **TEXTS)).tls == TlsConfig.verified(**TEXTS)


def test_where_the_file_is(tmp_path: Path) -> None:
    assert profile_path({"FLV_PROFILE_PATH": "/a/b", "HOME": "/h"}) == Path("/a/b")
    assert profile_path({"HOME": "/h"}) == Path("/h/.fluvio/config")
    assert profile_path({"FLV_PROFILE_PATH": "", "HOME": "/h"}) == Path("/h/.fluvio/config")
    assert profile_path({}) == Path.home() / ".fluvio" / "config"

    (tmp_path / ".fluvio").mkdir()
    (tmp_path / ".fluvio" / "config").write_text(EXAMPLE)
    assert load_profile(environ={"HOME": str(tmp_path)}).name == "dev"
    (tmp_path / "other").write_text(EXAMPLE.replace('current_profile = "dev"', 'current_profile = "prod"'))
    environ = {"HOME": str(tmp_path), "FLV_PROFILE_PATH": str(tmp_path / "other")}
    assert load_profile(environ=environ).name == "prod"
    assert load_profile("dev", environ=environ).name == "dev"
    assert load_profile(path=tmp_path / ".fluvio" / "config", environ=environ).name == "dev"


def test_a_missing_file(path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_profile(path=path)
    assert str(caught.value).startswith(f"the profile file {path}: there is no such file; ")
    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_an_unreadable_file(path: Path) -> None:
    path.mkdir()
    with pytest.raises(ConfigError, match=f"^the profile file {path}: it cannot be read: Is a dir"):
        load_profile(path=path)


def test_a_file_that_is_not_text(path: Path) -> None:
    path.write_bytes(b'version = "\xff"')
    with pytest.raises(ConfigError, match=f"^the profile file {path}: it is not text in UTF-8"):
        load_profile(path=path)


def test_a_file_that_is_not_toml(path: Path) -> None:
    found = failure(path, 'version = "2.0"\ncurrent_profile = dev\n')
    assert found.startswith("it is not TOML: ")
    assert "line 2" in found


def test_a_file_that_is_too_deep(path: Path) -> None:
    assert failure(path, "a = " + "[" * 100_000).startswith("it is not TOML: ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "there is no active profile, because current_profile is missing; it has the profiles none"),
        (
            "[profile.a]\n[profile.b]\n",
            "there is no active profile, because current_profile is missing; it has the profiles 'a', 'b'",
        ),
        ('current_profile = ""', "there is no active profile"),
        ("current_profile = 5", "current_profile is not a string"),
        (
            'current_profile = "x"\n[profile.a]\n[profile.b]\n',
            "it has no profile 'x'; it has 'a', 'b'",
        ),
        ('current_profile = "x"\nprofile = 5', "profile is not a table"),
        ('current_profile = "x"\n[profile]\nx = 5', "profile.x is not a table"),
        ('current_profile = "x"\n[profile.x]\n', "profile.x.cluster is missing"),
        ('current_profile = "x"\n[profile.x]\ncluster = 1', "profile.x.cluster is not a string"),
        (
            'current_profile = "x"\n[profile.x]\ncluster = "y"\n[cluster.z]\n',
            "it has no cluster 'y', which profile 'x' names; it has 'z'",
        ),
        (cluster(""), "cluster.c.endpoint is missing"),
        (
            cluster('endpoint = "http://host"'),
            "cluster.c.endpoint cannot be used: the endpoint 'http://host' is not 'host:port': it is a URL; ",
        ),
        (cluster('addr = "host:0"'), "cluster.c.addr cannot be used: the endpoint 'host:0' is not 'host:port': "),
        (
            cluster('endpoint = "host"\nuse_spu_local_address = "yes"'),
            "cluster.c.use_spu_local_address is neither true nor false",
        ),
        (cluster('endpoint = "host"\ntls = "on"'), "cluster.c.tls is not a table"),
        (tls(""), "cluster.c.tls.tls_policy is missing"),
        (tls('tls_policy = "on"'), "cluster.c.tls.tls_policy is 'on': it is 'disabled', "),
        (tls('tls_policy = "verified"'), "cluster.c.tls.tls_source is missing"),
        (
            tls('tls_policy = "verified"\ntls_source = "vault"'),
            "cluster.c.tls.tls_source is 'vault': it is 'inline' or 'files'",
        ),
        (
            tls('tls_policy = "verified"\ntls_source = "files"'),
            "cluster.c.tls.certs.domain is missing",
        ),
        (
            certs("verified", "files", **{**PATHS, "domain": ""}),
            "cluster.c.tls.certs cannot be used: domain cannot be ''",
        ),
        (
            certs("verified", "inline", **PATHS),
            "cluster.c.tls.certs.ca_cert is not PEM text, as tls_source = 'inline' says",
        ),
        (
            certs("verified", "files", **{**PATHS, "key": TEXTS["key"]}),
            "cluster.c.tls.certs.key is not a path, as tls_source = 'files' says",
        ),
    ],
)
def test_errors_name_the_mistake_in_a_file(text: str, expected: str, path: Path) -> None:
    assert failure(path, text).startswith(expected)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("current_profile = 5", 1),
        (cluster("\nendpoint = 9003"), 6),
        (cluster("addr = 5").replace("[cluster.c]", ' [ cluster . "c" ]  # the only one'), 5),
        (tls('tls_source = "files"\n"tls_policy" = "on"'), 8),
        (tls("[cluster.c.tls.certs]\n"), 6),  # something is missing: the table where it should be
        (tls('# tls_policy = 5\ntls_policy = "verified"\ntls_source = "files"\ncerts = 5'), 10),
    ],
)
def test_the_line_is_said(text: str, line: int, path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"{re.escape(str(path))}, line {line}: "):
        load(path, text)


def test_keys_of_an_inline_table_have_no_line(path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"{re.escape(str(path))}: cluster.c.tls.tls_policy is missing"):
        load(path, 'current_profile = "p"\nprofile.p = {cluster = "c"}\ncluster.c = {endpoint = "h", tls = {}}\n')


@pytest.mark.parametrize("missing", ["domain", "ca_cert", "cert", "key"])
def test_verified_needs_all_four(missing: str, path: Path) -> None:
    some = {key: value for key, value in TEXTS.items() if key != missing}
    found = failure(path, certs("verified", "inline", **some))
    assert found == f"cluster.c.tls.certs.{missing} is missing"


def test_errors_show_no_secrets(path: Path) -> None:
    text = certs("verified", "inline", **{**TEXTS, "domain": ""})
    assert "c2VjcmV0" not in failure(path, text)
    assert "c2VjcmV0" not in failure(path, text + "\nbroken")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o666])
def test_a_file_with_a_key_that_others_may_read_or_change_is_warned_of_once(
    mode: int, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_text(certs("verified", "inline", **TEXTS))
    path.chmod(mode)
    for _ in range(2):
        load_profile(path=path)
    [record] = caplog.records
    assert record.name == "fluvio_sync.profile"
    assert record.levelname == "WARNING"
    said = record.getMessage()
    assert said.startswith(f"profile.exposed path={str(path)!r} mode='{mode:04o}' reason=")
    assert f"chmod 600 {path}" in said


@pytest.mark.parametrize(
    ("mode", "text"),
    [
        (0o600, certs("verified", "inline", **TEXTS)),
        (0o700, certs("verified", "inline", **TEXTS)),
        (0o666, certs("verified", "files", **PATHS)),
        (0o666, EXAMPLE),
    ],
)
def test_a_file_without_a_key_or_for_its_owner_alone_is_not_warned_of(
    mode: int, text: str, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_text(text)
    path.chmod(mode)
    load_profile(path=path)
    assert caplog.records == []


def test_without_a_toml_reader_the_extra_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text(EXAMPLE)
    monkeypatch.setitem(sys.modules, "tomllib" if sys.version_info >= (3, 11) else "tomli", None)
    with pytest.raises(ConfigError, match=r"fluvio-sync\[profile\]"):
        load_profile(path=path)
