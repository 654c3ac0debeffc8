# SPDX-License-Identifier: Apache-2.0
"""`manage.py fluvio_outbox_relay`: delivers what is in the outbox of a database, until it is stopped."""

from __future__ import annotations

import logging
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DEFAULT_DB_ALIAS, Error, connections

from fluvio_sync._base.log import get_logger
from fluvio_sync.contrib.django.outbox import _store
from fluvio_sync.contrib.django.outbox._relay import Pass, Relay, Stop

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence
    from types import FrameType

_log = get_logger("outbox")

_BATCH = 500
_LARGEST_BATCH = 10_000  # SQLite takes some 32,000 parameters in a statement
_INTERVAL = 1.0
_LEASE = 30.0
_RETENTION = 7.0


class Command(BaseCommand):
    """Deliver what is in the outbox; several may run at once."""

    help = (
        "Deliver the records of the outbox, at least once and in order for each key, until SIGTERM or Ctrl-C, after "
        "which the records on their way are waited for. Several relays may run at once. A record that the cluster "
        "refuses for good is marked as failed and holds up those with its key: --retry-failed or --skip-failed."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Say what may be given."""
        parser.add_argument("--database", default=DEFAULT_DB_ALIAS, help="of DATABASES (default: default)")
        parser.add_argument(
            "--once", action="store_true", help="end when nothing is due; exit status 1 if a record was not delivered"
        )
        parser.add_argument(
            "--batch", type=int, default=_BATCH, metavar="N", help=f"records that a pass takes (default: {_BATCH})"
        )
        parser.add_argument(
            "--interval",
            type=float,
            default=_INTERVAL,
            metavar="S",
            help=f"seconds between two looks at an empty outbox (default: {_INTERVAL:g})",
        )
        parser.add_argument(
            "--lease",
            type=float,
            default=_LEASE,
            metavar="S",
            help=f"seconds after which others take over what a killed relay had in hand; a third of it is what "
            f"delivering one record may take (default: {_LEASE:g})",
        )
        parser.add_argument(
            "--retention",
            type=float,
            default=_RETENTION,
            metavar="DAYS",
            help=f"delete delivered records after so many days (default: {_RETENTION:g})",
        )
        what = parser.add_mutually_exclusive_group()
        what.add_argument(
            "--retry-failed", type=int, nargs="*", metavar="ID", help="have failed records (default: all) tried again"
        )
        what.add_argument(
            "--skip-failed", type=int, nargs="*", metavar="ID", help="give failed records (default: all) up"
        )

    def handle(self, *, retry_failed: list[int] | None, skip_failed: list[int] | None, **options: Any) -> None:
        """Do what was asked for; `CommandError` for options that cannot be, and as --once says."""
        database = options["database"]
        if database not in connections:
            raise CommandError(f"DATABASES has no {database!r}")
        if retry_failed is not None:
            self.stdout.write(f"{_store.retry_failed(database, retry_failed)} records will be tried again")
        elif skip_failed is not None:
            self.stdout.write(f"{_store.skip_failed(database, skip_failed)} records are given up")
        else:
            _check(options)
            self._relay(database, options)

    def _relay(self, database: str, options: dict[str, Any]) -> None:
        stop = Stop()
        relay = Relay(
            database, batch=options["batch"], lease=options["lease"], retention=options["retention"], stop=stop
        )
        with _asked_by_signals(stop), self._showing_events():
            if options["once"]:
                try:
                    total = _deliver_what_is_due(relay, stop)
                except Error as error:
                    raise CommandError(f"{str(error).strip()}: is the database there, and migrated?") from error
            else:
                self.stdout.write(f"relay {relay.name} at work on database {database!r}")
                self.stdout.flush()
                total = _deliver_until_stopped(relay, stop, database, options["interval"])
        self.stdout.write(f"delivered {total.delivered}, refused {total.refused}, postponed {total.postponed}")
        if options["once"] and (total.refused or total.postponed or relay.is_held_up):
            raise CommandError("not every record could be delivered")

    @contextmanager
    def _showing_events(self) -> Iterator[None]:
        """Show what the library says, if the application's logging does not."""
        logger = logging.getLogger("fluvio_sync")
        heard = [one for one in (*logger.handlers, *logging.root.handlers) if not isinstance(one, logging.NullHandler)]
        handler = logging.NullHandler() if heard else logging.StreamHandler(self.stderr)
        logger.addHandler(handler)
        try:
            yield
        finally:
            logger.removeHandler(handler)


def _check(options: dict[str, Any]) -> None:
    if not 1 <= options["batch"] <= _LARGEST_BATCH:
        raise CommandError(f"--batch is at least 1 and at most {_LARGEST_BATCH}")
    if options["interval"] < 0 or options["retention"] < 0:
        raise CommandError("--interval and --retention are at least 0")
    if options["lease"] <= 0:
        raise CommandError("--lease is more than 0")


def _deliver_what_is_due(relay: Relay, stop: Stop) -> Pass:
    total = Pass()
    while not stop.asked:
        done = relay.work()
        total = total.plus(done)
        if not done.claimed:
            break
    return total


def _deliver_until_stopped(relay: Relay, stop: Stop, database: str, interval: float) -> Pass:
    total = Pass()
    while not stop.asked:
        try:
            done = relay.work()
        except Error as error:  # the database is being restarted, say
            _log.error("outbox.database_failed", database=database, error=f"{type(error).__name__}: {error}")
            connections[database].close()
            done = Pass()
        total = total.plus(done)
        if not done.delivered:
            stop.wait(interval)
    return total


@contextmanager
def _asked_by_signals(stop: Stop) -> Iterator[None]:
    """Have the first SIGTERM or Ctrl-C ask to stop; the second ends the process as if nothing were here."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers: Sequence[signal.Signals] = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in numbers}

    def ask(_number: int, _frame: FrameType | None) -> None:
        stop.ask()
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in numbers:
        signal.signal(number, ask)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
