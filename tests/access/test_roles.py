"""Roles: what each opens and what it does not, and that nobody makes themselves or others more than they are."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission
from django.core.management import call_command
from django.test import Client, RequestFactory
from django.urls import reverse

from accounts.models import APIKey, AuditEntry, Organisation, Scope, User
from accounts.roles import PERMISSIONS, Role
from enrollment.models import DuplicateSearch
from tests.access.people import PASSWORD, give_second_factor, has_second_factor
from tests.access.world import Tenant, make_tenant
from tests.factories import make_api_key, make_organisation, make_user

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_client")]

WATCHED = {"ExamSession", "Exam", "Candidate", "Incident", "Alert"}
PRIVACY = {"ConsentText", "DuplicateSearch", "Erasure", "LegalHold", "RetentionPolicy"}
LISTS: dict[Role, set[str]] = {
    Role.PROCTOR: WATCHED,
    Role.REVIEWER: WATCHED | {"DuplicateSuspicion"},
    Role.AUDITOR: WATCHED
    | PRIVACY
    | {"Consent", "Policy", "Subscription", "Delivery", "Organisation", "User", "Group", "APIKey"},
    Role.INTEGRATOR: {"ExamSession", "Exam", "Policy", "Alert", "Subscription", "Delivery", "APIKey"},
    Role.ADMINISTRATOR: WATCHED
    | PRIVACY
    | {
        "DuplicateSuspicion",
        "Consent",
        "Policy",
        "Subscription",
        "Delivery",
        "Organisation",
        "User",
        "Group",
        "APIKey",
    },
}
ADDS: dict[Role, set[str]] = {
    Role.PROCTOR: set(),
    Role.REVIEWER: set(),
    Role.AUDITOR: set(),
    Role.INTEGRATOR: {"Subscription", "APIKey"},
    Role.ADMINISTRATOR: {"Subscription", "APIKey", "User", "Exam", "Policy"}
    | {"ConsentText", "DuplicateSearch", "LegalHold", "RetentionPolicy"},
}
CHANGES: dict[Role, set[str]] = {
    Role.PROCTOR: set(),
    Role.REVIEWER: set(),
    Role.AUDITOR: set(),
    Role.INTEGRATOR: {"Subscription"},
    Role.ADMINISTRATOR: {"Subscription", "User", "Exam", "Policy", "Candidate", "Organisation"}
    | {"ConsentText", "DuplicateSearch", "RetentionPolicy"},
}
ACTIONS: dict[Role, set[str]] = {
    Role.PROCTOR: {"end"},
    Role.REVIEWER: {"dismiss", "one_person", "two_people"},
    Role.AUDITOR: set(),
    Role.INTEGRATOR: {"revoke", "resend", "delete_selected"},
    Role.ADMINISTRATOR: {"end", "dismiss", "revoke", "resend", "delete_selected", "reset_second_factor"}
    | {"one_person", "two_people", "publish", "retire", "lift"},
}
PAGES = {"AuditEntry"}
"""Pages of models that other parts may add; ``test_the_audit_log_is_for_auditors`` looks at them."""
LIVE = {Role.PROCTOR, Role.REVIEWER, Role.AUDITOR, Role.ADMINISTRATOR}
PICTURES = {Role.PROCTOR, Role.REVIEWER, Role.ADMINISTRATOR}
STATISTICS = set(Role)
DECIDES = {Role.REVIEWER, Role.ADMINISTRATOR}
ENDS = {Role.PROCTOR, Role.ADMINISTRATOR}

everybody = pytest.mark.parametrize("role", list(Role))


def person(role: Role, owner: Any) -> User:
    user = make_user(owner)
    user.groups.add(Group.objects.get(name=role.value))
    return user


@pytest.fixture
def tenant() -> Tenant:
    return make_tenant()


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def registered() -> dict[str, Any]:
    return {
        model.__name__: (model, page) for model, page in admin.site._registry.items() if model.__name__ not in PAGES
    }


def url(model: Any, page: str, *arguments: object) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=arguments)


def test_every_permission_of_the_table_exists() -> None:
    there = {f"{p.content_type.app_label}.{p.codename}" for p in Permission.objects.select_related("content_type")}
    for role, held in PERMISSIONS.items():
        assert held <= there, (role, held - there)


def test_migrating_brings_the_groups_to_the_table(db: None) -> None:
    proctors = Group.objects.get(name=Role.PROCTOR.value)
    proctors.permissions.set(Permission.objects.all())
    Group.objects.get(name=Role.AUDITOR.value).delete()
    call_command("migrate", verbosity=0)
    for role, held in PERMISSIONS.items():
        permissions = Group.objects.get(name=role.value).permissions.select_related("content_type")
        assert {f"{p.content_type.app_label}.{p.codename}" for p in permissions} == held


@everybody
def test_a_role_opens_its_lists_and_forms_and_no_others(role: Role, tenant: Tenant) -> None:
    DuplicateSearch.objects.all().delete()  # an organisation has one, and the form is offered until then
    user = person(role, tenant.organisation)
    client = signed_in(user)
    found: dict[str, set[str]] = {"lists": set(), "adds": set(), "changes": set()}
    request = RequestFactory().get("/")
    request.user = user
    for name, (model, page) in registered().items():
        if client.get(url(model, "changelist")).status_code == 200:
            found["lists"].add(name)
        if page.has_add_permission(request) and client.get(url(model, "add")).status_code == 200:
            found["adds"].add(name)
        else:
            assert client.get(url(model, "add")).status_code == 403
        if page.has_change_permission(request):
            found["changes"].add(name)
    assert found == {"lists": LISTS[role], "adds": ADDS[role], "changes": CHANGES[role]}


@everybody
def test_a_role_has_its_actions_and_no_others(role: Role, tenant: Tenant) -> None:
    request = RequestFactory().get("/")
    request.user = person(role, tenant.organisation)
    found = {action for _, page in registered().values() for action in page.get_actions(request)}
    assert found == ACTIONS[role]


@everybody
def test_a_role_sees_the_live_page_and_pictures_where_it_must(role: Role, tenant: Tenant) -> None:
    client = signed_in(person(role, tenant.organisation))
    evidence, incident = tenant.given["evidence_id"][0], tenant.given["incident_id"][0]
    assert client.get(reverse("admin-live")).status_code == (200 if role in LIVE else 403)
    picture = client.get(reverse("admin:alerts_evidence_picture", args=[evidence]))
    assert picture.status_code == (200 if role in PICTURES else 403)
    assert client.get(f"/api/v1/evidence/{evidence}").status_code == (200 if role in PICTURES else 403)
    assert client.get("/api/v1/admin/sessions").status_code == (200 if role in STATISTICS else 403)
    assert client.get("/api/v1/subscriptions").status_code == 401  # for keys alone
    review = reverse("admin:alerts_incident_review", args=[incident])
    answer = client.post(review, {"decision": "dismissed", "reason": "a shadow", "version": 2})
    assert answer.status_code == (302 if role in DECIDES else 403)
    ended = client.post(reverse("admin:exam_sessions_examsession_end_now", args=[tenant.session.pk]))
    assert ended.status_code == (302 if role in ENDS else 403)
    tenant.session.refresh_from_db()
    assert (tenant.session.state == "ended") == (role in ENDS)


@everybody
def test_no_page_holds_a_link_that_opens_a_picture_to_anybody(role: Role, tenant: Tenant) -> None:
    """It would show it to who may see none, and to others without their name in the audit log."""
    client = signed_in(person(role, tenant.organisation))
    opened = set()
    for name, (model, _) in registered().items():
        if name in {"Organisation", "Group"}:
            continue
        for row in model._default_manager.filter(organisation=tenant.organisation):
            answer = client.get(url(model, "change", row.pk))
            if answer.status_code == 200:
                opened.add(name)
                assert "signature=" not in answer.content.decode(), name
    assert opened >= LISTS[role] & {"Alert", "Incident", "Delivery", "ExamSession"}
    assert "Alert" in opened


# --- Nobody gives more than they hold ---------------------------------------------------------------------------------
def form_of(client: Client, user: User) -> dict[str, Any]:
    """Return what a browser would post for a person as they are shown."""
    form = client.get(url(User, "change", user.pk)).context["adminform"].form
    shown = {name: form.get_initial_for_field(field, name) for name, field in form.fields.items()}
    shown["groups"] = [group.pk for group in shown.get("groups") or []]
    return {name: value for name, value in shown.items() if value not in (None, False)}


def group(name: str) -> int:
    return int(Group.objects.get(name=name).pk)


def test_an_administrator_gives_roles_and_it_is_told(tenant: Tenant) -> None:
    boss, other = person(Role.ADMINISTRATOR, tenant.organisation), make_user(tenant.organisation)
    client = signed_in(boss)
    answer = client.post(url(User, "change", other.pk), form_of(client, other) | {"groups": [group("reviewer")]})
    assert answer.status_code == 302
    assert list(other.groups.values_list("name", flat=True)) == ["reviewer"]
    told = AuditEntry.objects.filter(organisation=tenant.organisation, action="person.changed").get()
    assert (told.actor, told.subject, told.details["roles_given"]) == (boss.username, other.username, ["reviewer"])


def test_who_may_change_people_gives_no_role_with_more_than_their_own(tenant: Tenant) -> None:
    clerk = make_user(tenant.organisation, permissions=["view_user", "change_user", "view_auditentry"])
    other = make_user(tenant.organisation)
    client = signed_in(clerk)
    offered = client.get(url(User, "change", other.pk)).context["adminform"].form.fields["groups"].queryset
    assert not offered.filter(permissions__isnull=False).exists()
    client.post(url(User, "change", other.pk), form_of(client, other) | {"groups": [group("proctor")]})
    assert not other.groups.exists()


def test_nobody_makes_themselves_more(tenant: Tenant) -> None:
    clerk = make_user(tenant.organisation, permissions=["view_user", "change_user"])
    client = signed_in(clerk)
    wanted = {
        "groups": [group("administrator")], "is_superuser": "on", "organisation": make_organisation().pk,
        "user_permissions": list(Permission.objects.values_list("pk", flat=True)),
    }  # fmt: skip
    client.post(url(User, "change", clerk.pk), form_of(client, clerk) | wanted)
    clerk = User.objects.get(pk=clerk.pk)
    assert (clerk.is_superuser, clerk.organisation) == (False, tenant.organisation)
    assert not clerk.groups.exists()
    assert clerk.user_permissions.count() == 2


def test_an_administrator_makes_nobody_a_superuser_or_anothers(tenant: Tenant) -> None:
    boss, other = person(Role.ADMINISTRATOR, tenant.organisation), make_user(tenant.organisation)
    client = signed_in(boss)
    wanted = {"is_superuser": "on", "organisation": make_organisation().pk, "user_permissions": [1]}
    assert client.post(url(User, "change", other.pk), form_of(client, other) | wanted).status_code == 302
    created = {"username": "new", "password1": "a-Long-1-password", "password2": "a-Long-1-password"}
    client.post(url(User, "add"), created | {"usable_password": "true"} | wanted)
    for found in (User.objects.get(pk=other.pk), User.objects.get(username="new")):
        assert (found.is_superuser, found.organisation) == (False, tenant.organisation)
        assert not found.user_permissions.exists()


def test_an_administrator_keeps_their_own_role(tenant: Tenant) -> None:
    boss = person(Role.ADMINISTRATOR, tenant.organisation)
    client = signed_in(boss)
    client.post(url(User, "change", boss.pk), form_of(client, boss) | {"groups": [], "is_staff": ""})
    boss = User.objects.get(pk=boss.pk)
    assert boss.is_staff
    assert list(boss.groups.values_list("name", flat=True)) == ["administrator"]


@pytest.mark.parametrize("superuser", [False, True])
def test_a_browser_left_open_is_not_enough_to_take_over_its_owner(tenant: Tenant, superuser: bool) -> None:
    """Neither the own password without the old one, nor the own second factor without either."""
    boss = person(Role.ADMINISTRATOR, tenant.organisation)
    User.objects.filter(pk=boss.pk).update(is_superuser=superuser)
    boss.set_password(PASSWORD)
    boss.save(update_fields=["password"])
    give_second_factor(boss)
    client = signed_in(boss)
    page = reverse("admin:auth_user_password_change", args=[boss.pk])
    stolen = {"usable_password": "true", "password1": "a-Stolen-1-password", "password2": "a-Stolen-1-password"}
    for answer in (client.get(page), client.post(page, stolen)):
        assert (answer.status_code, answer["Location"]) == (302, "/admin/password_change/")
    client.post(url(User, "changelist"), {"action": "reset_second_factor", "_selected_action": [boss.pk]})
    assert User.objects.get(pk=boss.pk).check_password(PASSWORD)
    assert has_second_factor(boss)


def test_an_administrator_names_the_organisation_but_not_the_slug_it_is_known_by(tenant: Tenant) -> None:
    """Provider's claims choose an organisation by its slug: another's, once free, would bring their people here."""
    slug = tenant.organisation.slug
    page = url(Organisation, "change", tenant.organisation.pk)
    signed_in(person(Role.ADMINISTRATOR, tenant.organisation)).post(page, {"name": "New name", "slug": "uni-b"})
    tenant.organisation.refresh_from_db()
    assert (tenant.organisation.name, tenant.organisation.slug) == ("New name", slug)


def test_roles_are_not_changed_in_the_admin(tenant: Tenant) -> None:
    root = signed_in(make_user(make_organisation("default"), superuser=True))
    for role in Role:
        answer = root.post(url(Group, "change", group(role.value)), {"name": role.value, "permissions": [1]})
        assert answer.status_code == 403
        assert root.post(url(Group, "delete", group(role.value)), {"post": "yes"}).status_code == 403


def test_an_integrator_makes_no_key_that_decides(tenant: Tenant) -> None:
    client = signed_in(person(Role.INTEGRATOR, tenant.organisation))
    form = {"name": "platform", "expires_at_0": "", "expires_at_1": ""}
    refused = client.post(url(APIKey, "add"), form | {"scopes": [Scope.REVIEW]})
    assert "scopes" in refused.context["adminform"].form.errors
    taken = client.post(url(APIKey, "add"), form | {"scopes": [Scope.ENROLL, Scope.SESSIONS]})
    assert taken.status_code == 200
    assert APIKey.objects.get(name="platform").scopes == ["enroll", "sessions"]


def test_an_integrator_renews_no_key_that_decides(tenant: Tenant) -> None:
    """A new secret is shown to whoever makes it: that would be a key they could not have made."""
    key, _ = make_api_key(tenant.organisation, scopes=[Scope.REVIEW])
    client = signed_in(person(Role.INTEGRATOR, tenant.organisation))
    assert client.post(url(APIKey, "rotate", key.pk), {"overlap_hours": 1}).status_code == 403
