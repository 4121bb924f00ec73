"""The roles that people have: one table of what each may do, kept as Django groups of the same names.

``manage.py migrate`` brings the groups to what stands here. Groups of other names are nobody's business but a
superuser's. A role is for rows of the own organisation, as everything in the admin is.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import Any, Final

from django.apps import AppConfig
from django.contrib.auth.models import Group, Permission
from django.db.models import Q, QuerySet

from accounts.models import Scope, User


class Role(enum.StrEnum):
    """What somebody is there for; the value is the group's name."""

    ADMINISTRATOR = "administrator"
    PROCTOR = "proctor"
    REVIEWER = "reviewer"
    AUDITOR = "auditor"
    INTEGRATOR = "integrator"


def _all_of(*models: str) -> set[str]:
    return {
        f"{app}.{verb}_{model}"
        for app, _, model in (name.partition(".") for name in models)
        for verb in ("view", "add", "change", "delete")
    }


_WATCHES: Final = {
    "exam_sessions.view_examsession",
    "exam_sessions.view_exam",
    "enrollment.view_candidate",
    "alerts.view_incident",
    "alerts.view_evidence",
    "alerts.view_alert",
}
_PROCTOR: Final = _WATCHES | {"exam_sessions.change_examsession"}
_REVIEWER: Final = _WATCHES | {
    "alerts.review_incident",
    "enrollment.view_duplicatesuspicion",
    "enrollment.change_duplicatesuspicion",
}
_AUDITOR: Final = {
    "accounts.view_organisation",
    "accounts.view_user",
    "accounts.view_apikey",
    "accounts.view_auditentry",
    "auth.view_group",
    "enrollment.view_candidate",
    "enrollment.view_consent",
    "enrollment.view_consenttext",
    "enrollment.view_duplicatesearch",
    "enrollment.view_erasure",
    "exam_sessions.view_exam",
    "exam_sessions.view_legalhold",
    "exam_sessions.view_retentionpolicy",
    "exam_sessions.view_policy",
    "exam_sessions.view_examsession",
    "alerts.view_incident",
    "alerts.view_alert",
    "alerts.view_subscription",
    "alerts.view_delivery",
}
_INTEGRATOR: Final = _all_of("alerts.subscription") | {
    "accounts.view_apikey",
    "accounts.add_apikey",
    "accounts.change_apikey",
    "exam_sessions.view_exam",
    "exam_sessions.view_policy",
    "exam_sessions.view_examsession",
    "alerts.view_alert",
    "alerts.view_delivery",
}
_ADMINISTRATOR: Final = {
    "accounts.add_user",
    "accounts.change_user",
    "accounts.delete_user",
    "accounts.change_organisation",
    "enrollment.change_candidate",
    "enrollment.add_duplicatesearch",
    "enrollment.change_duplicatesearch",
    "exam_sessions.add_legalhold",
    "exam_sessions.change_legalhold",
    *_all_of("enrollment.consenttext", "exam_sessions.exam", "exam_sessions.policy", "exam_sessions.retentionpolicy"),
}

PERMISSIONS: Final[Mapping[Role, frozenset[str]]] = {
    # Whoever gives roles must hold what they hold: an administrator may do all that the others may.
    Role.ADMINISTRATOR: frozenset(_ADMINISTRATOR | _PROCTOR | _REVIEWER | _AUDITOR | _INTEGRATOR),
    Role.PROCTOR: frozenset(_PROCTOR),
    Role.REVIEWER: frozenset(_REVIEWER),
    Role.AUDITOR: frozenset(_AUDITOR),
    Role.INTEGRATOR: frozenset(_INTEGRATOR),
}
"""What each role may do, as ``app_label.codename``."""

SCOPE_NEEDS: Final[Mapping[str, str]] = {
    Scope.REVIEW: "alerts.review_incident",
    Scope.ADMIN: "exam_sessions.view_examsession",
    Scope.SUBSCRIPTIONS: "alerts.add_subscription",
}
"""What somebody must hold to make a key with a scope. The other scopes are what platforms are connected for: whoever
may make keys may give them."""


def roles_write(sender: AppConfig, using: str, **signal: Any) -> None:
    """Bring the groups to the table; called after each app's migrations, when its permissions are there."""
    if not any(permission.startswith(f"{sender.label}.") for held in PERMISSIONS.values() for permission in held):
        return
    for role, permissions in PERMISSIONS.items():
        group, _ = Group.objects.using(using).get_or_create(name=role.value)
        group.permissions.set(permissions_named(permissions, using))


def permissions_named(names: Iterable[str], using: str = "default") -> QuerySet[Permission]:
    """Return the permissions of these names, as far as they are there yet."""
    wanted = Q(pk__in=[])
    for name in names:
        app, _, codename = name.partition(".")
        wanted |= Q(content_type__app_label=app, codename=codename)
    return Permission.objects.using(using).filter(wanted)


def grantable(giver: User) -> QuerySet[Group]:
    """Return the groups that somebody may give to others: those that hold nothing the giver does not hold."""
    if giver.is_superuser:
        return Group.objects.all()
    held = permissions_named(giver.get_all_permissions())
    return Group.objects.exclude(permissions__in=Permission.objects.exclude(pk__in=held))


def scopes_grantable(giver: User) -> list[str]:
    """Return the scopes that somebody may give to an API key."""
    return [scope for scope in Scope.values if scope not in SCOPE_NEEDS or giver.has_perm(SCOPE_NEEDS[scope])]
