# SPDX-License-Identifier: Apache-2.0
"""`TlsConfig`: the TLS settings of a client.

Immutable, any thread.  Pure, except that `ssl_context()` reads the named files, and imports ssl.
"""

from __future__ import annotations

import contextlib
import enum
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fluvio_sync._base.text import shown
from fluvio_sync.errors import ConfigError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator


class TlsPolicy(enum.Enum):
    """The policies of Fluvio's profile file, in its words."""

    DISABLED = "disabled"
    ANONYMOUS = "anonymous"
    VERIFIED = "verified"


@dataclass(frozen=True, slots=True, repr=False)
class TlsConfig:
    """TLS to the SC and the SPUs; made by `disabled()`, `anonymous()` or `verified()`.

    `ca_cert`, `cert` and `key` are paths or the PEM text itself.  `repr()` shows paths, never texts.  Pickling an
    object that holds the text of a private key raises `TypeError`, as for an `ssl.SSLContext`.
    """

    policy: TlsPolicy
    domain: str | None = None
    ca_cert: str | None = None
    cert: str | None = None
    key: str | None = None

    @classmethod
    def disabled(cls) -> TlsConfig:
        """Return settings for plain TCP."""
        return cls(TlsPolicy.DISABLED)

    @classmethod
    def anonymous(cls) -> TlsConfig:
        """Return settings for encryption alone: an attacker between client and server can read and change the data."""
        return cls(TlsPolicy.ANONYMOUS)

    @classmethod
    def verified(
        cls,
        *,
        domain: str,
        ca_cert: str | os.PathLike[str],
        cert: str | os.PathLike[str] | None = None,
        key: str | os.PathLike[str] | None = None,
    ) -> TlsConfig:
        """Return settings for TLS that verifies the servers; the client shows its certificate if it has one.

        * `domain`: the name in the SC's certificate; an SPU's is `<name of the SPU>.<domain>`.  The dialled addresses
          do not matter.
        * `ca_cert`: the only authority that is trusted, a path or PEM text.
        * `cert`: the client's certificate, a path or PEM text (default none); a cluster may require one.
        * `key`: its private key, a path or PEM text; without it, `cert` holds both.

        Raises `ConfigError` if one is missing or of the wrong type.  `Fluvio.connect` reads the files, and the client
        reads them again when it makes a connection after they changed.
        """
        if not isinstance(domain, str) or not domain:
            raise ConfigError(f"domain cannot be {shown(domain)}: it is the name in the SC's certificate")
        if cert is None and key is not None:
            raise ConfigError("key without cert: the client's certificate is missing")
        return cls(
            TlsPolicy.VERIFIED,
            domain,
            _source("ca_cert", ca_cert),
            None if cert is None else _source("cert", cert),
            None if key is None else _source("key", key),
        )

    def server_name(self, spu_name: str | None = None) -> str | None:
        """Return the name that a server's certificate must have, and SNI; None if none is verified.

        * `spu_name`: the SPU's name in the cluster's metadata, such as "main-0"; None (default) for the SC.
        """
        if self.policy is not TlsPolicy.VERIFIED:
            return None
        return self.domain if spu_name is None else f"{spu_name}.{self.domain}"

    def files(self) -> list[str]:
        """Return the paths among the settings."""
        sources = (self.ca_cert, self.cert, self.key)
        return [source for source in sources if source is not None and not is_inline(source)]

    def ssl_context(self) -> ssl.SSLContext | None:
        """Return a new context for a client's connections, None for plain TCP.

        Reads the files.  The ssl module takes a certificate and its key only as files, so texts are written to
        temporary files, which only this user can read and which are removed at once.  Raises `ConfigError`, with the
        path and the reason, for a file or text that cannot be used.
        """
        if self.policy is TlsPolicy.DISABLED:
            return None
        import ssl  # noqa: PLC0415 - 20 ms that most clients do not need

        from fluvio_sync._base.tls_socket import ConnectedSocket  # noqa: PLC0415 - it imports ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.sslsocket_class = ConnectedSocket
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.policy is TlsPolicy.ANONYMOUS:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            return context
        # Not ssl.create_default_context(): since Python 3.13 it rejects authorities without the extensions of RFC 5280,
        # as many self-made ones are.  An intermediate authority may be the anchor, as in the official client.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        assert self.ca_cert is not None
        trust(context, self.ca_cert)
        if self.cert is not None:
            present(context, self.cert, self.key)
        return context

    def __repr__(self) -> str:
        if self.policy is not TlsPolicy.VERIFIED:
            return f"TlsConfig.{self.policy.value}()"
        sources = {"ca_cert": self.ca_cert, "cert": self.cert, "key": self.key}
        named = [f"{name}={_named(source)}" for name, source in sources.items() if source]
        return f"TlsConfig.verified({', '.join([f'domain={self.domain!r}', *named])})"

    def __reduce__(self) -> tuple[Any, ...]:
        if any("PRIVATE KEY-----" in (source or "") for source in (self.ca_cert, self.cert, self.key)):
            raise TypeError("cannot pickle a TlsConfig that holds a private key: give its path instead")
        return type(self), (self.policy, self.domain, self.ca_cert, self.cert, self.key)


def is_inline(source: str) -> bool:
    """Return whether `source` is PEM text, and not a path."""
    return "-----BEGIN" in source


def authority(tls: TlsConfig | ssl.SSLContext) -> str:
    """Return the authority that signs servers' certificates, for messages; "" if they are not verified."""
    if not isinstance(tls, TlsConfig):
        return "an authority of the SSLContext that was given"
    return "" if tls.ca_cert is None else f"ca_cert {_named(tls.ca_cert)}"


def _named(source: str) -> str:
    return "<inline>" if is_inline(source) else repr(source)


def _source(name: str, value: str | os.PathLike[str]) -> str:
    # The value is not shown: it may be a key.
    if not isinstance(value, (str, os.PathLike)):
        raise ConfigError(f"{name} cannot be a {type(value).__name__}: it is a path or PEM text, as a string")
    source = os.fspath(value)
    if not isinstance(source, str) or not source.strip():
        raise ConfigError(f"{name} is empty: it is a path or PEM text, as a string")
    return source if is_inline(source) else str(Path(source).expanduser())


def trust(context: ssl.SSLContext, ca_cert: str, name: str = "ca_cert") -> None:
    """Have a context trust an authority; `ConfigError`, which calls the setting `name`, if it cannot be used."""
    import ssl  # noqa: PLC0415 - imported already

    try:
        if is_inline(ca_cert):
            context.load_verify_locations(cadata=ca_cert)
        else:
            _check_readable(name, ca_cert)
            context.load_verify_locations(cafile=ca_cert)
    except (ssl.SSLError, TypeError) as error:  # TypeError: a text with other letters than ASCII
        raise ConfigError(f"{name} {_named(ca_cert)} cannot be used: {_reason(error)}") from error


def present(context: ssl.SSLContext, cert: str, key: str | None, names: tuple[str, str] = ("cert", "key")) -> None:
    """Have a context show a certificate; `ConfigError`, which calls the settings `names`, if it cannot be used."""
    import ssl  # noqa: PLC0415 - imported already

    def refuse_to_ask() -> str:  # without it, OpenSSL would ask on the terminal
        raise ConfigError(f"the private key in {_named(key or cert)} is encrypted: give it without a passphrase")

    with contextlib.ExitStack() as files:
        cert_path = files.enter_context(_as_file(names[0], cert))
        key_path = None if key is None else files.enter_context(_as_file(names[1], key))
        try:
            context.load_cert_chain(cert_path, key_path, password=refuse_to_ask)
        except ssl.SSLError as error:
            both = f"{names[0]} {_named(cert)}" + ("" if key is None else f" and {names[1]} {_named(key)}")
            raise ConfigError(f"{both} cannot be used: {_reason(error)}") from error


@contextlib.contextmanager
def _as_file(name: str, source: str) -> Iterator[str]:
    """Give the path of `source`, written to a private file if it is a text."""
    if not is_inline(source):
        _check_readable(name, source)
        yield source
        return
    import tempfile  # noqa: PLC0415 - rarely needed

    descriptor, path = tempfile.mkstemp(prefix="fluvio-sync-")  # readable by this user alone
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(source)
        yield path
    finally:
        Path(path).unlink()


def _check_readable(name: str, path: str) -> None:
    # The ssl module's own errors do not say which file.
    try:
        with Path(path).open("rb"):
            pass
    except (OSError, ValueError) as error:
        raise ConfigError(f"{name} {path!r} cannot be read: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
    return str(reason).replace("_", " ").lower() if str(reason).isupper() else str(reason)
