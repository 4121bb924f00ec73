"""People who sign in, in the admin: their roles, and nothing by which somebody makes themselves or others more."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as BaseUserAdmin
from django.contrib.auth.models import Permission
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.shortcuts import redirect
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from accounts.admin_base import OrganisationScopedAdmin, organisation_seen_by
from accounts.audit import Actor, audit_write
from accounts.models import User
from accounts.roles import grantable
from accounts.sign_in.second_factor import second_factor_reset

_ABOVE = ("is_superuser", "user_permissions", "organisation")
"""What only a superuser may give: whoever may change people must not be able to make themselves more."""
_NOT_OF_ONESELF = ("is_active", "is_staff", "groups")
"""What nobody but a superuser changes of themselves."""


@admin.register(User)
class UserAdmin(BaseUserAdmin, OrganisationScopedAdmin):  # type: ignore[type-arg,misc]
    """People who sign in."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ["username", "email", "roles", "organisation", "is_staff", "is_active", "last_login"]
    list_select_related = ["organisation"]
    list_filter = ["is_staff", "is_active", "groups"]
    search_fields = ["username", "email", "first_name", "last_name"]
    readonly_fields = ["last_login", "date_joined"]
    actions = ["reset_second_factor"]
    fieldsets = [
        (None, {"fields": ["username", "password", "organisation"]}),
        ("Person", {"fields": ["first_name", "last_name", "email"]}),
        ("Rights", {"fields": ["is_active", "is_staff", "is_superuser", "groups", "user_permissions"]}),
        ("Times", {"fields": ["last_login", "date_joined"]}),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        """Hide superusers from everybody else: a new password for one would be a way up."""
        people: QuerySet[User] = super().get_queryset(request).prefetch_related("groups")
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

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> Any:
        fields = super().get_readonly_fields(request, obj)
        own = obj is not None and obj.pk == request.user.pk and not request.user.is_superuser
        return [*fields, *_NOT_OF_ONESELF] if own else fields

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Offer the roles that the giver may give: nobody gives what they do not hold."""
        if db_field.name == "groups":
            assert isinstance(request.user, User)
            kwargs["queryset"] = grantable(request.user)
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    @admin.action(description="Reset the second factor", permissions=["change"])
    def reset_second_factor(self, request: HttpRequest, people: QuerySet[User]) -> None:
        """Let people who have lost their telephone sign in with the password alone, to set up another.

        Not oneself: whoever finds a browser that was left open must not be rid of a factor by that.
        """
        others = [person for person in people.select_related("organisation") if person != request.user]
        allowed = [person for person in others if _may_all_of(request, person)]
        done = 0
        for person in allowed:
            if second_factor_reset(person):
                _tell(request, person, "second_factor.reset", {})
                done += 1
        self.message_user(request, f"Reset the second factor of {done} people.")

    @admin.display(description="roles")
    def roles(self, person: User) -> str:
        return ", ".join(sorted(group.name for group in person.groups.all())) or "-"

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Store the roles, and tell the audit log what has changed of a person: names of fields and roles, no more."""
        person: User = form.instance
        before = set(person.groups.values_list("name", flat=True)) if change else set()
        super().save_related(request, form, formsets, change)
        after = set(person.groups.values_list("name", flat=True))
        _tell(
            request,
            person,
            "person.changed" if change else "person.created",
            {
                "fields": sorted(form.changed_data),
                "roles_given": sorted(after - before),
                "roles_taken": sorted(before - after),
            },
        )

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> Any:  # noqa: A002
        """Set another's password; for one's own lead to the page that asks for the old one."""
        if id == str(request.user.pk):
            return redirect("admin:password_change")
        answer = super().user_change_password(request, id, form_url)
        if request.method == "POST" and answer.status_code == 302 and (person := self.get_object(request, id)):
            _tell(request, person, "person.password_set", {})
        return answer

    def delete_model(self, request: HttpRequest, obj: User) -> None:
        _tell(request, obj, "person.deleted", {})
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for person in queryset:
            _tell(request, person, "person.deleted", {})
        super().delete_queryset(request, queryset)


def _tell(request: HttpRequest, person: User, action: str, details: dict[str, Any]) -> None:
    audit_write(
        organisation=person.organisation,
        actor=Actor.of_user(request.user),
        action=action,
        subject_type="person",
        subject=person.get_username(),
        details=details,
    )


def _may_all_of(request: HttpRequest, person: User) -> bool:
    """Tell whether who asks has every right of ``person``; those of a deactivated one count, they come back."""
    user = request.user
    if user.is_superuser:
        return True
    given = Permission.objects.filter(Q(user=person) | Q(group__user=person)).select_related("content_type")
    theirs = {f"{permission.content_type.app_label}.{permission.codename}" for permission in given}
    return not person.is_superuser and user.has_perms(theirs)
