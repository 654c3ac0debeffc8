# SPDX-License-Identifier: Apache-2.0
"""`manage.py fluvio_check`: checks each step from this process to the clusters of FLUVIO, and the outbox."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, InterfaceError

from fluvio_sync._base.text import counted
from fluvio_sync._settings.topic_name import check_topic_name
from fluvio_sync.contrib.django import _aliases
from fluvio_sync.doctor import Step, diagnose
from fluvio_sync.errors import ConfigError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator


class Command(BaseCommand):
    """The command."""

    help = (
        "Check each step from this machine to the clusters of FLUVIO separately; print its result and, if it failed, "
        "advice. Exit status 1 if a step failed."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the options."""
        parser.add_argument("--alias", action="append", help="only this one; may be repeated (default: all of FLUVIO)")
        parser.add_argument("--topic", help="also produce: this WRITES a record to the topic")

    def handle(self, *, alias: list[str] | None, topic: str | None, **_: Any) -> None:
        """Print each step as it is taken; `CommandError` if one failed."""
        steps = failed = 0
        try:
            if topic is not None:
                check_topic_name(topic)
            arguments = {name: _aliases.read(name).connect for name in alias or _aliases.setting()}
        except ConfigError as error:
            raise CommandError(str(error)) from error
        for name, connect in arguments.items():
            self.stdout.write(f"FLUVIO[{name!r}]")
            for step in diagnose(topic, **connect):
                steps, failed = steps + 1, failed + (not step.ok)
                self._print(step)
        for step in _outbox():
            steps, failed = steps + 1, failed + (not step.ok)
            self._print(step)
        if failed:
            raise CommandError(f"{failed} of {steps} steps failed")

    def _print(self, step: Step) -> None:
        self.stdout.write(step.text, self.style.SUCCESS if step.ok else self.style.ERROR)
        self.stdout.flush()


def _outbox() -> Iterator[Step]:
    """Check the outbox, if its app is installed."""
    if not apps.is_installed("fluvio_sync.contrib.django.outbox"):
        return
    from fluvio_sync.contrib.django import outbox  # noqa: PLC0415 - only where its app is installed

    try:
        found = outbox.health()
    except (DatabaseError, InterfaceError) as error:
        yield Step("outbox", False, 0.0, " ".join(str(error).split()), "is the database there, and migrated?")
        return
    age = "" if found.oldest_age is None else f", the oldest {found.oldest_age:.0f} s old"
    detail = f"{counted(found.pending, 'record')} to send{age}; {found.failed} failed, {found.blocked} blocked"
    advice = "see manage.py fluvio_outbox_relay --help: --retry-failed, --skip-failed" if found.failed else ""
    yield Step("outbox", not found.failed, 0.0, detail, advice)
