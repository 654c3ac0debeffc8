# SPDX-License-Identifier: Apache-2.0
"""Certificates and keys as settings give them: the path of a file, or the PEM text itself.

A private key that is not PEM text, such as base64 of it, looks like the path of a file, and errors show paths.  So what
may be a key is refused without being shown, and of what passes for a path nothing is shown that is as long as a key.

Pure: no file is opened; any thread.
"""

from __future__ import annotations

import os
import re
from typing import Any

_LONGEST_NAME = 255  # bytes of a file's name, in all usual file systems
_SHOWN = 40  # characters of a file's name
_BEGINNING = 8  # characters that are shown of a longer one
_BEGIN = "-----BEGIN"
_FENCE = "-----"
# Patterns that a client without TLS never needs: `re` compiles them at their first use.
_CERTIFICATES = r"\s*(-----BEGIN (TRUSTED |X509 |)CERTIFICATE-----[A-Za-z0-9+/=\s]*-----END \2CERTIFICATE-----\s*)*"
_CONTROL = r"[\x00-\x1f\x7f]"
_HEX = r"(0x)?([0-9A-Fa-f]{2}:?){16,}"
_BASE64 = r"[A-Za-z0-9+/_-]{32,}={0,2}"
# The first bytes of a key or certificate in DER: a sequence, and in it a version number or another sequence.
_DER = rb"(?s)\x30([\x00-\x7f]|\x81.|\x82..)(\x02\x01[\x00\x01]|\x30)"


class PemText:
    """PEM text.  It is shown by no `repr()` or `str()`, and is pickled only if it holds nothing but certificates."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text."""
        return self._text

    def __eq__(self, other: object) -> bool:
        return self._text == other._text if isinstance(other, PemText) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "<inline>"

    def __copy__(self) -> PemText:
        return self

    def __deepcopy__(self, _memo: object) -> PemText:
        return self  # `dataclasses.asdict` makes such copies

    def __reduce__(self) -> tuple[Any, ...]:
        if not re.fullmatch(_CERTIFICATES, self._text):
            raise TypeError(
                "cannot pickle a TlsConfig that holds a private key, or another text than certificates: "
                "give its path instead"
            )
        return PemText, (self._text,)


def is_pem(text: str) -> bool:
    """Return whether a text is PEM text, and not a path."""
    return _BEGIN in text


def shown_source(given: str | PemText) -> str:
    """Return a path or PEM text as messages show it."""
    return repr(given) if isinstance(given, PemText) else shown_path(given)


def shown_path(path: str) -> str:
    """Return a text that should be a path, or a name, as messages show it: without what may be a key."""
    if may_be_key(path):
        return "<not shown>"
    if _looks_random(path, 32):
        return repr(f"{path[:_BEGINNING]}...")
    return repr("/".join(name if _is_plain(name) else f"{name[:_BEGINNING]}..." for name in _names(path)))


def may_be_key(text: str) -> bool:
    """Return whether a text cannot be a path, or is a key or a certificate in base64 or hexadecimal digits."""
    if _FENCE in text or re.search(_CONTROL, text):
        return True
    if any(len(name.encode(errors="surrogatepass")) > _LONGEST_NAME for name in _names(text)):
        return True
    # In environment files and JSON, line breaks are often two characters.
    decoded = _decoded(re.sub(r"\\[nr]|\s", "", text))
    return _BEGIN.encode() in decoded or re.match(_DER, decoded) is not None


def _decoded(text: str) -> bytes:
    """Return the bytes that hexadecimal digits or base64 stand for; none for another text."""
    if re.fullmatch(_HEX, text):
        return bytes.fromhex(text.removeprefix("0x").replace(":", ""))
    if not re.fullmatch(_BASE64, text):
        return b""
    import base64  # noqa: PLC0415 - rarely needed

    digits = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(digits[: len(digits) // 4 * 4])
    except ValueError:  # `binascii.Error` is one
        return b""


def _names(path: str) -> list[str]:
    return path.replace(os.sep, "/").split("/")


def _is_plain(name: str) -> bool:
    """Return whether a file's name is short, and does not look like a piece of base64."""
    return len(name) <= _SHOWN and not _looks_random(name, 16)


def _looks_random(text: str, length: int) -> bool:
    """Return whether a text looks like base64 of at least so many characters; a few paths do as well."""
    mixed = all(re.search(kind, text) for kind in ("[A-Z]", "[a-z]", "[0-9]"))
    return mixed and re.fullmatch(rf"[A-Za-z0-9+/=]{{{length},}}", text) is not None
