"""Organisations, people and API keys in the admin."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as BaseGroupAdmin
from django.contrib.auth.admin import UserAdmin as BaseUserAdmin
from django.contrib.auth.models import Group, Permission
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from accounts import audit_admin as audit_admin  # registers itself
from accounts.admin_base import OrganisationScopedAdmin, coloured, organisation_seen_by
from accounts.api_keys import api_key_create
from accounts.models import APIKey, Organisation, Scope, User

admin.site.unregister(Group)


@admin.register(Group)
class GroupAdmin(BaseGroupAdmin, ModelAdmin):  # type: ignore[misc]
    """Named sets of permissions, over all organisations. Only superusers change them: one may be in them oneself."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_superuser)

    def has_change_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        return bool(request.user.is_superuser)

    def has_delete_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        return bool(request.user.is_superuser)


@admin.register(Organisation)
class OrganisationAdmin(OrganisationScopedAdmin):
    """Tenants. Only a superuser sees others than their own."""

    organisation_path = "pk"
    list_display = ["name", "slug", "created_at"]
    search_fields = ["name", "slug"]
    readonly_fields = ["created_at"]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # everything an organisation has would go with it, unread


_ABOVE = ("is_superuser", "groups", "user_permissions", "organisation")
"""What only a superuser may give: whoever may change people must not be able to make themselves more."""


@admin.register(User)
class UserAdmin(BaseUserAdmin, OrganisationScopedAdmin):  # type: ignore[type-arg,misc]
    """People who sign in."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ["username", "email", "organisation", "is_staff", "is_active", "last_login"]
    list_select_related = ["organisation"]
    list_filter = ["is_staff", "is_active"]
    search_fields = ["username", "email", "first_name", "last_name"]
    readonly_fields = ["last_login", "date_joined"]
    fieldsets = [
        (None, {"fields": ["username", "password", "organisation"]}),
        ("Person", {"fields": ["first_name", "last_name", "email"]}),
        ("Rights", {"fields": ["is_active", "is_staff", "is_superuser", "groups", "user_permissions"]}),
        ("Times", {"fields": ["last_login", "date_joined"]}),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        """Hide superusers from everybody else: a new password for one would be a way up."""
        people: QuerySet[User] = super().get_queryset(request)
        return people if organisation_seen_by(request) is None else people.filter(is_superuser=False)

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Deny changing who may do more: a new password would make their rights one's own."""
        return super().has_change_permission(request, obj) and (obj is None or _may_all_of(request, obj))

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return super().has_delete_permission(request, obj) and (obj is None or _may_all_of(request, obj))

    def get_exclude(self, request: HttpRequest, obj: User | None = None) -> Any:
        return None  # the fieldsets below leave out what is not theirs

    def get_fieldsets(self, request: HttpRequest, obj: User | None = None) -> Any:
        sets = super().get_fieldsets(request, obj)
        if organisation_seen_by(request) is None:
            return sets
        return [
            (title, options | {"fields": [field for field in options["fields"] if field not in _ABOVE]})
            for title, options in sets
        ]


def _may_all_of(request: HttpRequest, person: User) -> bool:
    """Tell whether who asks has every right of ``person``; those of a deactivated one count, they come back."""
    user = request.user
    if user.is_superuser:
        return True
    given = Permission.objects.filter(Q(user=person) | Q(group__user=person)).select_related("content_type")
    theirs = {f"{permission.content_type.app_label}.{permission.codename}" for permission in given}
    return not person.is_superuser and user.has_perms(theirs)


class APIKeyForm(forms.ModelForm):  # type: ignore[type-arg]
    """What a new key is for."""

    scopes = forms.MultipleChoiceField(
        choices=Scope.choices, initial=Scope.values, widget=UnfoldAdminCheckboxSelectMultipleWidget
    )


@admin.register(APIKey)
class APIKeyAdmin(OrganisationScopedAdmin):
    """API keys: made and revoked here, shown once, never changed."""

    form = APIKeyForm
    list_display = ["name", "prefix", "scope_names", "organisation", "last_used_at", "expires_at", "state"]
    list_select_related = ["organisation"]
    list_filter = [("revoked_at", admin.EmptyFieldListFilter)]
    search_fields = ["name", "prefix"]
    fields = ["organisation", "name", "scopes", "expires_at"]
    actions = ["revoke"]

    def get_fields(self, request: HttpRequest, obj: APIKey | None = None) -> list[str]:
        shown = ["name", "prefix", "scope_names", "created_at", "last_used_at", "expires_at", "revoked_at"]
        fields = self.fields if obj is None else ["organisation", *shown]
        return [field for field in fields if field not in self.get_exclude(request, obj)]

    def get_readonly_fields(self, request: HttpRequest, obj: APIKey | None = None) -> list[str]:
        return [] if obj is None else self.get_fields(request, obj)

    def has_change_permission(self, request: HttpRequest, obj: APIKey | None = None) -> bool:
        return False

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("accounts.change_apikey")

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
        revoked = keys.filter(revoked_at=None).update(revoked_at=timezone.now())
        self.message_user(request, f"Revoked {revoked} keys. They open nothing from now on.")

    def save_form(self, request: HttpRequest, form: Any, change: bool) -> APIKey:
        """Make the key where Django would fill in a row: prefix and digest come with it."""
        given = form.cleaned_data
        organisation: Organisation = organisation_seen_by(request) or given["organisation"]
        key, raw = api_key_create(
            organisation=organisation,
            name=given["name"],
            scopes=given["scopes"],
            expires_at=given["expires_at"],
        )
        form.raw_key = raw
        form.instance = key
        form.save_m2m = lambda: None
        request.raw_api_key = raw  # type: ignore[attr-defined]
        return key

    def save_model(self, request: HttpRequest, obj: APIKey, form: Any, change: bool) -> None:
        """Store nothing: ``save_form`` has."""

    def response_add(self, request: HttpRequest, obj: APIKey, post_url_continue: str | None = None) -> HttpResponse:
        """Show the key, in this answer alone: it goes into no session, cookie or log."""
        context = {
            **self.admin_site.each_context(request),
            "title": "A new API key",
            "key": obj,
            "raw_key": request.raw_api_key,  # type: ignore[attr-defined]
            "opts": self.model._meta,
        }
        return TemplateResponse(request, "accounts/api_key_created.html", context)
