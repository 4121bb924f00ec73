"""How the subscriptions are doing: what waits, since when a subscriber fails, when it last took an alert."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, F, Max, Min, Q

from accounts.models import Organisation
from alerts.models import Delivery, DeliveryAttempt, Subscription


@dataclass(frozen=True, slots=True)
class Status:
    """One subscription. ``failing_since``: the first failed try since the last success; None: the last one worked."""

    subscription: Subscription
    waiting: int
    oldest_waiting_at: datetime | None
    parked: int
    last_success_at: datetime | None
    failing_since: datetime | None

    @property
    def state(self) -> str:
        """Return ``disabled``, ``failing``, ``delivering`` or ``idle``."""
        if not self.subscription.enabled:
            return "disabled"
        if self.failing_since is not None:
            return "failing"
        return "delivering" if self.waiting else "idle"

    @property
    def needs_attention(self) -> bool:
        """Tell whether somebody should look: it fails, gave up on alerts, or was switched off by the service."""
        switched_off = not self.subscription.enabled and bool(self.subscription.disabled_reason)
        return self.parked > 0 or self.state == "failing" or switched_off


def statuses(organisation: Organisation | None = None) -> Sequence[Status]:
    """Return all subscriptions, or those of an organisation, oldest first."""
    rows = Subscription.objects.select_related("organisation").order_by("organisation__slug", "created_at", "id")
    subscriptions = list(rows if organisation is None else rows.filter(organisation=organisation))
    counts = _counts([subscription.id for subscription in subscriptions])
    failing = _failing([subscription.id for subscription in subscriptions])
    return [_status(subscription, counts.get(subscription.id, {}), failing) for subscription in subscriptions]


def _status(subscription: Subscription, counts: Mapping[str, Any], failing: Mapping[uuid.UUID, datetime]) -> Status:
    return Status(
        subscription=subscription,
        waiting=counts.get("waiting", 0),
        oldest_waiting_at=counts.get("oldest"),
        parked=counts.get("parked", 0),
        last_success_at=counts.get("success"),
        failing_since=failing.get(subscription.id),
    )


def _counts(ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, dict[str, Any]]:
    pending, parked = Q(state=Delivery.State.PENDING), Q(state=Delivery.State.PARKED)
    rows = (
        Delivery.objects.filter(subscription__in=ids)
        .values("subscription")
        .annotate(
            waiting=Count("pk", filter=pending),
            oldest=Min("created_at", filter=pending),
            parked=Count("pk", filter=parked),
            success=Max("delivered_at"),
        )
    )
    return {row["subscription"]: dict(row) for row in rows}


def _failing(ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, datetime]:
    """Return the first failed try after the last success, of subscriptions whose last try failed."""
    tried = DeliveryAttempt.objects.filter(delivery__subscription__in=ids)
    last = tried.values(key=F("delivery__subscription")).annotate(
        success=Max("attempted_at", filter=Q(error="")), failure=Max("attempted_at", filter=~Q(error=""))
    )
    found: dict[uuid.UUID, datetime] = {}
    for row in last:
        success, failure = row["success"], row["failure"]
        if failure is None or (success is not None and success > failure):
            continue
        since = tried.filter(delivery__subscription=row["key"]).exclude(error="")
        if success is not None:
            since = since.filter(attempted_at__gt=success)
        found[row["key"]] = since.aggregate(at=Min("attempted_at"))["at"]
    return found
