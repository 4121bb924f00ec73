"""Turn a rule's change into an incident, and what becomes of an incident into an alert with its deliveries.

Everything is written inside the caller's transaction. What leaves the database (waking the delivery, the live sockets)
happens after the commit, is only a wake-up, and never raises: the sweep and the sockets' own polling find what it lost.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from functools import partial

from django.db import transaction
from prometheus_client import Counter

from alerts import evidence, payload, risk, tally, wake
from alerts.evidence import Frames
from alerts.models import Alert, Delivery, Incident, Review, Subscription
from alerts.severity import excess, severity
from alerts.wake import broadcast
from detection.engine.policy import BROWSER_EVENTS, TECHNICAL_EVENTS, EventType, RulePolicy
from detection.engine.rules import Change
from sessions.models import ExamSession

__all__ = ["broadcast", "incident_apply"]

OPENED = "opened"
CLOSED = "closed"
GATEWAY_SOURCE = "media-gateway"
"""``ai_model_source`` of what no model measured: the connection and its media."""
PAGE_SOURCE = "exam-page"
"""``ai_model_source`` of what the exam's page told of itself."""

ALERTS = Counter("sdproctor_alerts", "Alerts written, by event type and phase.", ["event_type", "phase"])
for _event in EventType:
    for _phase in (OPENED, CLOSED, *Review.Decision.values):
        ALERTS.labels(event_type=_event.value, phase=_phase)


def incident_apply(*, session: ExamSession, change: Change, frames: Frames | None = None) -> Alert:
    """Open or close the incident ``change.finding_id`` and write its alert with deliveries; return the alert.

    Call it in a transaction that holds the session's rule state locked: so its changes come one after the other, in
    the rules' order. ``frames`` are the pictures at hand for ``change.frame_ids``; given here, the alert carries links
    to them. Applying the same change again changes nothing and returns the alert of the first time.
    """
    known = Alert.objects.filter(incident_id=uuid.UUID(change.finding_id), phase=change.phase).first()
    if known is not None:
        return known
    sequence = tally.sequence_next(session_id=session.pk, organisation_id=session.organisation_id)
    incident = _incident_write(session, change)
    if not incident.technical:
        tally.risk_sum([session.pk])
    stored = evidence.keep(incident=incident, frames=frames or {})
    return alert_write(incident=incident, phase=change.phase, sequence=sequence, links=evidence.links(stored))


def _incident_write(session: ExamSession, change: Change) -> Incident:
    """Create the incident on opening, bring it up to date on closing; a close alone tells the whole story too."""
    opened = change.phase == OPENED
    above = excess(change.event_type, peak_value=change.peak_value, enter=change.rule.enter)
    values = {
        "organisation_id": session.organisation_id,
        "session": session,
        "event_type": change.event_type,
        "technical": change.event_type in TECHNICAL_EVENTS,
        "state": Incident.State.OPEN if opened else Incident.State.CLOSED,
        "version": 1 if opened else 2,
        "started_at": payload.from_unix(change.started_at),
        "decided_at": payload.from_unix(change.decided_at),
        "ended_at": None if change.ended_at is None else payload.from_unix(change.ended_at),
        "severity": severity(change.rule.severity, above),
        "excess": above,
        "value": change.value,
        "peak_value": change.peak_value,
        "peak_at": payload.from_unix(change.peak_at),
        "raw_score": raw_score(change),
        "sample_ids": payload.unique(change.sample_ids),
        "frame_ids": payload.unique(change.frame_ids),
        "rule": payload.rule_document(change.rule),
        "measures": change.measures,
        "model": change.model or _source_without_model(change.event_type),
        "policy_version": session.policy_version,
    }
    values["points"] = risk.points_now(Incident(**values))
    incident, _ = Incident.objects.update_or_create(id=uuid.UUID(change.finding_id), defaults=values)
    return incident


def _source_without_model(event_type: EventType) -> str:
    return PAGE_SOURCE if event_type in BROWSER_EVENTS else GATEWAY_SOURCE


def raw_score(change: Change) -> float | None:
    """Return what the model itself gave at the decision: its comparison score, or else the measure as it is."""
    decision: Mapping[str, object] = change.measures.get("decision") or {}
    identity = decision.get("identity", decision)
    score = identity.get("comparison_score") if isinstance(identity, Mapping) else None
    return float(score) if isinstance(score, int | float) else change.value


def alert_write(
    *,
    incident: Incident,
    phase: str,
    sequence: int,
    links: tuple[payload.EvidenceLink, ...],
    review: payload.ReviewFacts | None = None,
) -> Alert:
    """Write the alert that tells of an incident as it stands now, with its deliveries; they are woken on commit.

    ``sequence`` is what ``tally.sequence_next`` gave in this transaction.
    """
    session = incident.session
    event_id = uuid.uuid4()
    alert = Alert.objects.create(
        event_id=event_id,
        organisation_id=session.organisation_id,
        session=session,
        incident=incident,
        sequence=sequence,
        event_type=incident.event_type,
        phase=phase,
        payload=payload.build(_facts(event_id, incident, phase, sequence, links, review)),
    )
    ALERTS.labels(event_type=incident.event_type, phase=phase).inc()
    woken = _deliveries_write(session, alert)
    transaction.on_commit(partial(_announce, session.id, alert, woken), robust=True)
    return alert


def _facts(
    event_id: uuid.UUID,
    incident: Incident,
    phase: str,
    sequence: int,
    links: tuple[payload.EvidenceLink, ...],
    review: payload.ReviewFacts | None,
) -> payload.AlertFacts:
    session = incident.session
    return payload.AlertFacts(
        event_id=event_id,
        incident_id=incident.id,
        session_id=session.session_id,
        candidate_id=session.candidate.candidate_id,
        exam_id=session.exam.exam_id if session.exam else None,
        organisation=session.organisation.slug,
        sequence=sequence,
        event_type=incident.event_type,
        phase=phase,
        technical=incident.technical,
        severity=incident.severity,
        started_at=incident.started_at,
        decided_at=incident.decided_at,
        ended_at=incident.ended_at,
        value=incident.peak_value if incident.value is None else incident.value,
        peak_value=incident.peak_value,
        peak_at=incident.peak_at or incident.decided_at,
        raw_score=incident.raw_score,
        rule=RulePolicy(**incident.rule),
        model=incident.model,
        policy_name=session.policy_name,
        policy_version=incident.policy_version,
        sample_ids=tuple(incident.sample_ids),
        frame_ids=tuple(incident.frame_ids),
        links=links,
        accommodated=bool(session.accommodations),
        incident_version=incident.version,
        review=review,
    )


def _deliveries_write(session: ExamSession, alert: Alert) -> list[uuid.UUID]:
    """Write one delivery per enabled subscription that wants the alert; return those subscriptions' ids."""
    exam_id = session.exam.exam_id if session.exam else None
    wanting = [
        subscription
        for subscription in Subscription.objects.filter(organisation_id=session.organisation_id, enabled=True)
        if subscription.wants(event_type=alert.event_type, exam_id=exam_id)
    ]
    Delivery.objects.bulk_create(
        Delivery(
            organisation_id=session.organisation_id,
            alert=alert,
            subscription=subscription,
            session=session,
            sequence=alert.sequence,
        )
        for subscription in wanting
    )
    return [subscription.id for subscription in wanting]


def _announce(session_id: uuid.UUID, alert: Alert, subscription_ids: list[uuid.UUID]) -> None:
    for subscription_id in subscription_ids:
        wake.delivery(subscription_id)
    broadcast(session_id, {"type": "alert", "data": {"event_id": str(alert.event_id), "sequence": alert.sequence}})
    wake.followers(alert.organisation_id)
