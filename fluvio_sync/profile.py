# SPDX-License-Identifier: Apache-2.0
"""Fluvio's profile file, which names the cluster for a client without an endpoint.

Effects: reads one file, any thread, once a call; logs that others than its owner may read or change the keys in it.
Fluvio's own tools write that file.
"""

from __future__ import annotations

import importlib
import os
import re
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fluvio_sync._base.log import get_logger
from fluvio_sync._base.pem import is_pem
from fluvio_sync._base.text import shown
from fluvio_sync._settings.endpoint import parse_endpoint
from fluvio_sync.errors import ConfigError
from fluvio_sync.tls import TlsConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

PATH_VARIABLE = "FLV_PROFILE_PATH"
"""The environment variable that names the file."""

_OF_OTHERS = stat.S_IRGRP | stat.S_IWGRP | stat.S_IROTH | stat.S_IWOTH
_log = get_logger("profile")
_warned: set[tuple[str, int]] = set()  # paths and modes of files


class Profile(NamedTuple):
    """A profile and the cluster it names.

    * `name`: the profile's name.
    * `cluster`: the cluster's name.
    * `endpoint`: the SC's address, "host:port".
    * `use_spu_local_address`: whether to reach SPUs at their local addresses where they have one.
    * `tls`: TLS to SC and SPUs.
    """

    name: str
    cluster: str
    endpoint: str
    use_spu_local_address: bool
    tls: TlsConfig


def profile_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the profile file's path: `$FLV_PROFILE_PATH` if set, else `~/.fluvio/config`."""
    chosen = environ.get(PATH_VARIABLE)
    if chosen:
        return Path(chosen)
    home = environ.get("HOME")
    try:
        return (Path(home) if home else Path.home()) / ".fluvio" / "config"
    except RuntimeError as error:
        raise ConfigError(f"no profile file: {error}; set {PATH_VARIABLE}") from error


def load_profile(
    name: str | None = None,
    path: str | os.PathLike[str] | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Profile:
    """Read a profile.

    * `name`: the profile's name (default the file's `current_profile`).
    * `path`: the file (default `profile_path(environ)`).
    * `environ`: the environment (default this process's).

    Raises `ConfigError`, with the path and the reason, if the file is missing, unreadable or malformed, if there is no
    such profile or no active one, and if the profile names no cluster or one that is not in the file.  On Python 3.10
    it is also raised without the package tomli, which the extra `fluvio-sync[profile]` brings.
    """
    file = _File(profile_path(environ) if path is None else Path(path))
    if name is None:
        name = file.text(file.content, "current_profile", "", optional=True)
        if not name:
            raise file.error(
                "there is no active profile, because current_profile is missing; "
                f"it has the profiles {file.names('profile')}"
            )
    profile = file.section("profile", name)
    cluster_name = file.text(profile, "cluster", f"profile.{name}.")
    cluster = file.section("cluster", cluster_name, f", which profile {name!r} names")
    where = f"cluster.{cluster_name}."
    return Profile(
        name=name,
        cluster=cluster_name,
        endpoint=_endpoint(file, cluster, where),
        use_spu_local_address=_flag(file, cluster, "use_spu_local_address", where),
        tls=_tls(file, cluster, where),
    )


class _File:
    """The file's content, and errors that name their line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._text = ""
        self._mode = 0
        self.content: dict[str, Any] = self._read()

    def error(self, problem: str, where: str = "") -> ConfigError:
        """Return an error; `where`: the dotted key that it is about; the text names it and its line."""
        line = _line_of(where, self._text) if where else None
        place = str(self.path) if line is None else f"{self.path}, line {line}"
        return ConfigError(f"the profile file {place}: {where + ' ' if where else ''}{problem}")

    def _read(self) -> dict[str, Any]:
        toml = _toml_reader()
        try:
            with self.path.open("rb") as file:
                self._mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                written = file.read()
        except FileNotFoundError as error:
            raise self.error(
                "there is no such file; create it with Fluvio's command line, or name the cluster: an endpoint, "
                "$FLUVIO_SYNC_ENDPOINT, or --cluster at the shell"
            ) from error
        except (OSError, ValueError) as error:
            raise self.error(f"it cannot be read: {getattr(error, 'strerror', None) or error}") from error
        content, problem = self._parsed(written, toml)
        if problem:
            # Not raised while a reader's error is handled: it may hold the whole file with its keys, and would be the
            # context of this one.
            raise self.error(problem)
        return content

    def _parsed(self, written: bytes, toml: Any) -> tuple[dict[str, Any], str]:
        """Return the content, and why there is none."""
        try:
            self._text = written.decode().replace("\r\n", "\n")
            return toml.loads(self._text), ""
        except UnicodeDecodeError as error:
            return {}, f"it is not text in UTF-8: {error.reason} at byte {error.start}"
        except (toml.TOMLDecodeError, RecursionError) as error:
            return {}, f"it is not TOML: {error}"

    def warn_if_exposed(self) -> None:
        """Log, once in a process, that others than the file's owner may read or write it, because it holds a key."""
        exposed = (str(self.path), self._mode)
        if os.name != "posix" or not self._mode & _OF_OTHERS or exposed in _warned:
            return
        _warned.add(exposed)
        _log.warning(
            "profile.exposed",
            path=str(self.path),
            mode=f"{self._mode:04o}",
            reason=f"it holds a private key, and others than its owner may read or change it: chmod 600 {self.path}",
        )

    def text(self, table: dict[str, Any], key: str, where: str, *, optional: bool = False) -> str:
        """Return a string of a table; "" if it is optional and missing."""
        value = table.get(key)
        if value is None and optional:
            return ""
        if value is None:
            raise self.error("is missing", where + key)
        if not isinstance(value, str):
            raise self.error("is not a string", where + key)
        return value

    def table(self, table: dict[str, Any], key: str, where: str) -> dict[str, Any]:
        """Return a table of a table; an empty one if it is missing."""
        value = table.get(key, {})
        if not isinstance(value, dict):
            raise self.error("is not a table", where + key)
        return value

    def section(self, kind: str, name: str, named_by: str = "") -> dict[str, Any]:
        """Return `[kind.name]`."""
        sections = self.table(self.content, kind, "")
        if name not in sections:
            raise self.error(f"it has no {kind} {shown(name)}{named_by}; it has {self.names(kind)}")
        return self.table(sections, name, f"{kind}.")

    def names(self, kind: str) -> str:
        """Return the names of the sections of a kind, for an error."""
        return ", ".join(map(repr, self.table(self.content, kind, ""))) or "none"


# Compiled when the first error asks for a line: importing the package need not pay for it.
_HEADER = r"\s*\[\s*([^\[\]]+?)\s*\]\s*(#.*)?"
_KEY = r"\s*([\w.\"' -]+?)\s*="


def _line_of(where: str, text: str) -> int | None:
    """Return the line of a key, of its table if it is missing, or None.

    TOML readers give lines for syntax errors only.  In a valid text this finds tables and keys as people write them,
    except the keys of an inline table.
    """
    header, table, found = "", where.rpartition(".")[0], None
    for number, line in enumerate(text.splitlines(), 1):
        if heading := re.fullmatch(_HEADER, line):
            header = _plain(heading[1])
            if header == where:
                return number
            if header == table:
                found = number
        elif (key := re.match(_KEY, line)) and f"{header}.{_plain(key[1])}".removeprefix(".") == where:
            return number
    return found


def _plain(key: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in key.split("."))


def _toml_reader() -> Any:
    module = "tomllib" if sys.version_info >= (3, 11) else "tomli"
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"reading a profile file needs the package {module} on this Python: "
            "pip install 'fluvio-sync[profile]', or name the cluster's endpoint"
        ) from error


def _endpoint(file: _File, cluster: dict[str, Any], where: str) -> str:
    key = "addr" if "endpoint" not in cluster and "addr" in cluster else "endpoint"
    text = file.text(cluster, key, where)
    try:
        return str(parse_endpoint(text))
    except ConfigError as error:
        raise file.error(f"cannot be used: {error}", where + key) from error


def _flag(file: _File, table: dict[str, Any], key: str, where: str) -> bool:
    value = table.get(key, False)
    if not isinstance(value, bool):
        raise file.error("is neither true nor false", where + key)
    return value


def _tls(file: _File, cluster: dict[str, Any], where: str) -> TlsConfig:
    if "tls" not in cluster:
        return TlsConfig.disabled()
    tls = file.table(cluster, "tls", where)
    where += "tls."
    policy = file.text(tls, "tls_policy", where)
    if policy in ("disabled", "disable"):
        return TlsConfig.disabled()
    if policy == "anonymous":
        return TlsConfig.anonymous()
    if policy not in ("verified", "verify"):
        raise file.error(f"is {shown(policy)}: it is 'disabled', 'anonymous' or 'verified'", f"{where}tls_policy")
    return _verified(file, tls, where)


def _verified(file: _File, tls: dict[str, Any], where: str) -> TlsConfig:
    source = file.text(tls, "tls_source", where)
    if source not in ("inline", "files", "file"):
        raise file.error(f"is {shown(source)}: it is 'inline' or 'files'", f"{where}tls_source")
    certs = file.table(tls, "certs", where)
    where += "certs."
    texts = {key: file.text(certs, key, where) for key in ("domain", "ca_cert", "cert", "key")}
    for key in ("ca_cert", "cert", "key"):
        if is_pem(texts[key]) != (source == "inline"):
            kind = "PEM text" if source == "inline" else "a path"
            raise file.error(f"is not {kind}, as tls_source = {source!r} says", where + key)
    if source == "inline":
        file.warn_if_exposed()
    try:
        return TlsConfig.verified(**texts)
    except ConfigError as error:
        raise file.error(f"cannot be used: {error}", where[:-1]) from error
