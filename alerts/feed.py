"""What a session's socket tells, read from the database: alerts by sequence number, incidents and state as they are.

The channel layer only wakes the socket. So nothing is lost, doubled or out of order when Redis is away.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db.models import OuterRef, Prefetch, QuerySet, Subquery
from django.db.models.functions import JSONObject

from alerts import payload
from alerts.evidence import link
from alerts.live_access import Close, Hears, RefusalError, Viewer
from alerts.models import Alert, Evidence, Incident, Review
from sessions.check_in_serializers import ChallengeSerializer
from sessions.models import Challenge, ExamSession

PAGE = 100
"""Alerts read at a time; the next page is read when these have been taken."""


@dataclass(frozen=True, slots=True)
class News:
    """What there is to send, in order. ``sequence`` is that of the last alert read; ``more``: read on at once."""

    messages: list[dict[str, Any]]
    sequence: int
    state: str
    challenge: dict[str, Any] | None
    more: bool


@dataclass(slots=True)
class Position:
    """How far a client has come. ``live_from`` is the first sequence number that is news and not replay."""

    sequence: int
    live_from: int
    state: str = ""
    challenge: dict[str, Any] | None = None
    """What was known of the latest challenge at check-in when it was told last."""


def start(viewer: Viewer, after: str | None) -> Position:
    """Return where a client starts: now, or after the alert it names; raise ``RefusalError`` when that is unknown."""
    alerts = Alert.objects.filter(session=viewer.session)
    newest = alerts.order_by("-sequence").values_list("sequence", flat=True).first() or 0
    if after is None:
        return Position(newest, newest + 1)
    try:
        known = alerts.filter(event_id=uuid.UUID(after)).values_list("sequence", flat=True).first()
    except ValueError:
        known = None
    if known is None:
        oldest = _heard(viewer, alerts).order_by("sequence").values_list("event_id", flat=True).first()
        raise RefusalError(
            Close.UNKNOWN_EVENT,
            "event_unknown",
            f"There is no alert '{after}' in this session: it was never issued or is not kept any more.",
            oldest_event_id=str(oldest) if oldest else None,
        )
    return Position(known, newest + 1)


def read(viewer: Viewer, position: Position) -> News:
    """Read what is new since ``position``: the state if it changed, then alerts, live ones with their incidents."""
    found = ExamSession.objects.filter(pk=viewer.session.pk).values_list("state", _latest_challenge()).first()
    if found is None:
        raise RefusalError(Close.UNKNOWN_SESSION, "session_unknown", "The session was erased.")
    state, challenge = found
    messages = [] if state == position.state else [_message("state", state_document(viewer))]
    if challenge != position.challenge:
        messages.append(_message("challenge", challenge_document(viewer)))
    alerts = list(_heard(viewer, Alert.objects.after(session_id=viewer.session.pk, sequence=position.sequence))[:PAGE])
    live = {alert.incident_id for alert in alerts if alert.sequence >= position.live_from}
    incidents = _incidents(viewer, live)
    for alert in alerts:
        if alert.sequence >= position.live_from and alert.incident_id in incidents:
            messages.append(_message("incident", incidents[alert.incident_id]))
        messages.append(_message("alert", alert_document(alert, pictures=viewer.sees_pictures)))
    sequence = alerts[-1].sequence if alerts else position.sequence
    return News(messages, sequence, state, challenge, more=len(alerts) == PAGE)


def _latest_challenge() -> Subquery:
    """Return what tells whether there is news of a session's latest challenge, in the query that reads its state."""
    latest = Challenge.objects.filter(session=OuterRef("pk")).order_by("-issued_at")
    return Subquery(latest.values(mark=JSONObject(id="id", outcome="outcome", steps="steps"))[:1])


def challenge_document(viewer: Viewer) -> dict[str, Any]:
    """Describe the session's latest challenge at check-in as it stands."""
    latest = Challenge.objects.filter(session=viewer.session).latest("issued_at")
    return dict(ChallengeSerializer(latest).data)


def _message(kind: str, data: dict[str, Any]) -> dict[str, Any]:
    return {"type": kind, "data": data}


def _heard(viewer: Viewer, alerts: QuerySet[Alert]) -> QuerySet[Alert]:
    """Leave out what is not for this viewer's ears."""
    if viewer.hears is Hears.NONE:
        return alerts.none()
    if viewer.hears is Hears.ALL:
        return alerts
    # What a person decided, and why, is not for the candidate, even where a camera was covered.
    return alerts.filter(incident__technical=True).exclude(phase__in=Review.Decision.values)


def state_document(viewer: Viewer) -> dict[str, Any]:
    """Describe the session now, with the last alert's id (to resume after) and the incidents that are open."""
    session = ExamSession.objects.select_related("candidate", "exam").get(pk=viewer.session.pk)
    last = _heard(viewer, Alert.objects.filter(session=session)).order_by("-sequence").first()
    opened = Incident.objects.filter(session=session, state=Incident.State.OPEN)
    return session_document(session) | {
        "last_event_id": str(last.event_id) if last else None,
        "open_incidents": list(_incidents(viewer, opened.values_list("id", flat=True)[:PAGE]).values()),
    }


def session_document(session: ExamSession) -> dict[str, Any]:
    """Describe a session, fetched with its candidate and exam."""
    return {
        "id": str(session.id),
        "session_id": session.session_id,
        "candidate_id": session.candidate.candidate_id,
        "exam_id": session.exam.exam_id if session.exam else None,
        "state": session.state,
        "live_at": payload.iso(session.live_at) if session.live_at else None,
        "planned_end_at": payload.iso(session.planned_end_at),
        "ended_at": payload.iso(session.ended_at) if session.ended_at else None,
        "end_reason": session.end_reason,
    }


def _incidents(viewer: Viewer, ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, dict[str, Any]]:
    wanted = set(ids) if viewer.hears is not Hears.NONE else set()
    if not wanted:
        return {}
    rows = Incident.objects.filter(session=viewer.session, id__in=wanted).order_by("started_at")
    if viewer.hears is Hears.TECHNICAL:
        rows = rows.filter(technical=True)
    evidence = Evidence.objects.filter(removed_at=None).order_by("captured_at")
    shown = rows.prefetch_related(Prefetch("evidence", queryset=evidence))
    return {incident.id: _shown(viewer, incident) for incident in shown}


def _shown(viewer: Viewer, incident: Incident) -> dict[str, Any]:
    document = incident_document(incident, pictures=viewer.sees_pictures)
    if viewer.hears is Hears.TECHNICAL and incident.ended_at is not None:
        return document | {"state": Incident.State.CLOSED, "version": 2}  # as the rules left it
    return document


def alert_document(alert: Alert, *, pictures: bool) -> dict[str, Any]:
    """Return an alert as published; without ``pictures`` it names none, for its links open them to anybody."""
    document = payload.ordered(alert.payload)
    return document if pictures else document | {"metadata": document["metadata"] | {"evidence": []}}


def incident_document(incident: Incident, *, pictures: bool) -> dict[str, Any]:
    """Describe an incident as it stands, with signed links to its pictures."""
    return {
        "incident_id": str(incident.id),
        "event_type": incident.event_type,
        "technical": incident.technical,
        "state": incident.state,
        "version": incident.version,
        "started_at": payload.iso(incident.started_at),
        "decided_at": payload.iso(incident.decided_at),
        "ended_at": payload.iso(incident.ended_at) if incident.ended_at else None,
        "severity_score": incident.severity,
        "peak_value": payload.finite(incident.peak_value),
        "model": incident.model,
        "evidence": [
            {"evidence_id": str(row.id), "frame_id": row.frame_id, "captured_at": payload.iso(row.captured_at),
             "url": link(row.id)}
            for row in incident.evidence.all()
            if pictures
        ],
    }  # fmt: skip
