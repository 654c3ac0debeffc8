# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: INP001 - Sphinx reads this file by its path
"""How Sphinx builds these pages: `make docs`; it needs packages, and no network."""

from __future__ import annotations

import enum
import re
from typing import TYPE_CHECKING

import django
from django.conf import settings

import fluvio_sync
import fluvio_sync.testing

if TYPE_CHECKING:
    from sphinx.application import Sphinx

# The modules of `contrib.django` want a project when they are imported.
settings.configure(INSTALLED_APPS=["fluvio_sync.contrib.django", "fluvio_sync.contrib.django.outbox"])
django.setup()

project = "fluvio_sync"
version = release = fluvio_sync.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"fluvio_sync {release}"
html_copy_source = False

autodoc_class_signature = "mixed"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"

# What is not of this package has its documentation elsewhere, and a build must not need a network to find it.
nitpick_ignore_regex = [("py:.*", r"(?!fluvio_sync\b).*")]

PLACES = {name: f"{module.__name__}.{name}" for module in (fluvio_sync, fluvio_sync.testing) for name in module.__all__}
NOT_FOR_CALLING = [f"fluvio_sync.{name}" for name in ("Fluvio", "TopicProducer", "DeliveryFuture", "TlsConfig")]
"""Classes whose objects the library makes, or class methods."""


def mark_code(_app: Sphinx, _what: str, _name: str, _object: object, _options: object, lines: list[str]) -> None:
    """Have what docstrings put in single backticks shown as code, as a link where it is a public name."""
    lines[:] = re.sub(r"(?<!`)`([^`]+)`(?!`)(?=(\w?))", as_code, "\n".join(lines)).split("\n")


def as_code(found: re.Match[str]) -> str:
    """Return the role for a piece of code; a letter that follows has to be parted from it."""
    code = " ".join(found[1].split())
    first, *rest = code.partition("(")[0].split(".")
    role = f":py:obj:`{code} <{'.'.join([PLACES[first], *rest])}>`" if first in PLACES else f"``{code}``"
    return f"{role}\\ " if found[2] else role


def shorten(
    _app: Sphinx, _what: str, name: str, thing: object, _options: object, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """Leave out what no caller gives: the arguments of such classes, and the trap for misspelt settings."""
    if name in NOT_FOR_CALLING or isinstance(thing, enum.EnumMeta) or getattr(thing, "_is_protocol", False):
        return "", None
    return signature and signature.replace(", **unknown: NoReturn", ""), returned


def show_bases(_app: Sphinx, _name: str, _object: object, _options: object, bases: list[type]) -> None:
    """Show what errors that mean "out of time" are to a caller."""
    bases[:] = [TimeoutError if base.__name__ == "_OutOfTimeError" else base for base in bases]


def setup(app: Sphinx) -> None:
    """Hook in."""
    app.connect("autodoc-process-docstring", mark_code)
    app.connect("autodoc-process-signature", shorten)
    app.connect("autodoc-process-bases", show_bases)
