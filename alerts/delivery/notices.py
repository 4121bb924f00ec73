"""Tell of alerts that could not be delivered: a notice to the organisation's other subscriptions and to its proctors.

A notice that is not delivered itself is parked like an alert, and nothing is told of that: notices beget no notices.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from django.db import transaction

from alerts import payload, wake
from alerts.models import Delivery, Notice, Subscription
from alerts.notice_types import DELIVERY_PARKED
from sessions.models import ExamSession

NOTICE_VERSION = "1.0"
NAMED_MOST = 100
"""Alerts that one notice names; it counts all."""


@dataclass(frozen=True, slots=True)
class Parked:
    """A delivery that was parked, and why."""

    delivery_id: int
    reason: str


def parked(deliveries: Sequence[Parked], now: datetime) -> set[uuid.UUID]:
    """Write one notice for each session and subscription of these deliveries; return the subscriptions to be told.

    Call it in the transaction that parks them.
    """
    if not deliveries:
        return set()
    reasons = {one.delivery_id: one.reason for one in deliveries}
    rows = Delivery.objects.filter(pk__in=reasons, alert__isnull=False).select_related(
        "alert", "subscription", "session__exam", "session__candidate", "session__organisation"
    )
    groups: dict[tuple[uuid.UUID, uuid.UUID], list[Delivery]] = defaultdict(list)
    for row in rows.order_by("sequence"):
        groups[row.session_id, row.subscription_id].append(row)
    told: set[uuid.UUID] = set()
    for group in groups.values():
        told |= _tell(group, reasons[group[-1].pk], now)
    return told


def _tell(group: Sequence[Delivery], reason: str, now: datetime) -> set[uuid.UUID]:
    session, failed = group[0].session, group[0].subscription
    event_id = uuid.uuid4()
    document = _document(event_id, session, failed, group, reason, now)
    payload.validate_notice(document)
    notice = Notice.objects.create(
        event_id=event_id,
        organisation_id=session.organisation_id,
        session=session,
        event_type=DELIVERY_PARKED,
        payload=document,
        created_at=now,
    )
    transaction.on_commit(partial(wake.notice, session.organisation_id, session.id, document), robust=True)
    return _deliver(notice, session, failed)


def _document(
    event_id: uuid.UUID,
    session: ExamSession,
    failed: Subscription,
    group: Iterable[Delivery],
    reason: str,
    now: datetime,
) -> dict[str, Any]:
    """Build the notice in its published schema. It names no address: those who read it may not be meant to know it."""
    events = [str(row.alert_id) for row in group]
    return {
        "event_id": str(event_id),
        "exam_session_id": session.session_id,
        "candidate_id": session.candidate.candidate_id,
        "timestamp": payload.iso(now),
        "event_type": DELIVERY_PARKED,
        "metadata": {
            "schema_version": NOTICE_VERSION,
            "exam_id": session.exam.exam_id if session.exam else None,
            "organisation": session.organisation.slug,
            "technical": True,
            "subscription_id": str(failed.id),
            "transport": failed.transport,
            "reason": reason[:200],
            "parked_count": len(events),
            "parked_event_ids": events[:NAMED_MOST],
        },
    }


def _deliver(notice: Notice, session: ExamSession, failed: Subscription) -> set[uuid.UUID]:
    exam_id = session.exam.exam_id if session.exam else None
    others = Subscription.objects.filter(organisation_id=session.organisation_id, enabled=True).exclude(pk=failed.pk)
    wanting = [row for row in others if row.wants(event_type=notice.event_type, exam_id=exam_id)]
    Delivery.objects.bulk_create(
        Delivery(
            organisation_id=session.organisation_id,
            notice=notice,
            subscription=row,
            session=session,
            next_attempt_at=notice.created_at,
        )
        for row in wanting
    )
    return {row.id for row in wanting}
