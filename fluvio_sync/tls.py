# SPDX-License-Identifier: Apache-2.0
"""`TlsConfig`: the TLS settings of a client.

Immutable, any thread.  Pure, except that `ssl_context()` reads the named files, and imports ssl.
"""

from __future__ import annotations

import contextlib
import enum
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fluvio_sync._base.pem import PemText, is_pem, may_be_key, shown_path, shown_source
from fluvio_sync._base.text import shown
from fluvio_sync.errors import ConfigError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator


# The labels of a name that a certificate may have; as in names of hosts, "_" is tolerated.
_LABEL = r"[A-Za-z0-9_-]{1,63}"
_LONGEST_NAME = 253


class TlsPolicy(enum.Enum):
    """The policies of Fluvio's profile file, in its words."""

    DISABLED = "disabled"
    ANONYMOUS = "anonymous"
    VERIFIED = "verified"


@dataclass(frozen=True, slots=True, repr=False)
class TlsConfig:
    """TLS to the SC and the SPUs; made by `disabled()`, `anonymous()` or `verified()`.

    `ca_cert`, `cert` and `key` are paths, or the PEM text itself, which is kept in an object that does not show it:
    neither `repr()` nor `dataclasses.asdict()` has the text of a key.  Pickling an object that holds the text of a
    private key raises `TypeError`, as for an `ssl.SSLContext`.
    """

    policy: TlsPolicy
    domain: str | None = None
    ca_cert: str | PemText | None = None
    cert: str | PemText | None = None
    key: str | PemText | None = None

    def __post_init__(self) -> None:
        if self.domain is not None:
            _check_domain(self.domain)
        for name in ("ca_cert", "cert", "key"):
            given = getattr(self, name)
            if given is not None:
                object.__setattr__(self, name, source(name, given))

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

        Raises `ConfigError` if one is missing or of the wrong type, if no server can have a name in the domain, and for
        a key in another form, such as base64 of PEM text, which it does not show.  `Fluvio.connect` reads the files,
        and the client reads them again when it makes a connection after they changed.
        """
        _check_domain(domain)
        if cert is None and key is not None:
            raise ConfigError("key without cert: the client's certificate is missing")
        return cls(
            TlsPolicy.VERIFIED,
            domain,
            source("ca_cert", ca_cert),
            None if cert is None else source("cert", cert),
            None if key is None else source("key", key),
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
        return [given for given in (self.ca_cert, self.cert, self.key) if isinstance(given, str)]

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
        named = [f"{name}={shown_source(given)}" for name, given in sources.items() if given]
        return f"TlsConfig.verified({', '.join([f'domain={self.domain!r}', *named])})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.policy, self.domain, self.ca_cert, self.cert, self.key)


def _check_domain(domain: object) -> None:
    """Raise `ConfigError` unless servers can have certificates for names in a domain."""
    if not isinstance(domain, str) or not domain:
        raise ConfigError(f"domain cannot be {shown(domain)}: it is the name in the SC's certificate")
    problem = problem_of_name(domain)
    if problem:
        name = shown_path(domain)
        raise ConfigError(f"domain cannot be {name}: it is the name in the SC's certificate, and {problem}")


def problem_of_name(name: str) -> str:
    """Say why no certificate is for a name, "" if one may be."""
    if name.startswith(".") or name.endswith("."):
        return "such a name neither begins nor ends with a dot"
    for label in name.split("."):
        if not label:
            return "no part between its dots may be empty"
        encoded = _ascii(label)
        if encoded is None or len(encoded) > 63:
            return "a part between its dots is longer than 63 characters, or cannot be written in a certificate"
        if not re.fullmatch(_LABEL, encoded):
            return "it has letters, digits, '-' and '_' between its dots, and nothing else, no scheme and no port"
    return f"it is longer than {_LONGEST_NAME} characters" if len(name) > _LONGEST_NAME else ""


def _ascii(label: str) -> str | None:
    """Return a label as certificates have it, which for an international name is another; None if there is none."""
    if label.isascii():
        return label
    try:
        return label.encode("idna").decode("ascii")
    except UnicodeError:
        return None


def authority(tls: TlsConfig | ssl.SSLContext) -> str:
    """Return the authority that signs servers' certificates, for messages; "" if they are not verified."""
    if not isinstance(tls, TlsConfig):
        return "an authority of the SSLContext that was given"
    return "" if tls.ca_cert is None else f"ca_cert {shown_source(tls.ca_cert)}"


def verifies_nobody(tls: TlsConfig | ssl.SSLContext) -> bool:
    """Return whether TLS accepts any server, so that an attacker in between can be one."""
    if isinstance(tls, TlsConfig):
        return tls.policy is TlsPolicy.ANONYMOUS
    return not tls.verify_mode  # `ssl.CERT_NONE` is 0


def source(name: str, value: object) -> str | PemText:
    """Return the value of a setting as a path or as PEM text.

    * `name`: the setting's name, for errors.
    * `value`: a path, `~` included, or PEM text.

    Raises `ConfigError`, which does not show the value, if it is neither.
    """
    if isinstance(value, PemText):
        return value
    if not isinstance(value, (str, os.PathLike)):
        raise ConfigError(f"{name} cannot be a {type(value).__name__}: it is a path or PEM text, as a string")
    text = os.fspath(value)
    if not isinstance(text, str) or not text.strip():
        raise ConfigError(f"{name} is empty: it is a path or PEM text, as a string")
    if is_pem(text):
        return PemText(text)
    if may_be_key(text):
        raise ConfigError(
            f"{name} is neither PEM text nor a path, and is not shown because it may be a key: PEM text has its line "
            "-----BEGIN ...-----, its line breaks, and is not itself encoded (decode base64 first)"
        )
    return str(Path(text).expanduser())


def trust(context: ssl.SSLContext, ca_cert: str | PemText, name: str = "ca_cert") -> None:
    """Have a context trust an authority; `ConfigError`, which calls the setting `name`, if it cannot be used."""
    import ssl  # noqa: PLC0415 - imported already

    try:
        if isinstance(ca_cert, PemText):
            context.load_verify_locations(cadata=ca_cert.reveal())
        else:
            _check_readable(name, ca_cert)
            context.load_verify_locations(cafile=ca_cert)
    except (ssl.SSLError, TypeError) as error:  # TypeError: a text with other letters than ASCII
        raise ConfigError(f"{name} {shown_source(ca_cert)} cannot be used: {_reason(error)}") from error


def present(
    context: ssl.SSLContext,
    cert: str | PemText,
    key: str | PemText | None,
    names: tuple[str, str] = ("cert", "key"),
) -> None:
    """Have a context show a certificate; `ConfigError`, which calls the settings `names`, if it cannot be used."""
    import ssl  # noqa: PLC0415 - imported already

    def refuse_to_ask() -> str:  # without it, OpenSSL would ask on the terminal
        raise ConfigError(f"the private key in {shown_source(key or cert)} is encrypted: give it without a passphrase")

    with contextlib.ExitStack() as files:
        cert_path = files.enter_context(_as_file(names[0], cert))
        key_path = None if key is None else files.enter_context(_as_file(names[1], key))
        try:
            context.load_cert_chain(cert_path, key_path, password=refuse_to_ask)
        except ssl.SSLError as error:
            both = f"{names[0]} {shown_source(cert)}" + ("" if key is None else f" and {names[1]} {shown_source(key)}")
            raise ConfigError(f"{both} cannot be used: {_reason(error)}") from error


@contextlib.contextmanager
def _as_file(name: str, given: str | PemText) -> Iterator[str]:
    """Give the path of `given`, written to a private file if it is a text."""
    if isinstance(given, str):
        _check_readable(name, given)
        yield given
        return
    import tempfile  # noqa: PLC0415 - rarely needed

    descriptor, path = tempfile.mkstemp(prefix="fluvio-sync-")  # readable by this user alone
    try:
        # No text fails here: the error would hold it.
        with open(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:  # noqa: PTH123 - no path
            file.write(given.reveal())
        yield path
    finally:
        Path(path).unlink()


def _check_readable(name: str, path: str) -> None:
    # The ssl module's own errors do not say which file.
    reason = _why_unreadable(path)
    if reason is not None:
        # Not raised while the system's error is handled, which has the whole path, and would be its context.
        raise ConfigError(f"{name} {shown_path(path)} cannot be read: {reason}")


def _why_unreadable(path: str) -> str | None:
    try:
        with Path(path).open("rb"):
            return None
    except (OSError, ValueError) as error:
        return _reason(error)


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
    return str(reason).replace("_", " ").lower() if str(reason).isupper() else str(reason)
