"""The admin: every list and page opens, asks the database a fixed number of times, and keeps organisations apart."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django.utils.html import escape

from accounts.api_keys import api_key_find
from accounts.audit import SYSTEM, audit_write
from accounts.models import APIKey, AuditEntry, Organisation, Scope, User
from enrollment.models import Candidate, Consent, ConsentText, DuplicateSearch, DuplicateSuspicion, Erasure
from sessions.models import Exam, ExamSession, LegalHold, Policy, RetentionPolicy
from tests.factories import (
    make_api_key,
    make_enrolled_candidate,
    make_exam,
    make_gap,
    make_organisation,
    make_policy,
    make_session,
    make_user,
    number,
)

pytestmark = pytest.mark.django_db

Make = Callable[[Organisation], Any]


def _session(organisation: Organisation) -> ExamSession:
    session = make_session(organisation, exam_id=f"exam-{ExamSession.objects.count()}")
    make_gap(session)
    return session


def _consent(organisation: Organisation) -> Consent:
    return Consent.objects.get(candidate=make_enrolled_candidate(organisation))


MODELS: dict[type[Any], Make] = {
    User: make_user,
    APIKey: lambda organisation: make_api_key(organisation)[0],
    Candidate: make_enrolled_candidate,
    Consent: _consent,
    Exam: lambda organisation: make_exam(organisation, policy=make_policy(organisation)),
    Policy: make_policy,
    ExamSession: _session,
    AuditEntry: lambda organisation: audit_write(
        organisation=organisation, actor=SYSTEM, action="a.b", subject_type="session"
    ),
    ConsentText: lambda organisation: ConsentText.objects.create(
        organisation=organisation, version=f"v{number()}", locale="en", text="I agree."
    ),
    Erasure: lambda organisation: Erasure.objects.create(
        organisation=organisation, subject="0" * 32, kind="everything", finished_at=timezone.now()
    ),
    RetentionPolicy: lambda organisation: RetentionPolicy.objects.create(
        organisation=organisation, exam=make_exam(organisation), evidence_days=3
    ),
    LegalHold: lambda organisation: LegalHold.objects.create(
        organisation=organisation, session=make_session(organisation), reason="appeal", placed_by="grace"
    ),
}


def url(model: type[Any], page: str = "changelist", *arguments: object) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=arguments)


def permissions(*models: type[Any]) -> list[str]:
    return [f"{verb}_{model._meta.model_name}" for model in models for verb in ("view", "add", "change", "delete")]


@pytest.fixture
def organisation() -> Organisation:
    return make_organisation("default")


@pytest.fixture
def root(organisation: Organisation) -> Client:
    """Return a superuser's browser."""
    client = Client()
    client.force_login(make_user(organisation, superuser=True))
    return client


@pytest.fixture
def proctor(organisation: Organisation) -> Client:
    """Return the browser of somebody who may do everything within the organisation."""
    client = Client()
    client.force_login(make_user(organisation, permissions=permissions(*MODELS, Organisation)))
    return client


def rows(response: Any) -> list[Any]:
    assert response.status_code == 200
    return list(response.context["cl"].result_list)


def test_every_model_of_these_apps_has_its_place() -> None:
    shown = {model for model in admin.site._registry if model._meta.app_label in MODELS_APPS}
    assert shown == {*MODELS, Organisation, DuplicateSearch, DuplicateSuspicion}


MODELS_APPS = {"accounts", "enrollment", "exam_sessions"}


@pytest.mark.parametrize("model", MODELS)
def test_a_list_asks_as_often_for_fifty_rows_as_for_five(
    root: Client, organisation: Organisation, model: type[Any]
) -> None:
    counts = []
    for total in (5, 50):
        while model.objects.count() < total:
            MODELS[model](organisation)
        with CaptureQueriesContext(
            connection,
        ) as captured:
            assert len(rows(root.get(url(model)))) == total
        counts.append(len(captured))
    assert counts[0] == counts[1]
    assert counts[0] <= 8


@pytest.mark.parametrize("model", MODELS)
def test_a_page_opens_and_asks_a_bounded_number_of_times(
    root: Client, organisation: Organisation, model: type[Any]
) -> None:
    row = MODELS[model](organisation)
    root.get(url(model, "change", row.pk))  # the first visit of some goes into the audit log
    with CaptureQueriesContext(connection) as captured:
        response = root.get(url(model, "change", row.pk))
    assert response.status_code == 200
    assert len(captured) <= 20


def test_a_session_page_does_not_ask_per_gap(root: Client, organisation: Organisation) -> None:
    session = make_session(organisation)
    root.get(url(ExamSession, "change", session.pk))  # the first visit goes into the audit log
    counts = []
    for total in (2, 20):
        while session.media_gaps.count() < total:
            make_gap(session)
        with CaptureQueriesContext(connection) as captured:
            response = root.get(url(ExamSession, "change", session.pk))
        counts.append(len(captured))
        assert response.content.decode().count("overload") >= total
    assert counts[0] == counts[1]


@pytest.mark.parametrize("model", [*MODELS, Organisation])
def test_another_organisations_rows_are_not_there(
    proctor: Client, organisation: Organisation, model: type[Any]
) -> None:
    other = make_organisation()
    make = MODELS.get(model, lambda given: given)
    own, foreign = make(organisation), make(other)
    found = rows(proctor.get(url(model)))
    assert own in found
    assert foreign not in found
    assert proctor.get(url(model, "change", own.pk)).status_code == 200
    response = proctor.get(url(model, "change", foreign.pk))
    assert (response.status_code, response.headers.get("Location")) == (302, reverse("admin:index"))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("page", ["changelist", "add"])
def test_who_has_no_permission_sees_nothing(organisation: Organisation, model: type[Any], page: str) -> None:
    client = Client()
    client.force_login(make_user(organisation))
    assert client.get(url(model, page)).status_code == 403


def test_autocomplete_finds_only_ones_own(proctor: Client, organisation: Organisation) -> None:
    make_exam(organisation, "algebra-own")
    make_exam(make_organisation(), "algebra-foreign")
    found = proctor.get(
        reverse("admin:autocomplete"),
        {"app_label": "exam_sessions", "model_name": "examsession", "field_name": "exam", "term": "algebra"},
    ).json()["results"]
    assert [row["text"] for row in found] == ["algebra-own"]


def test_a_filter_does_not_name_another_organisations_exam(proctor: Client) -> None:
    foreign = make_exam(make_organisation(), "secret-exam")
    response = proctor.get(url(ExamSession), {"exam__id__exact": foreign.pk})
    assert rows(response) == []
    assert "secret-exam" not in response.content.decode()


def sidebar(client: Client) -> list[dict[str, Any]]:
    response = client.get(reverse("admin:index"), follow=True)
    assert response.status_code == 200
    return list(response.context["sidebar_navigation"])


def test_the_sidebar_leads_only_where_one_may_go(organisation: Organisation, root: Client) -> None:
    client = Client()
    client.force_login(make_user(organisation, permissions=["view_examsession"]))
    shown = {item["link"] for group in sidebar(client) for item in group["items"]}
    assert shown == {url(ExamSession)}
    everything = {item["link"] for group in sidebar(root) for item in group["items"]}
    assert everything >= {url(model) for model in (*MODELS, Organisation)}
    assert [group["title"] for group in sidebar(root)][:2] == ["Watching", "Exams"]


def test_the_admin_opens_with_the_first_list_one_may_see(organisation: Organisation, root: Client) -> None:
    index = reverse("admin:index")
    assert root.get(index)["location"] == url(ExamSession)
    client = Client()
    assert client.get(index)["location"].startswith(reverse("admin:login"))
    client.force_login(make_user(organisation, permissions=["view_candidate"]))
    assert client.get(index)["location"] == url(Candidate)
    client.force_login(make_user(organisation))
    assert client.get(index).status_code == 403


class TestSessions:
    def test_search_and_filters(self, root: Client, organisation: Organisation) -> None:
        first = make_session(organisation, session_id="first", exam_id="algebra", state="live")
        second = make_session(organisation, session_id="second")
        for query, expected in (
            ({"q": "firs"}, [first]),
            ({"q": "algeb"}, [first]),
            ({"q": second.candidate.candidate_id}, [second]),
            ({"state__in": "created"}, [second]),
            ({"exam__id__exact": first.exam_id}, [first]),
            ({"candidate__id__exact": second.candidate_id}, [second]),
        ):
            assert rows(root.get(url(ExamSession), query)) == expected

    def test_nothing_can_be_changed_by_hand(self, root: Client, organisation: Organisation) -> None:
        session = make_session(organisation)
        assert root.get(url(ExamSession, "add")).status_code == 403
        assert root.post(url(ExamSession, "change", session.pk), {"state": "live"}).status_code == 403
        assert root.post(url(ExamSession, "delete", session.pk), {"post": "yes"}).status_code == 403
        assert ExamSession.objects.get().state == "created"

    def test_a_proctor_ends_sessions(self, proctor: Client, organisation: Organisation) -> None:
        running, ended = make_session(organisation), make_session(organisation, state="ended", end_reason="requested")
        foreign = make_session()
        chosen = [str(session.pk) for session in (running, ended, foreign)]
        response = proctor.post(url(ExamSession), {"action": "end", "_selected_action": chosen}, follow=True)
        assert "Ended 1 sessions." in response.content.decode()
        found = {s.pk: (s.state, s.end_reason) for s in ExamSession.objects.all()}
        assert found == {
            running.pk: ("ended", "proctor"),
            ended.pk: ("ended", "requested"),
            foreign.pk: ("created", ""),
        }

    def test_who_may_only_look_does_not_end(self, organisation: Organisation) -> None:
        session = make_session(organisation)
        client = Client()
        client.force_login(make_user(organisation, permissions=["view_examsession"]))
        client.post(url(ExamSession), {"action": "end", "_selected_action": [str(session.pk)]})
        session.refresh_from_db()
        assert session.state == "created"


class TestCandidates:
    def test_the_page_shows_no_embedding(self, root: Client, organisation: Organisation) -> None:
        candidate = make_enrolled_candidate(organisation)
        page = root.get(url(Candidate, "change", candidate.pk)).content.decode()
        assert "sface-2021dec" in page
        assert "ciphertext" not in page
        assert "wrapped_key" not in page

    def test_the_filter_tells_who_has_enrolled(self, root: Client, organisation: Organisation) -> None:
        enrolled = make_enrolled_candidate(organisation)
        other = Candidate.objects.create(organisation=organisation, candidate_id="other")
        assert rows(root.get(url(Candidate), {"enrolled": "yes"})) == [enrolled]
        assert rows(root.get(url(Candidate), {"enrolled": "no"})) == [other]


class TestKeys:
    def form(self, **fields: Any) -> dict[str, Any]:
        return {"name": "platform", "scopes": ["enroll", "verify"], "expires_at_0": "", "expires_at_1": ""} | fields

    def test_a_new_key_is_shown_once_and_works(self, proctor: Client, organisation: Organisation) -> None:
        response = proctor.post(url(APIKey, "add"), self.form())
        assert response.status_code == 200
        assert "no-store" in response["Cache-Control"]
        shown = re.findall(r"sdp_\w+", response.content.decode())
        assert len(shown) == 1
        key = api_key_find(shown[0])
        assert (key.organisation, key.name, key.scopes) == (organisation, "platform", ["enroll", "verify"])
        assert APIKey.objects.count() == 1
        assert not [cookie for cookie in response.cookies.values() if shown[0] in cookie.value]
        for page in (url(APIKey), url(APIKey, "change", key.pk), reverse("admin:index")):
            assert shown[0] not in proctor.get(page).content.decode()

    @pytest.mark.parametrize("year", ["2020", "9999"])
    def test_an_end_that_is_over_or_never_comes_is_refused(self, proctor: Client, year: str) -> None:
        page = proctor.post(url(APIKey, "add"), self.form(expires_at_0=f"{year}-01-01", expires_at_1="00:00"))
        assert "The key must end in the future" in page.content.decode()
        assert not APIKey.objects.exists()

    def test_a_superuser_chooses_the_organisation(self, root: Client) -> None:
        other = make_organisation()
        root.post(url(APIKey, "add"), self.form(organisation=other.pk))
        assert APIKey.objects.get().organisation == other

    def test_a_proctor_cannot_choose_another_organisation(self, proctor: Client, organisation: Organisation) -> None:
        proctor.post(url(APIKey, "add"), self.form(organisation=make_organisation().pk))
        assert APIKey.objects.get().organisation == organisation

    def test_a_name_that_is_taken_is_said(self, proctor: Client, organisation: Organisation) -> None:
        proctor.post(url(APIKey, "add"), self.form())
        response = proctor.post(url(APIKey, "add"), self.form())
        assert response.context["adminform"].form.errors
        assert APIKey.objects.count() == 1

    def test_revoking(self, proctor: Client, organisation: Organisation) -> None:
        key, _ = make_api_key(organisation)
        foreign, _ = make_api_key()
        chosen = {"action": "revoke", "_selected_action": [key.pk, foreign.pk]}
        assert "Revoked 1 keys" in proctor.post(url(APIKey), chosen, follow=True).content.decode()
        key.refresh_from_db()
        foreign.refresh_from_db()
        assert key.revoked_at is not None
        assert foreign.revoked_at is None


class TestPolicies:
    def form(self, client: Client, policy: Policy, **changes: Any) -> dict[str, Any]:
        """Return what a browser would send: every field as shown, with the changes."""
        form = client.get(url(Policy, "change", policy.pk)).context["adminform"].form
        shown = {name: form.get_initial_for_field(field, name) for name, field in form.fields.items()}
        shown = {name: value for name, value in (shown | changes).items() if value is not None and value is not False}
        return {name: "on" if value is True else value for name, value in shown.items()}

    def test_a_setting_is_a_field_and_a_change_a_new_version(self, root: Client, organisation: Organisation) -> None:
        policy = make_policy(organisation, "Strict")
        sent = self.form(root, policy, rules__NO_FACE__hold_s="4.5", rules__SPEECH_DETECTED__enabled=False)
        response = root.post(url(Policy, "change", policy.pk), sent)
        assert response.status_code == 302, response.context["adminform"].form.errors
        policy.refresh_from_db()
        assert policy.version == 2
        assert policy.document["rules"]["NO_FACE"]["hold_s"] == 4.5
        assert policy.document["rules"]["SPEECH_DETECTED"]["enabled"] is False
        assert policy.document["rules"]["NO_FACE"]["enabled"] is True

    def test_saving_unchanged_is_no_new_version(self, root: Client, organisation: Organisation) -> None:
        policy = make_policy(organisation)
        root.post(url(Policy, "change", policy.pk), self.form(root, policy))
        first = Policy.objects.get(pk=policy.pk)
        root.post(url(Policy, "change", policy.pk), self.form(root, policy))
        assert Policy.objects.get(pk=policy.pk).version == first.version

    def test_what_the_engine_refuses_is_said_at_the_field(self, root: Client, organisation: Organisation) -> None:
        policy = make_policy(organisation)
        sent = self.form(root, policy, rules__NO_FACE__hold_s="-1", sampling__frames_per_second="1000")
        response = root.post(url(Policy, "change", policy.pk), sent)
        errors = response.context["adminform"].form.errors
        assert set(errors) == {"rules__NO_FACE__hold_s", "sampling__frames_per_second"}
        assert Policy.objects.get(pk=policy.pk).version == 1

    def test_a_new_policy_starts_from_the_defaults(self, proctor: Client, organisation: Organisation) -> None:
        form = proctor.get(url(Policy, "add")).context["adminform"].form
        shown = {name: form.get_initial_for_field(field, name) for name, field in form.fields.items()}
        sent = {
            name: "on" if value is True else value
            for name, value in shown.items()
            if value is not None and value is not False
        }
        response = proctor.post(url(Policy, "add"), sent | {"name": "Mild"})
        assert response.status_code == 302, response.context["adminform"].form.errors
        policy = Policy.objects.get(name="Mild")
        assert (policy.organisation, policy.version) == (organisation, 1)

    def test_who_may_only_look_sees_the_document(self, organisation: Organisation) -> None:
        policy = make_policy(organisation)
        client = Client()
        client.force_login(make_user(organisation, permissions=["view_policy"]))
        page = client.get(url(Policy, "change", policy.pk)).content.decode()
        assert "&quot;hold_s&quot;: 3.0" in page
        assert 'name="rules__NO_FACE__hold_s"' not in page

    def test_a_name_that_is_taken_is_said(self, proctor: Client, organisation: Organisation) -> None:
        policy, other = make_policy(organisation, "Strict"), make_policy(organisation, "Mild")
        response = proctor.post(url(Policy, "change", other.pk), self.form(proctor, other, name=policy.name))
        assert response.context["adminform"].form.errors


class TestPeople:
    def test_who_manages_people_cannot_make_a_superuser(self, proctor: Client, organisation: Organisation) -> None:
        person = make_user(organisation)
        other = make_organisation()
        page = proctor.get(url(User, "change", person.pk))
        fields = page.context["adminform"].form.fields
        assert not {"is_superuser", "user_permissions", "organisation"} & set(fields)
        assert (
            not fields["groups"]
            .queryset.filter(permissions__isnull=False)
            .exclude(permissions__in=Permission.objects.filter(codename__in=permissions(*MODELS, Organisation)))
        )
        sent = {"username": person.username, "is_active": "on", "is_staff": "on", "is_superuser": "on"}
        response = proctor.post(url(User, "change", person.pk), sent | {"organisation": other.pk})
        assert response.status_code == 302, response.context["adminform"].form.errors
        person.refresh_from_db()
        assert (person.is_superuser, person.organisation) == (False, organisation)

    def test_a_superuser_is_hidden_from_who_is_none(self, proctor: Client, organisation: Organisation) -> None:
        above = make_user(organisation, superuser=True)
        assert above not in rows(proctor.get(url(User)))
        response = proctor.get(reverse("admin:auth_user_password_change", args=[above.pk]))
        assert response.status_code in (302, 404)

    @pytest.mark.parametrize("active", [True, False])
    @pytest.mark.parametrize("by_group", [True, False])
    def test_who_may_do_more_cannot_be_changed(self, organisation: Organisation, active: bool, by_group: bool) -> None:
        manager = make_user(organisation, permissions=permissions(User))
        above = make_user(organisation, permissions=[] if by_group else ["view_evidence"])
        if by_group:
            group = Group.objects.create(name="reviewers")
            group.permissions.set(Permission.objects.filter(codename="view_evidence"))
            above.groups.add(group)
        above.is_active = active
        above.save()
        client = Client()
        client.force_login(manager)

        password = {"password1": "a-long-passphrase", "password2": "a-long-passphrase", "usable_password": "true"}
        to_password = reverse("admin:auth_user_password_change", args=[above.pk])
        assert client.post(to_password, password).status_code == 403
        sent = {"username": "renamed", "is_active": "on", "is_staff": "on"}
        assert client.post(url(User, "change", above.pk), sent).status_code == 403
        assert client.post(url(User, "delete", above.pk), {"post": "yes"}).status_code == 403
        stored = User.objects.get(pk=above.pk)
        assert (stored.username, stored.password, stored.is_active) == (above.username, above.password, active)

    def test_who_may_do_no_more_gets_a_new_password(self, organisation: Organisation) -> None:
        manager = make_user(organisation, permissions=[*permissions(User), "view_evidence"])
        person = make_user(organisation, permissions=["view_evidence"])
        client = Client()
        client.force_login(manager)
        password = {"password1": "a-long-passphrase", "password2": "a-long-passphrase", "usable_password": "true"}
        to_password = reverse("admin:auth_user_password_change", args=[person.pk])
        assert client.post(to_password, password).status_code == 302
        person.refresh_from_db()
        assert person.check_password("a-long-passphrase")

    def test_only_superusers_change_groups(self, root: Client, organisation: Organisation) -> None:
        group = Group.objects.create(name="proctors")
        client = Client()
        client.force_login(make_user(organisation, permissions=permissions(Group)))
        address = url(Group, "change", group.pk)
        assert client.get(address).status_code == 200  # to look at
        assert client.post(address, {"name": "gods"}).status_code == 403
        assert root.post(address, {"name": "gods"}).status_code == 302

    def test_a_new_person_belongs_to_the_organisation_of_who_made_them(
        self, proctor: Client, organisation: Organisation
    ) -> None:
        sent = {"username": "new", "password1": "a-long-passphrase", "password2": "a-long-passphrase"}
        response = proctor.post(url(User, "add"), sent | {"usable_password": "true"})
        assert response.status_code == 302, response.context["adminform"].form.errors
        assert User.objects.get(username="new").organisation == organisation


def test_scopes_are_offered_in_words(root: Client) -> None:
    page = root.get(url(APIKey, "add")).content.decode()
    assert all(escape(label) in page for _, label in Scope.choices)
    boxes = re.findall(r'<input[^>]*name="scopes"[^>]*>', page)
    assert len(boxes) == len(Scope.values)
    assert not [box for box in boxes if re.search(r"\schecked[\s=>]", box)]  # whoever makes a key says what it is for
