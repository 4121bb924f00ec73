"""Incidents with their evidence and the reasons for them."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any, ClassVar

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesCheckboxFilter, RangeDateTimeFilter

from accounts.admin_base import (
    ReadOnlyAdmin,
    ReadOnlyInline,
    ScopedAutocompleteFilter,
    badge,
    coloured,
    link_to,
)
from accounts.audit import Actor
from accounts.audited_admin import OpeningsAudited
from accounts.problems import Problem
from alerts import why
from alerts.admin.reviews import Reviewing
from alerts.incident_selectors import with_story
from alerts.models import Alert, Evidence, Incident
from alerts.views import picture_response
from detection.engine.policy import EventType
from sessions.admin import SessionAdmin

STATE_COLOURS = {"open": "danger", "closed": "info", "confirmed": "primary", "reopened": "warning"}
TYPE_COLOURS = {"behaviour": "warning", "technical": "info"}


def _pictures(incident: Incident, size: str) -> SafeString:
    pictures = why.captions(incident, incident.evidence.all())
    return render_to_string("alerts/admin/pictures.html", {"pictures": pictures, "size": size})


def _kind(incident: Incident) -> str:
    return "technical" if incident.technical else "behaviour"


def _state(incident: Incident) -> SafeString:
    """Show the state, and under it who made it, as far as that was a person."""
    shown = badge(incident.state, STATE_COLOURS)
    reviews = incident.reviews.all()
    return (
        format_html('{}<span class="event-kind">{}</span>', shown, reviews[len(reviews) - 1].reviewer)
        if reviews
        else shown
    )


def _duration(incident: Incident) -> str:
    if incident.ended_at is None:
        return "open"
    return f"{(incident.ended_at - incident.started_at) / timedelta(seconds=1):.1f} s"


class EventTypeFilter(admin.SimpleListFilter):
    """By what happened."""

    title = "event type"
    parameter_name = "event_type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(event.value, event.value) for event in EventType]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(event_type=self.value()) if self.value() else queryset


class _Illustrated:
    """Shows pictures and explanations; the styles for both."""

    class Media:
        css: ClassVar[dict[str, list[str]]] = {"all": ["alerts/admin.css"]}

    @admin.display(description="pictures")
    def thumbnails(self, incident: Incident) -> SafeString:
        return _pictures(incident, "small")

    @admin.display(description="lasted")
    def duration(self, incident: Incident) -> str:
        return _duration(incident)

    @admin.display(description="severity", ordering="severity")
    def severity_score(self, incident: Incident) -> str:
        return f"{incident.severity:.2f}"

    @coloured(TYPE_COLOURS, description="kind", ordering="technical")
    def kind(self, incident: Incident) -> str:
        return _kind(incident)

    @admin.display(description="state", ordering="state")
    def coloured_state(self, incident: Incident) -> SafeString:
        return _state(incident)


class IncidentInline(_Illustrated, ReadOnlyInline):
    """What was found, on the session's page."""

    model = Incident
    fields = ["thumbnails", "link", "kind", "coloured_state", "started_at", "duration", "severity_score"]
    readonly_fields = ["thumbnails", "link", "kind", "coloured_state", "duration", "severity_score"]
    ordering = ["started_at"]
    per_page = 25
    hide_title = True

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return with_story(super().get_queryset(request))

    @admin.display(description="incident")
    def link(self, incident: Incident) -> SafeString | str:
        return link_to(incident)


SessionAdmin.inlines.insert(0, IncidentInline)


class AlertInline(ReadOnlyInline):
    """What was told of the incident."""

    model = Alert
    fields = ["sequence", "link", "phase", "created_at"]
    readonly_fields = ["link"]
    ordering = ["sequence"]

    @admin.display(description="alert")
    def link(self, alert: Alert) -> SafeString | str:
        return link_to(alert)


@admin.register(Incident)
class IncidentAdmin(OpeningsAudited, Reviewing, _Illustrated, ReadOnlyAdmin):
    """What was found, when, and why. A person decides what it means."""

    list_display = [
        "thumbnails", "what", "coloured_state", "session_link", "candidate", "started_at", "duration", "severity_score",
    ]  # fmt: skip
    list_display_links = ["what"]
    list_select_related = ["session__candidate", "session__exam"]
    list_filter: ClassVar[list[Any]] = [
        EventTypeFilter,
        ("state", ChoicesCheckboxFilter),
        "technical",
        ("session__exam", ScopedAutocompleteFilter),
        ("started_at", RangeDateTimeFilter),
    ]
    search_fields = ["session__session_id", "session__candidate__candidate_id"]
    search_help_text = "Session or candidate"
    ordering = ["-created_at"]
    fieldsets = [
        (
            None,
            {
                "fields": [
                    ("event_type", "state_badge"),
                    ("session_link", "kind_badge"),
                    ("candidate_link", "exam_link"),
                ]
            },
        ),
        ("Pictures", {"fields": ["gallery"]}),
        ("Why", {"fields": ["explanation"]}),
        ("Times", {"fields": [("started_at", "decided_at"), ("ended_at", "duration"), "created_at"]}),
        ("Identity", {"classes": ["collapse"], "fields": ["id", "sample_ids"]}),
    ]
    inlines = [AlertInline]

    class Media:
        css: ClassVar[dict[str, list[str]]] = {"all": ["alerts/admin.css"]}
        js: ClassVar[list[str]] = ["accounts/refresh.js", "alerts/review.js"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return with_story(super().get_queryset(request))

    def get_exclude(self, request: HttpRequest, obj: Any = None) -> Any:
        return None

    def get_urls(self) -> list[URLPattern]:
        own = path(
            "<uuid:evidence_id>/picture/", self.admin_site.admin_view(self.picture), name="alerts_evidence_picture"
        )
        return [own, *super().get_urls()]

    def picture(self, request: HttpRequest, evidence_id: uuid.UUID) -> HttpResponse:
        """Show one evidence picture to somebody who may see the incident."""
        if not request.user.has_perm("alerts.view_evidence"):
            raise PermissionDenied
        rows = Evidence.objects.select_related("session__candidate__data_key", "session__organisation").filter(
            id=evidence_id, incident__in=self.get_queryset(request).prefetch_related(None).order_by()
        )
        found = rows.first()
        if found is None:
            raise Http404
        try:
            return picture_response(found, actor=Actor.of_user(request.user))
        except Problem as problem:
            return HttpResponse(problem.detail, status=problem.status, content_type="text/plain; charset=utf-8")

    @admin.display(description="session", ordering="session__session_id")
    def session_link(self, incident: Incident) -> SafeString | str:
        return link_to(incident.session)

    @admin.display(ordering="session__candidate__candidate_id")
    def candidate(self, incident: Incident) -> str:
        return incident.session.candidate.candidate_id

    @admin.display(description="incident", ordering="event_type")
    def what(self, incident: Incident) -> SafeString:
        return format_html('{}<span class="event-kind">{}</span>', incident.event_type, _kind(incident))

    @admin.display(description="candidate")
    def candidate_link(self, incident: Incident) -> SafeString | str:
        return link_to(incident.session.candidate)

    @admin.display(description="exam")
    def exam_link(self, incident: Incident) -> SafeString | str:
        return link_to(incident.session.exam)

    @admin.display(description="state")
    def state_badge(self, incident: Incident) -> SafeString:
        return _state(incident)

    @admin.display(description="kind")
    def kind_badge(self, incident: Incident) -> SafeString:
        return badge(_kind(incident), TYPE_COLOURS)

    @admin.display(description="pictures")
    def gallery(self, incident: Incident) -> SafeString:
        return _pictures(incident, "large")

    @admin.display(description="because")
    def explanation(self, incident: Incident) -> SafeString:
        return render_to_string(
            "alerts/admin/why.html",
            {
                "incident": incident,
                "rule": incident.rule,
                "sentence": why.sentence(incident),
                "scores": why.scores(incident),
                "accommodations": why.accommodations(incident),
                "severity_sum": why.severity_sum(incident),
                "risk_sum": why.risk_sum(incident),
                "rows": why.measures(incident),
            },
        )
