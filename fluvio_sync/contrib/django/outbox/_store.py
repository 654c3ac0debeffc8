# SPDX-License-Identifier: Apache-2.0
"""The queries of a relay; no transaction stays open while records are sent.

A relay claims a key by its oldest undelivered record, whose `due` then lies in the future until the claim ends.  Only
the oldest record of a key is ever claimed, so that no other relay takes those behind it.  The update that claims checks
its rows again, so that two relays never claim the same record; if the database can skip locked rows, they do not wait
for each other either.  The claims of a killed relay run out.
"""

from __future__ import annotations

from contextlib import nullcontext
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import connections, transaction
from django.db.models import Count, Exists, F, Min, OuterRef, Q
from django.utils import timezone

from fluvio_sync.contrib.django.outbox._order import delay_after
from fluvio_sync.contrib.django.outbox.models import OutboxRecord, State

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fluvio_sync.contrib.django.outbox._delivery import Outcome

_UNDELIVERED = (State.PENDING, State.FAILED)
_DELETED_AT_ONCE = 1000
_WINDOW = 4  # times `limit`: how many of the oldest records a claim looks at first


def _records(database: str) -> Any:
    return OutboxRecord.objects.using(database)


def claim(
    database: str, relay: str, *, limit: int, lease: float, avoided: Sequence[tuple[str, str | None]]
) -> tuple[list[int], list[OutboxRecord]]:
    """Claim keys that are due; return the ids of their oldest records, and up to `limit` records of these keys.

    * `relay`: the name of the relay.
    * `lease`: seconds that the claim lasts.
    * `avoided`: aliases, or topics of aliases, that are not claimed.
    """
    now = timezone.now()
    records = _records(database)
    # Keys that a relay has claimed, that wait after a failure, or that are blocked: their queues may be long.
    busy = records.filter(Q(state=State.FAILED) | Q(state=State.PENDING, due__gt=now))
    due = records.filter(state=State.PENDING, due__lte=now).exclude(order_key__in=busy.values("order_key"))
    for alias, topic in avoided:
        due = due.exclude(Q(alias=alias) if topic is None else Q(alias=alias, topic=topic))
    claiming = _Claiming(database, relay, now, now + timedelta(seconds=lease))
    edge = due.order_by("due", "id").values_list("due", "pk")[_WINDOW * limit : _WINDOW * limit + 1].first()
    if edge is None:
        return claiming.claim(due, limit)
    # A window first: if a few keys have long queues, finding the oldest record of each among all takes long.
    claimed, found = claiming.claim(due.filter(due__lte=edge[0]), limit, up_to=edge[1])
    if len(found) < limit:
        more, of_more = claiming.claim(due, limit - len(found))
        claimed, found = claimed + more, found + of_more
    return claimed, found


class _Claiming(NamedTuple):
    """A claim that is being made: the database, the name of the relay, and the times of its begin and end."""

    database: str
    relay: str
    now: datetime
    until: datetime

    def claim(self, due: Any, limit: int, up_to: int | None = None) -> tuple[list[int], list[OutboxRecord]]:
        """Claim keys whose oldest record is among `due`, and take the records behind it with ids of at most `up_to`."""
        records = _records(self.database)
        undelivered = records.filter(state__in=_UNDELIVERED)
        before = undelivered.filter(order_key=OuterRef("order_key"), pk__lt=OuterRef("pk"))
        can_skip = connections[self.database].features.has_select_for_update_skip_locked
        # SQLite does not upgrade a transaction that began by reading after another has written: hence none there.
        with transaction.atomic(using=self.database) if can_skip else nullcontext():
            oldest = due.filter(~Exists(before)).order_by("due", "id")
            if can_skip:
                oldest = oldest.select_for_update(skip_locked=True)
            ids = list(oldest.values_list("pk", flat=True)[:limit])
            still_due = records.filter(pk__in=ids, state=State.PENDING, due__lte=self.now)
            still_due.update(due=self.until, claimed_by=self.relay)
        claimed = list(records.filter(pk__in=ids, state=State.PENDING, claimed_by=self.relay))
        behind = undelivered.filter(order_key__in=[record.order_key for record in claimed]).exclude(pk__in=ids)
        if up_to is not None:
            behind = behind.filter(pk__lte=up_to)
        return [record.pk for record in claimed], claimed + list(behind.order_by("id")[: limit - len(claimed)])


def store_outcome(database: str, relay: str, claimed: Iterable[int], outcome: Outcome) -> None:
    """Store the outcomes of a pass, and end its claims on records without one.

    Another relay may have claimed a record meanwhile: a delivery counts in any case, a failure only for a record that
    is still pending.
    """
    now = timezone.now()
    records = _records(database)
    with transaction.atomic(using=database):
        records.filter(pk__in=outcome.delivered).update(
            state=State.DELIVERED, done=now, claimed_by="", error="", attempts=F("attempts") + 1
        )
        for record, error in outcome.rejected:
            records.filter(pk=record.pk, state=State.PENDING).update(
                state=State.FAILED, claimed_by="", error=error, attempts=F("attempts") + 1
            )
        for record, error in outcome.to_retry:
            due = now + timedelta(seconds=delay_after(record.attempts + 1))
            records.filter(pk=record.pk, state=State.PENDING).update(
                due=due, claimed_by="", error=error, attempts=F("attempts") + 1
            )
        records.filter(pk__in=claimed, state=State.PENDING, claimed_by=relay).update(due=now, claimed_by="")


def expire(database: str, retention: float) -> int:
    """Delete some of the records that were delivered or skipped more than `retention` days ago; return how many."""
    before = timezone.now() - timedelta(days=retention)
    ids = list(
        _records(database).filter(done__lt=before).order_by("done").values_list("pk", flat=True)[:_DELETED_AT_ONCE]
    )
    return _records(database).filter(pk__in=ids).delete()[0] if ids else 0


def retry_failed(database: str, ids: Sequence[int]) -> int:
    """Make failed records (no ids: all) pending again; return how many."""
    return int(_failed(database, ids).update(state=State.PENDING, due=timezone.now(), claimed_by=""))


def skip_failed(database: str, ids: Sequence[int]) -> int:
    """Skip failed records (no ids: all), so that those behind them are delivered; return how many."""
    return int(_failed(database, ids).update(state=State.SKIPPED, done=timezone.now(), claimed_by=""))


def _failed(database: str, ids: Sequence[int]) -> Any:
    failed = _records(database).filter(state=State.FAILED)
    return failed.filter(pk__in=ids) if ids else failed


def figures(database: str) -> tuple[int, float | None, int, int]:
    """Return the fields of an `OutboxHealth`."""
    records = _records(database)
    pending = records.filter(state=State.PENDING).aggregate(count=Count("pk"), oldest=Min("created"))
    failed = records.filter(state=State.FAILED).count()
    oldest = pending["oldest"]
    age = None if oldest is None else max(0.0, (timezone.now() - oldest).total_seconds())
    before = records.filter(order_key=OuterRef("order_key"), state=State.FAILED, pk__lt=OuterRef("pk"))
    blocked = records.filter(Exists(before), state=State.PENDING).count() if failed else 0
    return pending["count"], age, failed, blocked
