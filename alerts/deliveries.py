"""Find deliveries, and send them again."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime

from django.db import transaction
from django.utils import timezone

from accounts.models import Organisation
from accounts.problems import Problem
from alerts import wake
from alerts.delivery import breaker
from alerts.models import Delivery, DeliveryQuerySet, Subscription

RESEND_MOST = 10_000
"""Deliveries that one request sends again; a range that holds more is asked for again."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which deliveries; what is None or empty leaves all through. Times are those of the alert's commit."""

    states: Sequence[str] = ()
    subscription_id: uuid.UUID | None = None
    session_id: str | None = None
    event_type: str | None = None
    event_id: uuid.UUID | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def is_everything(self) -> bool:
        """Tell whether nothing is asked for that narrows the choice; a state alone does not."""
        return not any(getattr(self, field.name) for field in fields(self) if field.name != "states")


def deliveries_find(*, organisation: Organisation, wanted: Wanted) -> DeliveryQuerySet:
    """Return the organisation's deliveries that are wanted, the newest first."""
    found = Delivery.objects.of(organisation)
    if wanted.states:
        found = found.filter(state__in=wanted.states)
    if wanted.subscription_id:
        found = found.filter(subscription_id=wanted.subscription_id)
    if wanted.session_id:
        found = found.filter(session__session_id=wanted.session_id)
    if wanted.event_type:
        found = found.of_event_type(wanted.event_type)
    if wanted.event_id:
        found = found.of_event(wanted.event_id)
    if wanted.since:
        found = found.filter(created_at__gte=wanted.since)
    if wanted.until:
        found = found.filter(created_at__lt=wanted.until)
    return found.order_by("-created_at", "-id")


def deliveries_resend(*, organisation: Organisation, wanted: Wanted) -> tuple[int, bool]:
    """Queue again what is wanted, the oldest first; return how many, and whether there are more than ``RESEND_MOST``.

    Each begins its schedule anew under the same event id. What is just being sent is left alone. Without ``states``
    everything is sent again, also what was delivered. Raises ``Problem`` (``range_missing``) when all was asked for.
    """
    if wanted.is_everything:
        raise Problem("range_missing", "Name an event, a session, a subscription or a time.")
    found = deliveries_find(organisation=organisation, wanted=wanted)
    chosen = list(found.order_by("created_at", "id").values_list("pk", "subscription_id")[: RESEND_MOST + 1])
    taken = chosen[:RESEND_MOST]
    return delivery_requeue([pk for pk, _ in taken], {key for _, key in taken}), len(chosen) > RESEND_MOST


def delivery_requeue(keys: Sequence[int], subscription_ids: set[uuid.UUID]) -> int:
    """Queue these deliveries of these subscriptions again and close the breakers in their way; return how many."""
    now = timezone.now()
    with transaction.atomic():
        # The lock that claiming takes: what is claimed meanwhile is seen to be under way.
        locked = Subscription.objects.select_for_update(no_key=True).filter(id__in=subscription_ids).order_by("id")
        for subscription in locked:
            if breaker.state(subscription, now) is not breaker.State.CLOSED:
                subscription.breaker_until = now  # a person asks for it: probe at once
                subscription.save(update_fields=["breaker_until"])
        free = Delivery.objects.filter(pk__in=keys).free(now)
        count = free.update(
            state=Delivery.State.PENDING, attempt_count=0, next_attempt_at=now, queued_at=now, lease=None,
            leased_until=None, delivered_at=None,
        )  # fmt: skip
    for subscription_id in subscription_ids:
        wake.delivery(subscription_id)
    return count
