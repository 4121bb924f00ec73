"""How the subscriptions are doing: what waits, since when a subscriber fails, when it last took an alert."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Min, OuterRef, Subquery

from accounts.models import Organisation
from alerts.models import Delivery, Subscription


@dataclass(frozen=True, slots=True)
class Status:
    """One subscription and its queue."""

    subscription: Subscription
    waiting: int
    oldest_waiting_at: datetime | None
    parked: int

    @property
    def state(self) -> str:
        """Return ``disabled``, ``failing``, ``delivering`` or ``idle``."""
        if not self.subscription.enabled:
            return "disabled"
        if self.subscription.failing_since is not None:
            return "failing"
        return "delivering" if self.waiting else "idle"

    @property
    def needs_attention(self) -> bool:
        """Tell whether somebody should look: it fails, gave up on alerts, or was switched off by the service."""
        switched_off = not self.subscription.enabled and bool(self.subscription.disabled_reason)
        return self.parked > 0 or self.state == "failing" or switched_off


def statuses(organisation: Organisation | None = None) -> Sequence[Status]:
    """Return all subscriptions, or those of an organisation, oldest first; what is delivered is not looked at."""
    waiting = Delivery.objects.pending().filter(subscription=OuterRef("pk")).order_by().values("subscription")
    rows: Any = Subscription.objects.with_queue().select_related("organisation")
    rows = rows.annotate(oldest_waiting_at=Subquery(waiting.annotate(at=Min("queued_at")).values("at")))
    rows = rows.order_by("organisation__slug", "created_at", "id")
    return [
        Status(
            subscription=row,
            waiting=row.pending_count,
            oldest_waiting_at=row.oldest_waiting_at,
            parked=row.parked_count,
        )
        for row in (rows if organisation is None else rows.filter(organisation=organisation))
    ]
