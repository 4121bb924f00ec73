"""The live page: the running sessions, with their incidents as they come. The browser listens to the socket."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Prefetch
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse

from accounts.auth import is_staff_with
from accounts.models import Organisation, User
from alerts import stream
from alerts.models import Alert, Incident
from alerts.stream import Filters
from enrollment.models import is_external_id
from sessions.admin import STATE_COLOURS
from sessions.models import Exam, ExamSession

SESSIONS_SHOWN: Final = 500
INCIDENTS_SHOWN: Final = 3
"""The latest of each session."""
LOG_SHOWN: Final = 30
"""The latest of all; the page keeps as many more as come until it is loaded again, up to a bound of its own."""


def may_watch(user: object) -> bool:
    """Tell whether somebody may see the live page: sessions and incidents."""
    return is_staff_with(user, "exam_sessions.view_examsession") and is_staff_with(user, "alerts.view_incident")


def live(request: HttpRequest) -> HttpResponse:
    """Show the page; ``exam`` and, for superusers, ``organisation`` in the query choose what is on it."""
    user = request.user
    if not may_watch(user):
        raise PermissionDenied
    assert isinstance(user, User)
    owner = _organisation(user, request.GET.get("organisation"))
    exam_id = request.GET.get("exam") or None
    if exam_id is not None and not is_external_id(exam_id):
        raise Http404
    filters = Filters(exam_ids=(exam_id,) if exam_id else ())
    # First, so that what comes while the rest is read is told by the socket.
    last = stream.last_until(owner, stream.newest(owner), filters)
    context = {
        **admin.site.each_context(request),
        "title": "Live",
        "owner": owner,
        "organisations": Organisation.objects.order_by("slug") if user.is_superuser else [],
        "exams": Exam.objects.filter(organisation=owner, exam_sessions__in=_running(owner, None)).distinct(),
        "exam_id": exam_id,
        "rows": _rows(_running(owner, exam_id)[:SESSIONS_SHOWN]),
        "log": _log(owner, filters),
        "states": STATE_COLOURS,
        "socket": _socket(owner, exam_id),
        "after": last,
        "zone": settings.ADMIN_TIME_ZONE,
        "pictures": is_staff_with(user, "alerts.view_evidence"),
        "addresses": _addresses(),
    }
    return TemplateResponse(request, "alerts/admin/live.html", context)


def _organisation(user: User, slug: str | None) -> Organisation:
    if not slug or slug == user.organisation.slug:
        return user.organisation
    found = Organisation.objects.filter(slug=slug).first() if user.is_superuser and "\x00" not in slug else None
    if found is None:
        raise Http404
    return found


def _running(owner: Organisation, exam_id: str | None) -> Any:
    sessions = ExamSession.objects.of(owner).running().select_related("candidate", "exam").order_by("-created_at", "pk")
    return sessions if exam_id is None else sessions.filter(exam__exam_id=exam_id)


def _rows(sessions: Iterable[ExamSession]) -> list[dict[str, Any]]:
    found = list(sessions)
    incidents = Incident.objects.filter(session__in=found).order_by("session", "-started_at")
    by_session: dict[uuid.UUID, list[Incident]] = {session.pk: [] for session in found}
    for incident in incidents:
        by_session[incident.session_id].append(incident)
    return [
        {
            "session": session,
            "open": [str(incident.pk) for incident in by_session[session.pk] if incident.state == Incident.State.OPEN],
            "latest": by_session[session.pk][:INCIDENTS_SHOWN],
        }
        for session in found
    ]


def _log(owner: Organisation, filters: Filters) -> list[Alert]:
    alerts = filters.apply(Alert.objects.of(owner)).filter(session__in=_running(owner, None).values("pk").order_by())
    shown = alerts.select_related("session__candidate", "incident").order_by("-created_at")[:LOG_SHOWN]
    return list(shown.prefetch_related(Prefetch("incident__evidence")))


def _socket(owner: Organisation, exam_id: str | None) -> str:
    query = {"organisation": owner.slug} | ({"exam_id": exam_id} if exam_id else {})
    return f"/api/v1/proctor/ws?{urlencode(query)}"


def _addresses() -> dict[str, str]:
    """Return the addresses of pages by what their id is put in for."""
    nobody = uuid.UUID(int=0)
    return {
        "session": reverse("admin:exam_sessions_examsession_change", args=[nobody]),
        "incident": reverse("admin:alerts_incident_change", args=[nobody]),
        "picture": reverse("admin:alerts_evidence_picture", args=[nobody]),
    }
