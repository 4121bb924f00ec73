"""Organisations and groups in the admin; people and API keys have modules of their own."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as BaseGroupAdmin
from django.contrib.auth.models import Group
from django.http import HttpRequest
from unfold.admin import ModelAdmin

# Registered by being imported; what is on these pages knows no organisations, and some of it is secrets.
from allauth.account import admin as _allauth_account  # noqa: F401  # isort: skip
from allauth.mfa import admin as _allauth_mfa  # noqa: F401  # isort: skip
from allauth.socialaccount import admin as _allauth_socialaccount  # noqa: F401  # isort: skip

from accounts import admin_keys, admin_people
from accounts import audit_admin as audit_admin  # registers itself
from accounts.admin_base import OrganisationScopedAdmin
from accounts.models import Organisation
from accounts.roles import PERMISSIONS

__all__ = ["GroupAdmin", "OrganisationAdmin", "admin_keys", "admin_people"]

admin.site.unregister(Group)
for _model in [model for model in admin.site._registry if model.__module__.startswith("allauth.")]:
    admin.site.unregister(_model)
_ROLES = {role.value for role in PERMISSIONS}


@admin.register(Group)
class GroupAdmin(BaseGroupAdmin, ModelAdmin):  # type: ignore[misc]
    """Named sets of permissions, over all organisations. Only superusers change them: one may be in them oneself.

    Roles are as ``accounts.roles`` says, whatever anybody would like.
    """

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_superuser)

    def has_change_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        return bool(request.user.is_superuser) and (obj is None or obj.name not in _ROLES)

    def has_delete_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        return bool(request.user.is_superuser) and (obj is None or obj.name not in _ROLES)


@admin.register(Organisation)
class OrganisationAdmin(OrganisationScopedAdmin):
    """Tenants. Only a superuser sees others than their own."""

    organisation_path = "pk"
    list_display = ["name", "slug", "created_at"]
    search_fields = ["name", "slug"]
    readonly_fields = ["created_at"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Keep the slug for superusers: by it the provider's claims, subscribers and commands tell tenants apart."""
        fields = super().get_readonly_fields(request, obj)
        return fields if request.user.is_superuser else [*fields, "slug"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_superuser)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # everything an organisation has would go with it, unread
