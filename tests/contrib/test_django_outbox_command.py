# SPDX-License-Identifier: Apache-2.0
"""The relay's command, and the views of the outbox: `fluvio_check` and the admin site."""

from __future__ import annotations

import logging
import re
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError, connections
from django.test import Client

from fluvio_sync.contrib.django.outbox._relay import Pass, Relay, Stop
from fluvio_sync.contrib.django.outbox.management.commands import fluvio_outbox_relay
from tests.support.outbox_kit import REJECTED, new_relay, records, relay, relay_with_failures, send

if TYPE_CHECKING:
    from fluvio_sync.testing import FakeFluvio

pytestmark = pytest.mark.usefixtures("forgotten_clients")

# The command.


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"batch": 0}, "--batch is at least 1"),
        ({"batch": 10_001}, "--batch is at least 1 and at most 10000"),
        ({"interval": -1}, "--interval and --retention are at least 0"),
        ({"retention": -1.0}, "--interval and --retention are at least 0"),
        ({"lease": 0}, "--lease is more than 0"),
        ({"database": "missing"}, "DATABASES has no 'missing'"),
    ],
)
def test_invalid_options(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(CommandError, match=complaint):
        call_command("fluvio_outbox_relay", **options)


def test_the_guide_names_the_options_and_their_defaults() -> None:
    guide = (Path(__file__).parent.parent.parent / "docs" / "django.md").read_text(encoding="utf-8")
    shown = dict(re.findall(r"^\| `--(\w+)` \| ?(\w*) \|", guide, re.MULTILINE))
    parser = fluvio_outbox_relay.Command().create_parser("manage.py", "fluvio_outbox_relay")
    taken = parser.parse_args([])
    assert {name: float(default) for name, default in shown.items() if default.isdigit()} == {
        "batch": taken.batch,
        "interval": taken.interval,
        "lease": taken.lease,
        "retention": taken.retention,
    }
    assert (shown["database"], shown["once"]) == (taken.database, "")
    named = re.findall(r"fluvio_outbox_relay --([\w-]+) ", guide)
    assert all(f"--{name}" in parser.format_help() for name in (*shown, *named))
    assert {"retry-failed", "skip-failed"} <= set(named)


def test_a_database_that_fails_is_tried_again(
    fluvio: FakeFluvio, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    send(database, "tea")
    stop = Stop()
    worker = new_relay(database, stop)
    passes = []

    class Flaky:
        """Loses its connection before every second pass."""

        def work(self) -> Pass:
            passes.append(1)
            if len(passes) % 2:
                connections[database].close()
                raise OperationalError("server closed the connection")
            done = worker.work()
            if not done.claimed:
                stop.ask()
            return done

    with caplog.at_level(logging.ERROR, "fluvio_sync"):
        flaky: Any = Flaky()
        total = fluvio_outbox_relay._deliver_until_stopped(flaky, stop, database, 0.01)
    assert total == Pass(1, 1)
    assert len(passes) == 4
    assert "outbox.database_failed" in caplog.text
    assert fluvio.values("orders") == [b"tea"]


def test_events_go_to_standard_error_unless_the_application_handles_them(
    fluvio: FakeFluvio, default_database: str
) -> None:
    logger = logging.getLogger("fluvio_sync")
    roots, logging.root.handlers = logging.root.handlers, []
    try:
        for handled in (False, True):
            send("default", "tea")
            fluvio.fail_next(REJECTED)
            output = StringIO()
            handler = logging.StreamHandler(StringIO())
            if handled:
                logger.addHandler(handler)
            with pytest.raises(CommandError):
                call_command("fluvio_outbox_relay", once=True, stdout=output, stderr=output)
            logger.removeHandler(handler)
            assert ("outbox.rejected" in output.getvalue()) is not handled
    finally:
        logging.root.handlers = roots


def test_a_database_error_with_once_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(_: Relay) -> Pass:
        raise OperationalError("no such table: fluvio_outbox")

    monkeypatch.setattr(Relay, "work", work)
    with pytest.raises(CommandError, match=r"^no such table: fluvio_outbox: is the database there, and migrated\?$"):
        relay("default")


# Views of the outbox.


def test_check_command_shows_the_outbox(fluvio: FakeFluvio, default_database: str) -> None:
    for value in ("poison", "behind"):
        send("default", value, key="k")
    fluvio.fail_next(REJECTED)
    relay_with_failures("default")
    output = StringIO()
    with pytest.raises(CommandError, match="steps failed"):
        call_command("fluvio_check", alias=["default"], stdout=output)
    line = output.getvalue().splitlines()[-1]
    assert line.startswith("FAIL  outbox")
    assert "1 record to send, the oldest 0 s old; 1 failed, 1 blocked -> see manage.py" in line


def test_the_admin_site_shows_records_and_changes_none(default_database: str) -> None:
    from django.contrib.auth.models import User

    send("default", "secret tea", key="k")
    (stored,) = records("default")
    user = User.objects.create_superuser("anna", password="anna")
    try:
        web = Client()
        web.force_login(user)
        page = web.get("/admin/fluvio_outbox/outboxrecord/").content.decode()
        assert "orders" in page
        assert "secret" not in page
        assert web.get(f"/admin/fluvio_outbox/outboxrecord/{stored.pk}/change/").status_code == 200
        assert web.post(f"/admin/fluvio_outbox/outboxrecord/{stored.pk}/change/", {}).status_code == 403
        assert web.post(f"/admin/fluvio_outbox/outboxrecord/{stored.pk}/delete/", {}).status_code == 403
        assert web.get("/admin/fluvio_outbox/outboxrecord/add/").status_code == 403
    finally:
        user.delete()


def test_the_migrations_are_complete(default_database: str) -> None:
    call_command("makemigrations", "fluvio_outbox", check=True, dry_run=True, verbosity=0)


def test_only_the_app_of_the_outbox_has_a_table() -> None:
    from django.apps import apps

    assert not list(apps.get_app_config("fluvio_sync").get_models())
    assert [model.__name__ for model in apps.get_app_config("fluvio_outbox").get_models()] == ["OutboxRecord"]
