"""The audit log in the admin: read, searched and exported, never changed."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import Count, Max, QuerySet
from django.http import HttpRequest, StreamingHttpResponse
from django.utils import timezone
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesCheckboxFilter, RangeDateTimeFilter

from accounts.admin_base import ReadOnlyAdmin, as_json, coloured, organisation_seen_by
from accounts.audit import Actor, audit_write, candidate_subject
from accounts.audit_export import FORMATS, audit_export
from accounts.models import AuditEntry, Organisation
from accounts.streaming import streamed

KIND_COLOURS = {"person": "info", "key": "primary", "candidate": "warning", "system": ""}
_ORGANISATIONS_SEARCHED = 50
"""In so many organisations a superuser's search looks for a candidate's id: each hashes it under a key of its own."""


def candidate_subjects(request: HttpRequest, candidate_id: str) -> list[str]:
    """Return how the logs that this person sees name a candidate: one keyed hash for each organisation."""
    own = organisation_seen_by(request)
    organisations = [own] if own else list(Organisation.objects.order_by("id")[:_ORGANISATIONS_SEARCHED])
    return [candidate_subject(organisation=each, candidate_id=candidate_id) for each in organisations]


class ActionFilter(admin.SimpleListFilter):
    """By what was done: the actions that the log of the organisation holds."""

    title = "action"
    parameter_name = "action"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        actions = model_admin.get_queryset(request).order_by("action").values_list("action", flat=True).distinct()
        return [(action, action) for action in actions[:100]]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(action=self.value()) if self.value() else queryset


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    """Who saw or changed what."""

    explanation = (
        "Who saw or changed what. Nobody can change what stands here. To keep a copy elsewhere, choose entries and "
        "export them. A candidate's own id finds their entries, though the log itself does not hold it."
    )
    list_display = ["at", "action", "coloured_kind", "actor", "subject_type", "subject", "organisation"]
    list_select_related = ["organisation"]
    list_filter: ClassVar[list[Any]] = [
        ActionFilter,
        ("actor_kind", ChoicesCheckboxFilter),
        ("at", RangeDateTimeFilter),
    ]
    search_fields = ["action", "actor", "subject"]
    search_help_text = "Action, actor, or id of the subject; also a candidate's id, which the log itself does not hold"
    ordering = ["-at", "-sequence"]
    actions: ClassVar[list[Any]] = ["export_csv", "export_jsonl"]
    fieldsets = [
        (None, {"fields": [("at", "sequence"), ("action", "organisation")]}),
        ("Who", {"fields": [("actor_kind", "actor")]}),
        ("What", {"fields": [("subject_type", "subject"), "details_text"]}),
        ("Chain", {"classes": ["collapse"], "fields": ["mac_text"]}),
    ]

    def get_exclude(self, request: HttpRequest, obj: Any = None) -> Any:
        return None

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Search by words, and by a candidate's id as the log names it."""
        found, duplicates = super().get_search_results(request, queryset, search_term)
        if search_term.strip():
            subjects = candidate_subjects(request, search_term.strip())
            found = found | queryset.filter(subject_type="candidate", subject__in=subjects)
        return found, duplicates

    @coloured(KIND_COLOURS, description="by", ordering="actor_kind")
    def coloured_kind(self, entry: AuditEntry) -> str:
        return entry.actor_kind

    @admin.display(description="details")
    def details_text(self, entry: AuditEntry) -> SafeString:
        return as_json(entry.details)

    @admin.display(description="MAC")
    def mac_text(self, entry: AuditEntry) -> str:
        return bytes(entry.mac).hex()

    @admin.action(description="Export as CSV")
    def export_csv(self, request: HttpRequest, entries: QuerySet[AuditEntry]) -> StreamingHttpResponse:
        return self._export(request, entries, "csv")

    @admin.action(description="Export as lines of JSON")
    def export_jsonl(self, request: HttpRequest, entries: QuerySet[AuditEntry]) -> StreamingHttpResponse:
        return self._export(request, entries, "jsonl")

    def _export(self, request: HttpRequest, entries: QuerySet[AuditEntry], form: str) -> StreamingHttpResponse:
        """Send the entries, and write down in each of their logs that they were exported.

        That entry, written first, is none of those chosen, even where every one was.
        """
        entries = entries.filter(pk__lte=entries.aggregate(last=Max("pk"))["last"] or 0)
        counts = dict(entries.order_by().values_list("organisation_id").annotate(n=Count("pk")))
        for organisation in Organisation.objects.filter(pk__in=counts):
            audit_write(
                organisation=organisation,
                actor=Actor.of_user(request.user),
                action="audit.exported",
                subject_type="audit",
                details={"entries": counts[organisation.pk], "format": form},
            )
        name = f"audit-{timezone.now():%Y%m%dT%H%M%SZ}.{form}"
        headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
        content = streamed(partial(audit_export, entries, form))
        return StreamingHttpResponse(content, content_type=FORMATS[form], headers=headers)
