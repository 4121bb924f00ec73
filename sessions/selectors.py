"""Read sessions: one, a filtered list, and what is summed up about them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from django.db.models import Count, DurationField, ExpressionWrapper, F, OuterRef, Q, Subquery, Sum
from django.db.models.functions import Coalesce

from accounts.models import Organisation
from accounts.problems import Problem
from enrollment.models import is_external_id
from sessions.models import ExamSession, ExamSessionQuerySet, MediaGap

LATEST_GAPS: Final = 20


def session_find(*, organisation: Organisation, session_id: str) -> ExamSession:
    """Return the session the platform calls so, or whose own id it is; raise ``Problem`` (``session_unknown``)."""
    found = None
    if is_external_id(session_id):
        found = ExamSession.objects.of(organisation).with_everything().named(session_id)
    if found is None:
        raise Problem("session_unknown", f"There is no session '{session_id}'.")
    return found


def sessions_list(
    *,
    organisation: Organisation,
    ordering: str,
    state: str | None = None,
    exam_id: str | None = None,
    candidate_id: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    search: str | None = None,
) -> ExamSessionQuerySet:
    """Return the organisation's sessions that fit every filter given, each with its counts of incidents."""
    filters: dict[str, Any] = {
        "state": state,
        "exam__exam_id": exam_id,
        "candidate__candidate_id": candidate_id,
        "created_at__gte": since,
        "created_at__lt": until,
    }
    sessions = ExamSession.objects.of(organisation).filter(**{k: v for k, v in filters.items() if v is not None})
    if search:
        sessions = sessions.filter(
            Q(session_id__icontains=search)
            | Q(candidate__candidate_id__icontains=search)
            | Q(exam__exam_id__icontains=search)
        )
    name = ordering.removeprefix("-")
    key = Coalesce("tally__risk_score", 0.0) if name == "risk_score" else F(name)
    order = key.desc(nulls_last=True) if ordering.startswith("-") else key.asc(nulls_last=True)
    return with_incident_counts(sessions.with_everything()).order_by(order, "id")


def with_incident_counts(sessions: ExamSessionQuerySet) -> ExamSessionQuerySet:
    """Annotate ``incident_count`` and ``open_incident_count``; by subqueries, so that pages stay cheap."""
    return sessions.annotate(
        incident_count=_incident_count(Q()), open_incident_count=_incident_count(Q(incidents__state="open"))
    )


def _incident_count(condition: Q) -> Coalesce:
    own = ExamSession.objects.filter(pk=OuterRef("pk")).order_by()
    counted = own.annotate(n=Count("incidents", filter=condition or None)).values("n")
    return Coalesce(Subquery(counted), 0)


def incidents_count(session: ExamSession) -> list[dict[str, Any]]:
    """Return the session's incidents counted by type: ``event_type``, ``count``, ``open``."""
    counted = (
        ExamSession.objects.filter(pk=session.pk, incidents__isnull=False)
        .values(event_type=F("incidents__event_type"))
        .annotate(count=Count("incidents"), open=Count("incidents", filter=Q(incidents__state="open")))
        .order_by("event_type")
    )
    return [dict(row) for row in counted]


def gaps_summarise(session: ExamSession) -> dict[str, Any]:
    """Return the session's gaps in figures, and the latest ``LATEST_GAPS`` of them, newest first."""
    gaps = MediaGap.objects.filter(session=session)
    length = ExpressionWrapper(F("ended_at") - F("started_at"), output_field=DurationField())
    total = gaps.aggregate(count=Count("pk"), skipped=Coalesce(Sum("skipped"), 0), length=Sum(length))
    seconds = total["length"].total_seconds() if total["length"] else 0.0
    latest = gaps.order_by("-started_at")[:LATEST_GAPS]
    return {"count": total["count"], "skipped": total["skipped"], "seconds": round(seconds, 3), "latest": latest}
