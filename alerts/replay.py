"""Send alerts once more, or for the first time, to a subscription, through the table of all deliveries."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Final

from django.db import transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from alerts import wake
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
    now = timezone.now()
    wanted = _wanted(subscription, alerts)
    with transaction.atomic():
        settled = Delivery.objects.filter(subscription=subscription, alert__in=wanted.order_by().values("pk"))
        again = settled.exclude(state=Delivery.State.PENDING).update(
            state=Delivery.State.PENDING, attempt_count=0, next_attempt_at=now, lease=None, delivered_at=None
        )
        new = _write_missing(subscription, wanted)
        transaction.on_commit(partial(wake.delivery, subscription.id))
    return again + new


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
