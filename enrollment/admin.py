"""Candidates and consents in the admin: looked at, not changed. Embeddings are not even looked at."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Count, Exists, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.safestring import SafeString, mark_safe

from accounts.admin_base import (
    OrganisationScopedAdmin,
    ReadOnlyAdmin,
    ReadOnlyInline,
    coloured,
    link_to_list,
    organisation_seen_by,
)
from accounts.audit import Actor, candidate_subject
from accounts.audited_admin import ChangesAudited, OpeningsAudited
from accounts.models import User
from enrollment import privacy_admin as privacy_admin  # registers itself
from enrollment.models import Candidate, Consent, DuplicateSearch, DuplicateSuspicion, Enrollment, FaceTemplate
from enrollment.search_settings import duplicate_search_set, pgvector_is_new_enough, suspicion_decide


class EnrolledFilter(admin.SimpleListFilter):
    """By whether there is a template."""

    title = "enrolled"
    parameter_name = "enrolled"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Yes"), ("no", "No")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        wanted = {"yes": True, "no": False}.get(self.value() or "")
        return queryset if wanted is None else queryset.filter(is_enrolled=wanted)


class ConsentInline(ReadOnlyInline):
    """What the candidate agreed to."""

    model = Consent
    fields = ["version", "locale", "given_at", "recorded_at", "withdrawn_at"]
    ordering = ["-given_at"]


class EnrollmentInline(ReadOnlyInline):
    """When, and with pictures how good."""

    model = Enrollment
    fields = ["created_at", "consent", "quality"]
    readonly_fields = ["quality"]
    ordering = ["-created_at"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Enrollment]:
        enrollments: QuerySet[Enrollment] = super().get_queryset(request).select_related("consent__candidate")
        return enrollments

    @admin.display(description="pictures")
    def quality(self, enrollment: Enrollment) -> SafeString:
        return format_html_join(mark_safe("<br>"), "{}", ((_in_words(image),) for image in enrollment.images))


def _in_words(quality: dict[str, float]) -> str:
    """Say in a line how well a face could be judged."""
    return (
        f"face {quality['width_px']:.0f} px, sharpness {quality['sharpness']:.3f}, "
        f"light {quality['brightness']:.0f}, turned {quality['yaw_deg']:.0f}° and {quality['pitch_deg']:.0f}°"
    )


@admin.register(Candidate)
class CandidateAdmin(OpeningsAudited, ChangesAudited, ReadOnlyAdmin):
    """People who sit exams, under the platform's id. What people may change are a candidate's accommodations."""

    list_display = ["candidate_id", "enrolled", "session_count", "organisation", "created_at"]
    list_select_related = ["organisation"]
    list_filter = [EnrolledFilter]
    search_fields = ["candidate_id"]
    ordering = ["-created_at"]
    fields = [
        "organisation",
        "candidate_id",
        "enrolled",
        "template_model",
        "session_count",
        "created_at",
        "accommodations",
    ]
    readonly_fields = ["organisation", "candidate_id", "enrolled", "template_model", "session_count", "created_at"]
    inlines = [ConsentInline, EnrollmentInline]

    def audit_subject(self, obj: Candidate) -> str:
        return candidate_subject(organisation=obj.organisation, candidate_id=obj.candidate_id)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("enrollment.change_candidate")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        own = Candidate.objects.filter(pk=OuterRef("pk")).order_by()
        templates = FaceTemplate.objects.filter(candidate=OuterRef("pk"))
        candidates: QuerySet[Any] = super().get_queryset(request)
        annotated: QuerySet[Any] = candidates.annotate(
            is_enrolled=Exists(templates),
            model_name=Subquery(templates.values("model")),
            sessions=Coalesce(Subquery(own.annotate(n=Count("exam_sessions")).values("n")), 0),
        )
        return annotated

    @admin.display(boolean=True, ordering="is_enrolled")
    def enrolled(self, candidate: Any) -> bool:
        return bool(candidate.is_enrolled)

    @admin.display(description="template of model")
    def template_model(self, candidate: Any) -> str:
        return candidate.model_name or "-"

    @admin.display(description="sessions", ordering="sessions")
    def session_count(self, candidate: Any) -> SafeString:
        filters = {"candidate__id__exact": candidate.pk}
        return link_to_list("exam_sessions.examsession", candidate.sessions, **filters)


@admin.register(Consent)
class ConsentAdmin(ReadOnlyAdmin):
    """Who agreed to which text, when."""

    list_display = ["candidate", "version", "locale", "given_at", "recorded_at", "withdrawn_at", "organisation"]
    list_select_related = ["candidate", "organisation"]
    list_filter = ["version", ("withdrawn_at", admin.EmptyFieldListFilter)]
    search_fields = ["candidate__candidate_id", "version"]
    ordering = ["-recorded_at"]


class DuplicateSearchForm(forms.ModelForm):  # type: ignore[type-arg]
    """What an organisation does about one face under two ids."""

    def clean_mode(self) -> str:
        mode: str = self.cleaned_data["mode"]
        if mode != DuplicateSearch.Mode.OFF and not pgvector_is_new_enough():
            raise forms.ValidationError("This needs pgvector 0.8 or newer: ALTER EXTENSION vector UPDATE.")
        return mode


@admin.register(DuplicateSearch)
class DuplicateSearchAdmin(OrganisationScopedAdmin):
    """Per organisation whether the same face under another candidate id is searched at enrolment."""

    explanation = (
        "Whether a face that enrols is compared with everybody else's in your organisation, so that nobody sits exams "
        "under two ids. Unless it is switched on here, nothing is compared and nothing is kept for it."
    )
    form = DuplicateSearchForm
    list_display = ["organisation", "mode", "similarity_from"]
    list_select_related = ["organisation"]
    fields = ["organisation", "mode", "similarity_from"]

    def get_fields(self, request: HttpRequest, obj: DuplicateSearch | None = None) -> list[str]:
        excluded = self.get_exclude(request, obj)
        return [field for field in self.fields if field not in excluded]

    def get_readonly_fields(self, request: HttpRequest, obj: DuplicateSearch | None = None) -> list[str]:
        return [] if obj is None or organisation_seen_by(request) is not None else ["organisation"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        own = organisation_seen_by(request)
        set_already = own is not None and DuplicateSearch.objects.filter(organisation=own).exists()
        return bool(super().has_add_permission(request)) and not set_already

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # switching off says the same, and is written down

    def save_model(self, request: HttpRequest, obj: DuplicateSearch, form: Any, change: bool) -> None:
        organisation = organisation_seen_by(request)
        if organisation is not None:
            obj.organisation = organisation
        duplicate_search_set(obj, actor=Actor.of_user(request.user))


_DECISIONS = {"Nobody has decided": "warning", "One person": "danger", "Two people": "success"}


@admin.register(DuplicateSuspicion)
class DuplicateSuspicionAdmin(ReadOnlyAdmin):
    """Faces found under two candidate ids. A person says whether that is one person or two."""

    explanation = (
        "Faces that are enrolled under two ids. Find out whether that is one person (twins exist), then choose the "
        "pair and say so. Two people who were told apart are not suspected again."
    )
    list_display = ["candidate", "other", "alike", "decision_shown", "noticed_at", "decided_by", "organisation"]
    list_select_related = ["candidate", "other", "organisation", "decided_by"]
    list_filter = ["decision"]
    search_fields = ["candidate__candidate_id", "other__candidate_id"]
    ordering = ["-noticed_at"]
    actions = ["one_person", "two_people"]

    def has_decide_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("enrollment.change_duplicatesuspicion")

    @admin.display(description="similarity", ordering="similarity")
    def alike(self, suspicion: DuplicateSuspicion) -> str:
        return f"{suspicion.similarity:.4f}"

    @coloured(_DECISIONS, description="decision")
    def decision_shown(self, suspicion: DuplicateSuspicion) -> str:
        return str(suspicion.get_decision_display())

    @admin.action(description="One person under two ids", permissions=["decide"])
    def one_person(self, request: HttpRequest, suspicions: QuerySet[DuplicateSuspicion]) -> None:
        self._decide(request, suspicions, DuplicateSuspicion.Decision.SAME)

    @admin.action(description="Two people who look alike", permissions=["decide"])
    def two_people(self, request: HttpRequest, suspicions: QuerySet[DuplicateSuspicion]) -> None:
        self._decide(request, suspicions, DuplicateSuspicion.Decision.DIFFERENT)

    def _decide(
        self, request: HttpRequest, suspicions: QuerySet[DuplicateSuspicion], decision: DuplicateSuspicion.Decision
    ) -> None:
        assert isinstance(request.user, User)
        for suspicion in suspicions:
            suspicion_decide(suspicion=suspicion, decision=decision, by=request.user)
        self.message_user(request, f"Decided on {len(suspicions)}.")
