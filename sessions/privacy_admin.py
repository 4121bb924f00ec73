"""How long what is kept, and legal holds, in the admin."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.db.models import Field, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.defaultfilters import pluralize
from unfold.widgets import UnfoldAdminTextareaWidget

from accounts.admin_base import OrganisationScopedAdmin, ReadOnlyAdmin, coloured
from accounts.audit import Actor
from accounts.audited_admin import ChangesAudited
from accounts.problems import Problem
from sessions.holds import hold_lift, hold_place
from sessions.models import LegalHold, RetentionPolicy
from sessions.privacy_models import OF_ORGANISATION
from sessions.retention import CLASSES


@admin.register(RetentionPolicy)
class RetentionAdmin(ChangesAudited, OrganisationScopedAdmin):
    """Days by class of data, of the organisation and of exams that differ."""

    audited_as = "retention"

    @property
    def explanation(self) -> str:
        days = ", ".join(f"{kind} {_told(settings.RETENTION_DAYS[kind])}" for kind in CLASSES)
        return (
            "How long data are kept before they are removed by themselves. Where nothing is set here, and where a "
            f"field is left empty, these times hold: {days}."
        )

    list_display = ["scope", *(f"{kind}_shown" for kind in CLASSES), "organisation", "updated_at"]
    list_select_related = ["organisation", "exam"]
    autocomplete_fields = ["exam"]
    search_fields = ["exam__exam_id", "exam__name"]
    fields = ["organisation", "exam", *(f"{kind}_days" for kind in CLASSES)]
    compressed_fields = False

    def get_fields(self, request: HttpRequest, obj: RetentionPolicy | None = None) -> list[str]:
        return [field for field in self.fields if field not in self.get_exclude(request, obj)]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # emptied fields mean the same, and are told to the pictures stored before

    def formfield_for_dbfield(self, db_field: Field[Any, Any], request: HttpRequest, **kwargs: Any) -> Any:
        """Show in each empty field how many days hold where it is left empty."""
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        kind, _, unit = db_field.name.rpartition("_")
        if field is not None and unit == "days":
            field.widget.attrs["placeholder"] = _told(settings.RETENTION_DAYS[kind])
        return field

    @admin.display(description="of")
    def scope(self, policy: RetentionPolicy) -> str:
        return str(policy.exam) if policy.exam else "all other exams"


def _told(days: int) -> str:
    return "without limit" if days == 0 else f"{days} day{pluralize(days)}"


def _shown(kind: str) -> Any:
    @admin.display(description=kind)
    def shown(self: RetentionAdmin, policy: RetentionPolicy) -> str:
        if policy.exam_id is not None and kind in OF_ORGANISATION:
            return "-"
        own = getattr(policy, f"{kind}_days")
        if own is None and policy.exam_id is not None:
            return "as the organisation's"
        days = settings.RETENTION_DAYS[kind] if own is None else own
        told = _told(days)
        return told if own is not None else f"{told} (default)"

    return shown


for _kind in CLASSES:
    setattr(RetentionAdmin, f"{_kind}_shown", _shown(_kind))


class HoldForm(forms.ModelForm):  # type: ignore[type-arg]
    """On whom, and why."""

    reason = forms.CharField(
        widget=UnfoldAdminTextareaWidget, max_length=2000, help_text="Such as the number of an appeal; no names."
    )

    class Meta:
        model = LegalHold
        fields = ["candidate", "session", "reason"]
        help_texts: ClassVar[dict[str, str]] = {
            "candidate": "Everything of this candidate, all sessions included. Leave it empty to hold one session.",
            "session": "One session alone. Leave it empty to hold a candidate.",
        }

    def clean(self) -> dict[str, Any]:
        """Refuse what is held already, and who is being erased; that one of both is named the model itself wants."""
        given: dict[str, Any] = super().clean() or {}
        candidate, session = given.get("candidate"), given.get("session")
        if LegalHold.objects.in_force().filter(candidate=candidate, session=session).exists():
            raise forms.ValidationError("There is such a hold already.")
        who = candidate or (session.candidate if session else None)
        if who is not None and who.erasures.filter(finished_at=None).exists():
            raise forms.ValidationError("The candidate is being erased: it is too late.")
        return given


@admin.register(LegalHold)
class LegalHoldAdmin(ReadOnlyAdmin):
    """Who may not be erased, and what retention leaves alone. Placed and lifted, never changed or removed."""

    explanation = (
        "While a hold is in force, nothing that it covers is removed: neither when its time is over nor when somebody "
        "asks for an erasure. To end a hold, choose it in the list and run Lift."
    )
    form = HoldForm
    list_display = ["held", "state", "reason", "placed_by", "placed_at", "lifted_by", "lifted_at", "organisation"]
    list_select_related = ["candidate", "session", "organisation"]
    list_filter: ClassVar[list[Any]] = [("lifted_at", admin.EmptyFieldListFilter)]
    search_fields = ["candidate__candidate_id", "session__session_id", "reason", "placed_by"]
    autocomplete_fields = ["candidate", "session"]
    ordering = ["-placed_at"]
    actions: ClassVar[list[Any]] = ["lift"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("exam_sessions.add_legalhold"))

    def has_lift_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("exam_sessions.change_legalhold"))

    def get_fields(self, request: HttpRequest, obj: LegalHold | None = None) -> list[str]:
        placed = ["candidate", "session", "reason"]
        return placed if obj is None else [*placed, "placed_by", "placed_at", "lifted_by", "lifted_at"]

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Say so when somebody else was faster between the form's check and the hold."""
        try:
            shown: HttpResponse = super().changeform_view(request, *args, **kwargs)
        except Problem as problem:
            self.message_user(request, problem.detail, messages.ERROR)
            return redirect(request.get_full_path())
        return shown

    def save_form(self, request: HttpRequest, form: Any, change: bool) -> LegalHold:
        """Place the hold where Django would fill in a row."""
        given = form.cleaned_data
        hold = hold_place(
            actor=Actor.of_user(request.user),
            reason=given["reason"],
            candidate=given["candidate"],
            session=given["session"],
        )
        form.instance, form.save_m2m = hold, lambda: None
        return hold

    def save_model(self, request: HttpRequest, obj: LegalHold, form: Any, change: bool) -> None:
        """Store nothing: ``save_form`` has."""

    @admin.action(description="Lift", permissions=["lift"])
    def lift(self, request: HttpRequest, holds: QuerySet[LegalHold]) -> None:
        standing = list(holds.filter(lifted_at=None))
        for hold in standing:
            hold_lift(hold=hold, actor=Actor.of_user(request.user))
        told = (
            f"Lifted {len(standing)} hold{pluralize(len(standing))}. What has expired goes with the next retention run."
        )
        self.message_user(request, told if standing else "None of these was in force.")

    @admin.display(description="held")
    def held(self, hold: LegalHold) -> str:
        return f"candidate {hold.candidate}" if hold.candidate else f"session {hold.session}"

    @coloured({"in force": "danger", "lifted": "primary"}, description="state")
    def state(self, hold: LegalHold) -> str:
        return "in force" if hold.lifted_at is None else "lifted"
