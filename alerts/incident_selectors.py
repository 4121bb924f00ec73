"""Read incidents: one, a filtered list, and the next that waits for a person."""

from __future__ import annotations

import uuid
from typing import Any, Final

from django.db.models import Prefetch, Q, QuerySet
from django.db.models.functions import Coalesce

from accounts.models import Organisation
from accounts.problems import Problem
from alerts.models import Evidence, Incident, IncidentQuerySet, Review, SessionTally
from sessions.models import as_uuid

UNDECIDED: Final = "undecided"
"""As a state: over, about behaviour, and waiting for a person."""


def incidents_list(*, organisation: Organisation, ordering: str, **wanted: Any) -> IncidentQuerySet:
    """Return the organisation's incidents that fit every filter given."""
    incidents = Incident.objects.of(organisation).select_related("session__candidate", "session__exam")
    if wanted.get("state") == UNDECIDED:
        incidents = incidents.undecided()
        del wanted["state"]
    if (name := wanted.pop("session_id", None)) is not None:
        own_id = as_uuid(name)
        incidents = incidents.filter(Q(session__session_id=name) | (Q(session_id=own_id) if own_id else Q()))
    lookups = {
        "exam_id": "session__exam__exam_id",
        "candidate_id": "session__candidate__candidate_id",
        "since": "started_at__gte",
        "until": "started_at__lt",
        "min_severity": "severity__gte",
    }
    given = {lookups.get(name, name): value for name, value in wanted.items() if value is not None}
    return incidents.filter(**given).order_by(ordering, "id")


def incident_find(*, organisation: Organisation, incident_id: uuid.UUID) -> Incident:
    """Return an incident of the organisation with its story; raise ``Problem`` (``incident_unknown``)."""
    found = with_story(Incident.objects.of(organisation)).filter(id=incident_id).first()
    if found is None:
        raise Problem("incident_unknown", f"There is no incident {incident_id}.")
    return found


def with_story(incidents: QuerySet[Incident]) -> QuerySet[Incident]:
    """Fetch what an incident is shown with: its session, its pictures' rows and the decisions on it, oldest first."""
    return incidents.select_related("session__candidate", "session__exam").prefetch_related(
        Prefetch("evidence", queryset=Evidence.objects.order_by("captured_at")),
        Prefetch("reviews", queryset=Review.objects.select_related("api_key")),
    )


def undecided_after(incidents: IncidentQuerySet, current: Incident | None = None) -> Incident | None:
    """Return the next of ``incidents`` that waits for a decision, None when none but ``current`` does.

    Sessions with the highest risk come first, within a session the earliest incident. After the last one it starts
    anew, so who passes incidents over sees each again.
    """
    waiting = incidents.undecided().annotate(risk=Coalesce("session__tally__risk_score", 0.0))
    waiting = waiting.order_by("-risk", "session_id", "started_at", "id")
    if current is None:
        return waiting.first()
    others = waiting.exclude(pk=current.pk)
    return others.filter(_comes_after(current)).first() or others.first()


def _comes_after(current: Incident) -> Q:
    session = current.session_id
    risk_score = SessionTally.objects.filter(pk=session).values_list("risk_score", flat=True).first() or 0.0
    later = Q(started_at__gt=current.started_at) | Q(started_at=current.started_at, id__gt=current.pk)
    return Q(session_id=session) & later | Q(risk=risk_score, session_id__gt=session) | Q(risk__lt=risk_score)
