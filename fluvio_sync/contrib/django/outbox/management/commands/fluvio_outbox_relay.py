# SPDX-License-Identifier: Apache-2.0
"""`manage.py fluvio_outbox_relay`: delivers the outbox of a database, until it is stopped."""

from __future__ import annotations

import logging
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DEFAULT_DB_ALIAS, Error, connections

from fluvio_sync._base.log import get_logger
from fluvio_sync._base.text import counted
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
    """The command; several may run at once."""

    help = (
        "Deliver the records of the outbox, at least once and in order for each key, until SIGTERM or Ctrl-C, after "
        "which the current batch is finished. Several relays may run at once. A record that the cluster rejects for "
        "good is marked as failed and blocks those with its key: see --retry-failed and --skip-failed."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the options."""
        parser.add_argument("--database", default=DEFAULT_DB_ALIAS, help="alias of DATABASES (default: default)")
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
            help=f"seconds between two queries of an empty outbox (default: {_INTERVAL:g})",
        )
        parser.add_argument(
            "--lease",
            type=float,
            default=_LEASE,
            metavar="S",
            help=f"seconds after which others take over the records of a killed relay; delivering one record may take "
            f"a third of it (default: {_LEASE:g})",
        )
        parser.add_argument(
            "--retention",
            type=float,
            default=_RETENTION,
            metavar="DAYS",
            help=f"delete delivered records after so many days (default: {_RETENTION:g})",
        )
        action = parser.add_mutually_exclusive_group()
        action.add_argument(
            "--retry-failed", type=int, nargs="*", metavar="ID", help="send failed records (default: all) again"
        )
        action.add_argument(
            "--skip-failed", type=int, nargs="*", metavar="ID", help="skip failed records (default: all)"
        )

    def handle(self, *, retry_failed: list[int] | None, skip_failed: list[int] | None, **options: Any) -> None:
        """Run the relay, or retry or skip failed records.

        Raises `CommandError` for invalid options, and with --once for a record that was not delivered.
        """
        database = options["database"]
        if database not in connections:
            raise CommandError(f"DATABASES has no {database!r}")
        if retry_failed is not None:
            self.stdout.write(f"{counted(_store.retry_failed(database, retry_failed), 'record')} will be sent again")
        elif skip_failed is not None:
            self.stdout.write(f"{counted(_store.skip_failed(database, skip_failed), 'record')} skipped")
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
                    total = _deliver_due_records(relay, stop)
                except Error as error:
                    raise CommandError(f"{str(error).strip()}: is the database there, and migrated?") from error
            else:
                self.stdout.write(f"relay {relay.name} runs on database {database!r}")
                self.stdout.flush()
                total = _deliver_until_stopped(relay, stop, database, options["interval"])
        self.stdout.write(f"delivered {total.delivered}, rejected {total.rejected}, to retry {total.to_retry}")
        if options["once"] and (total.rejected or total.to_retry or relay.is_blocked):
            raise CommandError("not every record could be delivered")

    @contextmanager
    def _showing_events(self) -> Iterator[None]:
        """Show the library's events on standard error, unless the application's logging handles them."""
        logger = logging.getLogger("fluvio_sync")
        handled = any(not isinstance(one, logging.NullHandler) for one in (*logger.handlers, *logging.root.handlers))
        handler = logging.NullHandler() if handled else logging.StreamHandler(self.stderr)
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


def _deliver_due_records(relay: Relay, stop: Stop) -> Pass:
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
        except Error as error:  # as while the database restarts
            _log.error("outbox.database_failed", database=database, error=f"{type(error).__name__}: {error}")
            connections[database].close()
            done = Pass()
        total = total.plus(done)
        if not done.delivered:
            stop.wait(interval)
    return total


@contextmanager
def _asked_by_signals(stop: Stop) -> Iterator[None]:
    """Have the first SIGTERM or Ctrl-C ask the relay to stop; the second ends the process as usual."""
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
