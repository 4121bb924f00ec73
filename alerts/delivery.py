"""Deliver until delivered: claim what is due, send it, write down what came of it.

A claim pushes ``next_attempt_at`` to the lease's end before anything is sent, so the delivery of a worker that died
comes back by itself. Claims of one subscription follow one another under its row's lock; that keeps the order within a
session (only the lowest pending sequence is due, until it has failed a few times) and bounds how many are under way at
once. A worker that is slower than its lease may cause a second try under the same event id; it never undoes what the
other wrote.
"""

from __future__ import annotations

import logging
import random
import time
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone
from prometheus_client import Counter, Histogram

from accounts.keys import SealError
from alerts import payload
from alerts.models import Delivery, DeliveryAttempt, Subscription
from alerts.outgoing import Answer, Outgoing, TransportError
from alerts.subscriptions import secret_open
from alerts.transports import TRANSPORTS

logger = logging.getLogger(__name__)

_MINUTE, _HOUR = 60, 3600
SCHEDULE_S = (0, 5, 15, 30, 60, 5 * _MINUTE, 30 * _MINUTE, *(hours * _HOUR for hours in (2, 5, 10, 14, 20, 24)))
"""Waiting time before each attempt; after the last one a delivery is parked.

As Standard Webhooks 1.0 recommends, and three short steps more: a receiver that restarts is not left alone for minutes.
"""
JITTER = 0.1
"""Up to this share is added to a waiting time, so that what failed together does not come back together."""

EARLY = 0.2
"""Share of a waiting time that must be over before another delivery's success ends it. It keeps an alert that the
subscriber always refuses from using up its attempts while all others arrive."""

LEASE = timedelta(seconds=60)
"""Longer than any transport may take."""
IN_FLIGHT = 4
"""Deliveries under way to one subscription at once, each of another session."""

ATTEMPTS = Counter("sdproctor_delivery_attempts", "Tries at delivering an alert.", ["transport", "outcome"])
DURATION = Histogram("sdproctor_delivery_seconds", "How long a try took.", ["transport"])
DELAY = Histogram(
    "sdproctor_delivery_delay_seconds",
    "From the alert's commit to its delivery.",
    ["transport"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600, 3600, 36000),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one try."""

    answer: Answer | None
    error: TransportError | None
    duration_s: float


def drain(subscription_id: uuid.UUID, *, budget_s: float) -> bool:
    """Make the due deliveries of a subscription, one after the other; return False when the time was over before."""
    until = time.monotonic() + budget_s
    while (delivery := claim(subscription_id)) is not None:
        record(delivery, attempt(delivery))
        if time.monotonic() >= until:
            return False
    return True


def claim(subscription_id: uuid.UUID) -> Delivery | None:
    """Take the delivery of a subscription that has been due longest under a lease, or None when none is to be had."""
    now = timezone.now()
    with transaction.atomic():
        # NO KEY: incidents that write deliveries for this subscription meanwhile must not wait.
        held = Subscription.objects.select_for_update(no_key=True).filter(id=subscription_id, enabled=True)
        if not held.exists() or Delivery.objects.leased(now).filter(subscription=subscription_id).count() >= IN_FLIGHT:
            return None
        delivery = (
            Delivery.objects.due(now)
            .filter(subscription=subscription_id)
            .select_for_update(skip_locked=True, of=("self",))
            .select_related("alert", "subscription")
            .order_by("next_attempt_at", "id")
            .first()
        )
        if delivery is not None:
            delivery.lease, delivery.next_attempt_at = uuid.uuid4(), now + LEASE
            delivery.save(update_fields=["lease", "next_attempt_at"])
    return delivery


def attempt(delivery: Delivery) -> Outcome:
    """Send once; never raises for what the subscriber or the address did."""
    started = time.monotonic()
    document = delivery.alert.payload
    try:
        message = Outgoing(
            event_id=str(delivery.alert.event_id),
            session_id=document["exam_session_id"],
            event_type=delivery.alert.event_type,
            schema_version=document["metadata"]["schema_version"],
            timestamp=document["timestamp"],
            body=payload.body(document),
            address=delivery.subscription.url,
            secrets=(secret_open(delivery.subscription),),
        )
    except SealError as error:
        return Outcome(None, TransportError(f"The secret cannot be opened: {error}"), time.monotonic() - started)
    (result,) = TRANSPORTS[delivery.subscription.transport].send([message])
    took_s = time.monotonic() - started
    return Outcome(None, result, took_s) if isinstance(result, TransportError) else Outcome(result, None, took_s)


def record(delivery: Delivery, outcome: Outcome) -> None:
    """Write the attempt down and settle the delivery: delivered, to be tried again, or parked."""
    with transaction.atomic():
        _attempt_write(delivery, outcome)
        settled = _settle_failed(delivery, outcome.error) if outcome.error else _settle_delivered(delivery)
    transport = delivery.subscription.transport
    ATTEMPTS.labels(transport=transport, outcome=settled).inc()
    DURATION.labels(transport=transport).observe(outcome.duration_s)
    if outcome.error is not None:
        logger.warning("Delivery %s of alert %s: %s, %s", delivery.pk, delivery.alert_id, outcome.error, settled)


def _attempt_write(delivery: Delivery, outcome: Outcome) -> None:
    told = outcome.answer or outcome.error
    assert told is not None
    DeliveryAttempt.objects.create(
        organisation_id=delivery.organisation_id,
        delivery=delivery,
        attempted_at=timezone.now() - timedelta(seconds=outcome.duration_s),
        duration_ms=round(outcome.duration_s * 1000, 1),
        status_code=told.status_code,
        response=told.excerpt,
        error=str(outcome.error or ""),
    )


def _settle_delivered(delivery: Delivery) -> str:
    """Mark delivered, whoever holds the lease by now: it did arrive."""
    now = timezone.now()
    Delivery.objects.filter(pk=delivery.pk).exclude(state=Delivery.State.DELIVERED).update(
        state=Delivery.State.DELIVERED, delivered_at=now, lease=None, attempt_count=F("attempt_count") + 1
    )
    DELAY.labels(transport=delivery.subscription.transport).observe((now - delivery.created_at).total_seconds())
    _bring_forward(delivery.subscription_id, now)
    return "delivered"


def _bring_forward(subscription_id: uuid.UUID, now: datetime) -> None:
    """Make due what failed before: the subscriber answers again."""
    waited = Q()
    for attempts_made, wait_s in enumerate(SCHEDULE_S[1:], start=1):
        until = now + timedelta(seconds=wait_s * (1 - EARLY))
        waited |= Q(attempt_count=attempts_made, next_attempt_at__lte=until)
    failed = Delivery.objects.pending().filter(waited, subscription=subscription_id, lease=None)
    # Locked rows are being claimed or brought forward already; waiting for them could end in a deadlock.
    late = failed.filter(next_attempt_at__gt=now).select_for_update(skip_locked=True).values_list("pk", flat=True)
    if keys := list(late):
        Delivery.objects.filter(pk__in=keys).update(next_attempt_at=now)


def _settle_failed(delivery: Delivery, error: TransportError) -> str:
    """Plan the next attempt or park, unless another worker took over after the lease had run out."""
    count = delivery.attempt_count + 1
    parked = error.permanent or count >= len(SCHEDULE_S)
    state = Delivery.State.PARKED if parked else Delivery.State.PENDING
    wait = timedelta(0) if parked else waiting_time(count)
    Delivery.objects.pending().filter(pk=delivery.pk, lease=delivery.lease).update(
        state=state, next_attempt_at=timezone.now() + wait, lease=None, attempt_count=count
    )
    if error.gone:
        Subscription.objects.filter(pk=delivery.subscription_id).update(enabled=False, disabled_reason=str(error)[:200])
    return "parked" if parked else "failed"


def waiting_time(attempts_made: int) -> timedelta:
    """Return how long to wait before the next attempt, with jitter."""
    return timedelta(seconds=SCHEDULE_S[attempts_made] * (1 + JITTER * random.random()))  # noqa: S311  # no secret
