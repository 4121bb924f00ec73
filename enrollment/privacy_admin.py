"""Texts of consent, and erasures, in the admin."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.defaultfilters import pluralize
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.admin_base import OrganisationScopedAdmin, ReadOnlyAdmin, as_json, coloured
from accounts.audit_admin import candidate_subjects
from accounts.audited_admin import ChangesAudited
from enrollment.models import ConsentText, Erasure


@admin.register(ConsentText)
class ConsentTextAdmin(ChangesAudited, OrganisationScopedAdmin):
    """What candidates agree to. A published text is never changed or removed: another wording is another version."""

    audited_as = "consent_text"
    explanation = (
        "What candidates agree to before their face or voice is compared. A new text is a draft: choose it in the list "
        "and run Publish. While any text is in force, consent to another is refused. A published text cannot be "
        "changed: write another version, publish it, and retire the old one."
    )
    list_display = ["version", "locale", "state", "published_at", "retired_at", "organisation"]
    list_select_related = ["organisation"]
    search_fields = ["version", "text"]
    fields = ["organisation", "version", "locale", "text", "published_at", "retired_at"]
    actions: ClassVar[list[Any]] = ["publish", "retire"]
    compressed_fields = False

    def get_fields(self, request: HttpRequest, obj: ConsentText | None = None) -> list[str]:
        fields = [field for field in self.fields if field not in self.get_exclude(request, obj)]
        if obj is None:
            return [field for field in fields if not field.endswith("_at")]
        return ["wording" if field == "text" and _is_published(obj) else field for field in fields]

    def get_readonly_fields(self, request: HttpRequest, obj: ConsentText | None = None) -> list[str]:
        times = ["published_at", "retired_at"]
        return [*times, "organisation", "version", "locale", "wording"] if _is_published(obj) else times

    def has_delete_permission(self, request: HttpRequest, obj: ConsentText | None = None) -> bool:
        return bool(super().has_delete_permission(request, obj)) and obj is not None and not _is_published(obj)

    @admin.display(description="text")
    def wording(self, text: ConsentText) -> SafeString:
        return format_html('<div class="wording">{}</div>', text.text)

    @coloured({"draft": "info", "in force": "success", "retired": "primary"}, description="state")
    def state(self, text: ConsentText) -> str:
        return "draft" if not _is_published(text) else "in force" if text.retired_at is None else "retired"

    @admin.action(description="Publish", permissions=["change"])
    def publish(self, request: HttpRequest, texts: QuerySet[ConsentText]) -> None:
        self._set(request, texts.filter(published_at=None), "published_at", "published")

    @admin.action(description="Retire", permissions=["change"])
    def retire(self, request: HttpRequest, texts: QuerySet[ConsentText]) -> None:
        self._set(request, texts.exclude(published_at=None).filter(retired_at=None), "retired_at", "retired")

    def _set(self, request: HttpRequest, texts: QuerySet[ConsentText], field: str, verb: str) -> None:
        chosen = list(texts)
        for text in chosen:
            setattr(text, field, timezone.now())
            text.save(update_fields=[field])
            self._audit(request, text, verb, {"version": text.version, "locale": text.locale})
        told = f"{len(chosen)} text{pluralize(len(chosen))} {verb}." if chosen else f"None of these could be {verb}."
        self.message_user(request, told, messages.SUCCESS if chosen else messages.WARNING)


def _is_published(text: ConsentText | None) -> bool:
    return text is not None and text.published_at is not None


@admin.register(Erasure)
class ErasureAdmin(ReadOnlyAdmin):
    """What was erased, under a keyed hash of the candidate's id."""

    explanation = (
        "What was erased, when, and for whom. The exam platform asks for an erasure over the API and gets a signed "
        "receipt. The candidate's id is not kept here; whoever knows it finds the erasure by it all the same."
    )
    list_display = ["begun_at", "kind", "subject", "finished_at", "actor_kind", "actor", "organisation"]
    list_select_related = ["organisation"]
    list_filter: ClassVar[list[Any]] = ["kind", ("finished_at", admin.EmptyFieldListFilter)]
    search_fields = ["subject", "actor"]
    search_help_text = "The candidate's id, or who asked"
    ordering = ["-begun_at"]
    fields = ["id", "kind", "subject", ("begun_at", "finished_at"), ("actor_kind", "actor"), "erased_text"]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Search by words, and by the id of whoever was erased."""
        found, duplicates = super().get_search_results(request, queryset, search_term)
        if search_term.strip():
            found = found | queryset.filter(subject__in=candidate_subjects(request, search_term.strip()))
        return found, duplicates

    @admin.display(description="gone")
    def erased_text(self, erasure: Erasure) -> SafeString:
        return as_json(erasure.erased)
