"""Send alerts once more, or for the first time, to a subscription, through the table of all deliveries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from django.db.models import Exists, OuterRef

from alerts import wake
from alerts.deliveries import delivery_requeue
from alerts.models import AlertQuerySet, Delivery, Subscription
from alerts.stream import Filters

BATCH: Final = 500
"""Deliveries written by one statement."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How many alerts a replay concerns."""

    again: int
    """Were delivered or parked, and are sent again under the same event id."""
    new: int
    """Never were for this subscription, and are sent now."""
    waiting: int
    """Are on their way already, and are left alone."""
    unwanted: int
    """Do not pass the subscription's filters, and are left out."""

    @property
    def sent(self) -> int:
        """Return how many are sent."""
        return self.again + self.new


def replay_plan(*, subscription: Subscription, alerts: AlertQuerySet) -> Plan:
    """Count what ``replay`` would do with these alerts, all of the subscription's organisation."""
    wanted = _wanted(subscription, alerts)
    theirs = Delivery.objects.filter(subscription=subscription, alert=OuterRef("pk"))
    again = wanted.filter(Exists(theirs.exclude(state=Delivery.State.PENDING))).count()
    waiting = wanted.filter(Exists(theirs.pending())).count()
    total = wanted.count()
    return Plan(again=again, new=total - again - waiting, waiting=waiting, unwanted=alerts.count() - total)


def replay(*, subscription: Subscription, alerts: AlertQuerySet) -> int:
    """Make the deliveries of these alerts due, with all their attempts before them; return how many are sent.

    What is on its way already keeps its state. Order within a session is kept as for every delivery.
    """
    wanted = _wanted(subscription, alerts)
    settled = Delivery.objects.filter(subscription=subscription, alert__in=wanted.order_by().values("pk"))
    keys = list(settled.exclude(state=Delivery.State.PENDING).order_by("created_at", "id").values_list("pk", flat=True))
    again = sum(delivery_requeue(part, {subscription.id}) for part in _parts(keys))
    new = _write_missing(subscription, wanted)
    wake.delivery(subscription.id)
    return again + new


def _parts(keys: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(keys), BATCH):
        yield keys[start : start + BATCH]


def _wanted(subscription: Subscription, alerts: AlertQuerySet) -> AlertQuerySet:
    filters = Filters(exam_ids=tuple(subscription.exam_ids), event_types=tuple(subscription.event_types))
    return filters.apply(alerts)


def _write_missing(subscription: Subscription, wanted: AlertQuerySet) -> int:
    told = Delivery.objects.filter(subscription=subscription, alert=OuterRef("pk"))
    missing = wanted.exclude(Exists(told)).values_list("pk", "session_id", "sequence")
    deliveries = [
        Delivery(
            organisation_id=subscription.organisation_id,
            alert_id=alert_id,
            subscription=subscription,
            session_id=session_id,
            sequence=sequence,
        )
        for alert_id, session_id, sequence in missing.iterator(BATCH)
    ]
    # What somebody else has written meanwhile is on its way: that is all that was asked for.
    Delivery.objects.bulk_create(deliveries, batch_size=BATCH, ignore_conflicts=True)
    return len(deliveries)
