"""Exams, policies and sessions in the admin.

The page of a session shows what this app knows. ``SessionAdmin.inlines`` is a list so that apps above this one can put
what they know on the same page.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesCheckboxFilter, RangeDateTimeFilter
from unfold.decorators import action as unfold_action

from accounts.admin_base import (
    OrganisationScopedAdmin,
    ReadOnlyAdmin,
    ReadOnlyInline,
    ScopedAutocompleteFilter,
    as_json,
    badge,
    coloured,
    link_to,
    link_to_list,
)
from accounts.audit import Actor
from accounts.audited_admin import ChangesAudited, OpeningsAudited
from accounts.problems import Problem
from sessions import privacy_admin as privacy_admin  # registers itself
from sessions.challenges import STANDING_WORDS, check_in_outcome, steps_in_words
from sessions.models import RISK_NOTE, Challenge, Exam, ExamSession, ExamSessionQuerySet, MediaGap, Policy
from sessions.policy_form import PolicyForm, fieldsets
from sessions.selectors import with_incident_counts
from sessions.services import session_end

STATE_COLOURS = {"created": "info", "live": "success", "interrupted": "warning", "ended": "primary"}


class GapInline(ReadOnlyInline):
    """Media that nobody looked at."""

    model = MediaGap
    fields = ["stream", "reason", "started_at", "ended_at", "seconds", "skipped"]
    readonly_fields = ["seconds"]
    ordering = ["-started_at"]
    per_page = 20

    @admin.display(description="seconds")
    def seconds(self, gap: MediaGap) -> str:
        return f"{(gap.ended_at - gap.started_at).total_seconds():.1f}"


class ChallengeInline(ReadOnlyInline):
    """Tries at the challenge of check-in."""

    model = Challenge
    verbose_name_plural = "check-in"
    fields = ["issued_at", "result", "movements"]
    readonly_fields = ["result", "movements"]
    ordering = ["issued_at"]

    @admin.display(description="outcome")
    def result(self, challenge: Challenge) -> str:
        return challenge.settled

    @admin.display(description="movements, and when each was seen")
    def movements(self, challenge: Challenge) -> str:
        return steps_in_words(challenge)


@admin.register(ExamSession)
class SessionAdmin(OpeningsAudited, ReadOnlyAdmin):
    """Who sat which exam when, and what became of it."""

    audited_as = "session"

    list_display = [
        "session_id",
        "candidate",
        "exam",
        "coloured_state",
        "risk",
        "incident_count",
        "open_incident_count",
        "created_at",
        "live_at",
        "ended_at",
    ]
    list_select_related = ["candidate", "exam", "tally"]
    list_filter: ClassVar[list[Any]] = [
        ("state", ChoicesCheckboxFilter),
        ("exam", ScopedAutocompleteFilter),
        ("candidate", ScopedAutocompleteFilter),
        ("created_at", RangeDateTimeFilter),
    ]
    search_fields = ["session_id", "candidate__candidate_id", "exam__exam_id", "exam__name"]
    search_help_text = "Session, candidate or exam"
    ordering = ["-created_at"]
    actions = ["end"]
    actions_detail = ["end_now"]
    inlines: ClassVar[list[Any]] = [ChallengeInline, GapInline]
    fieldsets = [
        (
            None,
            {
                "fields": [
                    ("session_id", "state_badge"),
                    ("candidate_link", "exam_link"),
                    "risk_told",
                    "check_in",
                    "unseen",
                ]
            },
        ),
        ("Times", {"fields": [("created_at", "planned_end_at"), ("live_at", "ended_at"), "end_reason"]}),
        ("Record", {"classes": ["collapse"], "fields": ["id", "organisation", "closed_at"]}),
        ("Policy", {"classes": ["collapse"], "fields": [("policy_name", "policy_version"), "policy_text"]}),
        ("Accommodations", {"classes": ["collapse"], "fields": ["accommodations_text"]}),
    ]

    class Media:
        js: ClassVar[list[str]] = ["accounts/refresh.js"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        sessions: ExamSessionQuerySet = super().get_queryset(request)  # type: ignore[assignment]
        return with_incident_counts(sessions)

    def get_exclude(self, request: HttpRequest, obj: Any = None) -> Any:
        return None

    def get_inlines(self, request: HttpRequest, obj: ExamSession | None) -> list[Any]:
        """Leave out the tables of gaps and of the check-in where they are empty: the lines above them say so."""
        empty = set()
        if obj is None or not obj.media_gaps.exists():
            empty.add(GapInline)
        if obj is None or not obj.challenges.exists():
            empty.add(ChallengeInline)
        return [inline for inline in self.inlines if inline not in empty]

    def has_end_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("exam_sessions.change_examsession")

    def has_end_one_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        """Tell whether this person may end this session: a running one that they see."""
        running = self.get_queryset(request).exclude(state=ExamSession.State.ENDED)
        return self.has_end_permission(request) and object_id is not None and running.filter(pk=object_id).exists()

    @unfold_action(description="End now", permissions=["end_one"], url_path="end", icon="stop_circle")  # type: ignore[untyped-decorator]
    def end_now(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask first; end the session when the answer is posted."""
        session = get_object_or_404(self.get_queryset(request), pk=object_id)
        if request.method == "POST":
            told = "Ended the session." if _end(session, request) else "The session had ended by itself."
            self.message_user(request, told)
            return redirect("admin:exam_sessions_examsession_change", object_id)
        context = {**self.admin_site.each_context(request), "title": "End this session?", "session": session}
        return TemplateResponse(
            request, "exam_sessions/admin/end_now.html", context | {"opts": self.opts, "original": session}
        )

    @admin.action(description="End now", permissions=["end"])
    def end(self, request: HttpRequest, sessions: QuerySet[ExamSession]) -> None:
        ended = sum(_end(session, request) for session in sessions.order_by())
        self.message_user(request, f"Ended {ended} sessions.")

    @coloured(STATE_COLOURS, description="state", ordering="state")
    def coloured_state(self, session: ExamSession) -> str:
        return session.state

    @admin.display(description="state")
    def state_badge(self, session: ExamSession) -> SafeString:
        return badge(session.state, STATE_COLOURS)

    @admin.display(description="check-in")
    def check_in(self, session: ExamSession) -> str:
        """Say what became of the challenge; its tries are listed below."""
        return STANDING_WORDS[check_in_outcome(session, list(session.challenges.order_by("issued_at")))]

    @admin.display(description="not looked at")
    def unseen(self, session: ExamSession) -> str:
        """Say how much media nobody looked at; the gaps themselves are listed below."""
        if session.live_at is None:
            return "No media has arrived."
        gaps = [gap.ended_at - gap.started_at for gap in session.media_gaps.all()]
        if not gaps:
            return "No gaps: everything was looked at."
        count = "1 gap" if len(gaps) == 1 else f"{len(gaps)} gaps"
        return f"{count}, {sum(gaps, timedelta()).total_seconds():.1f} s in all, listed below."

    @admin.display(description="risk", ordering=Coalesce("tally__risk_score", 0.0))
    def risk(self, session: ExamSession) -> SafeString:
        return format_html('<span title="{}">{}</span>', RISK_NOTE, f"{session.risk_score:.0f}")

    @admin.display(description="risk score")
    def risk_told(self, session: ExamSession) -> str:
        return f"{session.risk_score:.1f}. {RISK_NOTE}"

    @admin.display(description="incidents", ordering="incident_count")
    def incident_count(self, session: Any) -> int:
        return int(session.incident_count)

    @admin.display(description="open", ordering="open_incident_count")
    def open_incident_count(self, session: Any) -> int:
        return int(session.open_incident_count)

    @admin.display(description="candidate")
    def candidate_link(self, session: ExamSession) -> SafeString | str:
        return link_to(session.candidate)

    @admin.display(description="exam")
    def exam_link(self, session: ExamSession) -> SafeString | str:
        return link_to(session.exam)

    @admin.display(description="document")
    def policy_text(self, session: ExamSession) -> SafeString:
        return as_json(session.policy)

    @admin.display(description="the candidate's own")
    def accommodations_text(self, session: ExamSession) -> SafeString:
        return as_json(session.accommodations)


def _end(session: ExamSession, request: HttpRequest) -> bool:
    try:
        session_end(session=session, reason="proctor", actor=Actor.of_user(request.user))
    except Problem:  # it has ended by itself meanwhile
        return False
    return True


@admin.register(Exam)
class ExamAdmin(ChangesAudited, OrganisationScopedAdmin):
    """Exams and the policies they are watched under."""

    list_display = ["exam_id", "name", "policy", "session_count", "organisation", "created_at"]
    list_select_related = ["policy", "organisation"]
    search_fields = ["exam_id", "name"]
    autocomplete_fields = ["policy"]
    readonly_fields = ["created_at"]
    ordering = ["-created_at"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        own = Exam.objects.filter(pk=OuterRef("pk")).order_by()
        counted = own.annotate(n=Count("exam_sessions")).values("n")
        exams: QuerySet[Any] = super().get_queryset(request)
        annotated: QuerySet[Any] = exams.annotate(sessions=Coalesce(Subquery(counted), 0))
        return annotated

    @admin.display(description="sessions", ordering="sessions")
    def session_count(self, exam: Any) -> SafeString:
        return link_to_list("exam_sessions.examsession", exam.sessions, exam__id__exact=exam.pk)


@admin.register(Policy)
class PolicyAdmin(ChangesAudited, OrganisationScopedAdmin):
    """What is looked for, with which thresholds and times. A change is a new version; running sessions keep theirs.

    Weights are different: the risk scores of all its sessions follow within seconds.
    """

    form = PolicyForm
    list_display = ["name", "version", "is_default", "exam_count", "organisation", "updated_at"]
    list_select_related = ["organisation"]
    search_fields = ["name"]
    ordering = ["name"]
    compressed_fields = False  # many short fields side by side: their names go above them

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        own = Policy.objects.filter(pk=OuterRef("pk")).order_by()
        policies: QuerySet[Any] = super().get_queryset(request)
        counted = own.annotate(n=Count("exams")).values("n")
        annotated: QuerySet[Any] = policies.annotate(exams_using=Coalesce(Subquery(counted), 0))
        return annotated

    def get_fieldsets(self, request: HttpRequest, obj: Policy | None = None) -> Any:
        hidden = self.get_exclude(request, obj)
        head = [name for name in ("organisation", "name", "is_default", "version") if name not in hidden]
        editable = self.has_add_permission(request) if obj is None else self.has_change_permission(request, obj)
        settings = fieldsets() if editable else [("Settings", {"fields": ["document_text"]})]
        return [(None, {"fields": [tuple(head)]}), *settings]

    def get_readonly_fields(self, request: HttpRequest, obj: Policy | None = None) -> list[str]:
        return ["version", "document_text"]

    @admin.display(description="exams", ordering="exams_using")
    def exam_count(self, policy: Any) -> int:
        return int(policy.exams_using)

    @admin.display(description="document")
    def document_text(self, policy: Policy) -> SafeString:
        return as_json(policy.document)
