"""Send a subscription a sample: an alert in the published schema that says of itself that it is none."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from accounts.keys import SealError
from alerts import payload, wake
from alerts.delivery import breaker
from alerts.delivery.call import failed
from alerts.delivery.claim import outgoing
from alerts.models import Subscription
from alerts.outgoing import Result, TransportError
from alerts.subscriptions import secrets_open
from alerts.transports import TRANSPORTS
from detection.engine.policy import DEFAULT_RULES, EventType

SAMPLE_TYPE = "TEST"
"""No event type of a real alert. ``metadata.sample`` says it once more."""


@dataclass(frozen=True, slots=True)
class Tested:
    """What came of a sample."""

    event_id: str
    delivered: bool
    status_code: int | None
    response: str
    error: str
    duration_ms: float


def sample_send(*, subscription: Subscription) -> Tested:
    """Send a sample now, whether or not the subscription is enabled or its breaker open; return what came of it.

    It waits for the subscriber, at most as long as the transport allows. A success closes the breaker.
    """
    now = timezone.now()
    document = sample_document(subscription, now)
    result = _send(subscription, document, now)
    took_s = (timezone.now() - now).total_seconds()
    error = failed(result)
    if error is None:
        _note_success(subscription)
    return Tested(
        event_id=document["event_id"],
        delivered=error is None,
        status_code=result.status_code,
        response=result.excerpt,
        error=str(error or ""),
        duration_ms=round(took_s * 1000, 1),
    )


def _send(subscription: Subscription, document: dict[str, Any], now: datetime) -> Result:
    try:
        secrets = secrets_open(subscription, now)
    except SealError as error:
        return TransportError(f"The secret cannot be opened: {error}")
    message = outgoing(SAMPLE_TYPE, document, address=subscription.url, secrets=secrets)
    (result,) = TRANSPORTS[subscription.transport].send([message])
    return result


def _note_success(subscription: Subscription) -> None:
    """Close the breaker, and have what waited for it delivered."""
    with transaction.atomic():
        locked = Subscription.objects.select_for_update(no_key=True).get(pk=subscription.pk)
        breaker.close(locked, timezone.now())
        locked.save(update_fields=breaker.FIELDS)
    wake.delivery(subscription.id)


def sample_document(subscription: Subscription, now: datetime) -> dict[str, Any]:
    """Return an alert of nobody's session that follows the published schema."""
    facts = payload.AlertFacts(
        event_id=uuid.uuid4(),
        incident_id=uuid.uuid4(),
        session_id="sample-session",
        candidate_id="sample-candidate",
        exam_id=None,
        organisation=subscription.organisation.slug,
        sequence=1,
        event_type=SAMPLE_TYPE,
        phase="opened",
        technical=True,
        severity=0.0,
        started_at=now - timedelta(seconds=3),
        decided_at=now,
        ended_at=None,
        value=0.0,
        peak_value=0.0,
        peak_at=now,
        raw_score=None,
        rule=DEFAULT_RULES[EventType.NO_FACE],
        model="sample",
        policy_name="sample",
        policy_version="sample",
        sample_ids=(),
        frame_ids=(),
    )
    document = payload.build(facts)
    document["metadata"]["sample"] = True
    return document
