"""Candidates and consents in the admin: looked at, not changed. Embeddings are not even looked at."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Count, Exists, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.safestring import SafeString, mark_safe

from accounts.admin_base import ReadOnlyAdmin, ReadOnlyInline, link_to_list
from accounts.audit import candidate_subject
from accounts.audited_admin import ChangesAudited, OpeningsAudited
from enrollment import privacy_admin as privacy_admin  # registers itself
from enrollment.models import Candidate, Consent, Enrollment, FaceTemplate


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
