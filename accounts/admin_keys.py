"""API keys in the admin: made, given new secrets and revoked here, each shown once, never changed."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.utils import timezone
from unfold.decorators import action as unfold_action
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminIntegerFieldWidget

from accounts.admin_base import OrganisationScopedAdmin, coloured, organisation_seen_by
from accounts.api_keys import MOST_DAYS, MOST_OVERLAP, OVERLAP, api_key_create, api_key_revoke, api_key_rotate
from accounts.audit import Actor
from accounts.models import APIKey, Organisation, Scope, User
from accounts.problems import Problem
from accounts.roles import scopes_grantable

_HOUR = timedelta(hours=1)


class APIKeyForm(forms.ModelForm):  # type: ignore[type-arg]
    """What a new key is for."""

    scopes = forms.MultipleChoiceField(choices=Scope.choices, widget=UnfoldAdminCheckboxSelectMultipleWidget)

    class Meta:
        help_texts: ClassVar[dict[str, str]] = {"expires_at": "From when on it opens nothing. Empty: it has no end."}

    def clean_expires_at(self) -> datetime | None:
        """Refuse an end that is over, or so far away that it cannot be written down."""
        expires_at: datetime | None = self.cleaned_data["expires_at"]
        now = timezone.now()
        if expires_at is not None and not now < expires_at <= now + timedelta(days=MOST_DAYS):
            raise forms.ValidationError(
                f"The key must end in the future, and within {MOST_DAYS} days. Leave it empty for a key without end."
            )
        return expires_at


class RotateForm(forms.Form):
    """How long the old secret is to open beside the new one."""

    overlap_hours = forms.IntegerField(
        min_value=0,
        max_value=MOST_OVERLAP // _HOUR,
        initial=OVERLAP // _HOUR,
        label="Hours for which the old key opens too",
        widget=UnfoldAdminIntegerFieldWidget,
    )


@admin.register(APIKey)
class APIKeyAdmin(OrganisationScopedAdmin):
    """API keys. What is shown of one is its prefix; the key itself cannot be read back."""

    explanation = "What exam platforms sign in with. A key is shown once, when it is made, and cannot be read again."
    form = APIKeyForm
    list_display = ["name", "prefix", "scope_names", "organisation", "last_used_at", "expires_at", "state"]
    list_select_related = ["organisation"]
    list_filter = [("revoked_at", admin.EmptyFieldListFilter)]
    search_fields = ["name", "prefix"]
    fields = ["organisation", "name", "scopes", "expires_at"]
    actions = ["revoke"]
    actions_detail = ["rotate"]

    def get_fields(self, request: HttpRequest, obj: APIKey | None = None) -> list[str]:
        shown = [
            "name", "prefix", "scope_names", "created_at", "last_used_at", "expires_at", "previous_secret_until",
            "revoked_at",
        ]  # fmt: skip
        fields = self.fields if obj is None else ["organisation", *shown]
        return [field for field in fields if field not in self.get_exclude(request, obj)]

    def get_readonly_fields(self, request: HttpRequest, obj: APIKey | None = None) -> list[str]:
        return [] if obj is None else self.get_fields(request, obj)

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        """Offer the scopes that the maker may give."""
        form = super().get_form(request, obj, change=change, **kwargs)
        assert isinstance(request.user, User)
        if "scopes" in form.base_fields:
            allowed = scopes_grantable(request.user)
            field = form.base_fields["scopes"]
            field.choices = [choice for choice in Scope.choices if choice[0] in allowed]
        return form

    def has_change_permission(self, request: HttpRequest, obj: APIKey | None = None) -> bool:
        return False

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("accounts.change_apikey")

    def has_rotate_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        """Tell whether this person may renew this key: one that they see, and whose scopes they may give."""
        if object_id is None or not request.user.has_perm("accounts.change_apikey"):
            return False
        assert isinstance(request.user, User)
        key = self.get_queryset(request).filter(pk=object_id, revoked_at=None).first()
        return key is not None and set(key.scopes) <= set(scopes_grantable(request.user))

    @admin.display(description="scopes")
    def scope_names(self, key: APIKey) -> str:
        return ", ".join(key.scopes)

    @coloured({"valid": "success", "expired": "warning", "revoked": "danger"}, description="state")
    def state(self, key: APIKey) -> str:
        if key.revoked_at is not None:
            return "revoked"
        return "expired" if key.expires_at is not None and key.expires_at <= timezone.now() else "valid"

    @admin.action(description="Revoke", permissions=["revoke"])
    def revoke(self, request: HttpRequest, keys: QuerySet[APIKey]) -> None:
        actor = Actor.of_user(request.user)
        revoked = sum(api_key_revoke(key=key, actor=actor) for key in keys.select_related("organisation"))
        self.message_user(request, f"Revoked {revoked} keys. They open nothing from now on.")

    @unfold_action(description="New secret", permissions=["rotate"], url_path="rotate", icon="autorenew")  # type: ignore[untyped-decorator]
    def rotate(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask for how long the old key is to open; show the new one when the answer is posted."""
        key = get_object_or_404(self.get_queryset(request), pk=object_id)
        form = RotateForm(request.POST or None)
        if request.method != "POST" or not form.is_valid():
            context = {**self.admin_site.each_context(request), "title": "A new secret?", "key": key, "form": form}
            return TemplateResponse(
                request, "accounts/api_key_rotate.html", context | {"opts": self.opts, "original": key}
            )
        try:
            overlap = form.cleaned_data["overlap_hours"] * _HOUR
            raw = api_key_rotate(key=key, overlap=overlap, actor=Actor.of_user(request.user))
        except Problem as problem:
            self.message_user(request, problem.detail, "ERROR")
            return redirect("admin:accounts_apikey_change", object_id)
        return self._shown_once(request, key, raw, "A new secret")

    def save_form(self, request: HttpRequest, form: Any, change: bool) -> APIKey:
        """Make the key where Django would fill in a row: prefix and digest come with it."""
        given = form.cleaned_data
        organisation: Organisation = organisation_seen_by(request) or given["organisation"]
        key, raw = api_key_create(
            organisation=organisation,
            name=given["name"],
            scopes=given["scopes"],
            expires_at=given["expires_at"],
            actor=Actor.of_user(request.user),
        )
        form.raw_key = raw
        form.instance = key
        form.save_m2m = lambda: None
        request.raw_api_key = raw  # type: ignore[attr-defined]
        return key

    def save_model(self, request: HttpRequest, obj: APIKey, form: Any, change: bool) -> None:
        """Store nothing: ``save_form`` has."""

    def response_add(self, request: HttpRequest, obj: APIKey, post_url_continue: str | None = None) -> HttpResponse:
        return self._shown_once(request, obj, request.raw_api_key, "A new API key")  # type: ignore[attr-defined]

    def _shown_once(self, request: HttpRequest, key: APIKey, raw: str, title: str) -> HttpResponse:
        """Show the key, in this answer alone: it goes into no session, cookie or log."""
        context = {
            **self.admin_site.each_context(request),
            "title": title,
            "key": key,
            "raw_key": raw,
            "opts": self.model._meta,
        }
        return TemplateResponse(request, "accounts/api_key_created.html", context)
