"""What people do and see is in the audit log, by whichever way."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.audit import SYSTEM, Actor, audit_verify, candidate_subject
from accounts.models import AuditEntry, Organisation
from alerts.models import Incident
from enrollment.models import ConsentText
from proctor_site.erasure import candidate_erase
from sessions import privacy_admin
from sessions.models import LegalHold, RetentionPolicy
from sessions.policies import policy_default
from sessions.services import session_end
from tests.alerts import builders
from tests.factories import make_api_key, make_enrolled_candidate, make_exam, make_organisation, make_session, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def organisation() -> Organisation:
    return make_organisation()


def signed_in(organisation: Organisation, *permissions: str, superuser: bool = False) -> Client:
    client = Client()
    client.user = make_user(organisation, permissions=list(permissions), superuser=superuser)  # type: ignore[attr-defined]
    client.force_login(client.user)  # type: ignore[attr-defined]
    return client


def entries(action: str) -> list[AuditEntry]:
    return list(AuditEntry.objects.filter(action=action).order_by("sequence"))


def test_opening_a_session_a_candidate_or_an_incident_is_one_visit_per_person(organisation: Organisation) -> None:
    session = make_session(organisation)
    alert = builders.apply(session)
    candidate = session.candidate
    pages = {
        "session.opened": (f"/admin/exam_sessions/examsession/{session.pk}/change/", str(session.pk)),
        "candidate.opened": (
            f"/admin/enrollment/candidate/{candidate.pk}/change/",
            candidate_subject(organisation=organisation, candidate_id=candidate.candidate_id),
        ),
        "incident.opened": (f"/admin/alerts/incident/{alert.incident_id}/change/", str(alert.incident_id)),
    }
    may = ("view_examsession", "view_candidate", "view_incident")
    one, other = signed_in(organisation, *may), signed_in(organisation, *may)
    for action, (path, subject) in pages.items():
        for client in (one, one, other):
            assert client.get(path).status_code == 200
        told = entries(action)
        assert [entry.actor for entry in told] == [one.user.username, other.user.username]  # type: ignore[attr-defined]
        assert {entry.subject for entry in told} == {subject}
    assert list(audit_verify(organisation)) == []


def test_a_person_who_reads_an_incident_over_rest_is_a_visitor_too(organisation: Organisation) -> None:
    alert = builders.apply(make_session(organisation))
    proctor = signed_in(organisation, "view_incident")
    _, raw = make_api_key(organisation)
    address = f"/api/v1/incidents/{alert.incident_id}"
    for client in (proctor, proctor, APIClient(HTTP_AUTHORIZATION=f"Bearer {raw}")):
        assert client.get(address).status_code == 200
    assert proctor.get(f"/admin/alerts/incident/{alert.incident_id}/change/").status_code == 200
    told = [(entry.actor, entry.subject) for entry in entries("incident.opened")]
    assert told == [(proctor.user.username, str(alert.incident_id))]  # type: ignore[attr-defined]


def test_a_page_shown_because_its_form_was_wrong_was_opened(organisation: Organisation) -> None:
    candidate = make_session(organisation).candidate
    client = signed_in(organisation, "view_candidate", "change_candidate")
    answer = client.post(f"/admin/enrollment/candidate/{candidate.pk}/change/", {"accommodations": "["})
    assert answer.status_code == 200
    assert candidate.candidate_id in answer.content.decode()
    assert len(entries("candidate.opened")) == 1


def test_who_may_not_open_a_page_is_no_visitor(organisation: Organisation) -> None:
    session = make_session(organisation)
    stranger = signed_in(make_organisation(), "view_examsession")
    assert stranger.get(f"/admin/exam_sessions/examsession/{session.pk}/change/").status_code == 302
    assert not AuditEntry.objects.filter(action="session.opened").exists()


def test_a_review_is_told_with_who_decided(organisation: Organisation) -> None:
    session = make_session(organisation)
    opened = builders.change()
    builders.apply(session, opened)
    builders.apply(session, builders.closing(opened))
    incident = Incident.objects.get()
    key, raw = make_api_key(organisation)
    client = APIClient(HTTP_AUTHORIZATION=f"Bearer {raw}")
    answer = client.post(
        f"/api/v1/incidents/{incident.id}/review", {"decision": "confirmed", "reason": "A second person"}, format="json"
    )
    assert answer.status_code in (200, 201)
    (entry,) = entries("incident.reviewed")
    assert (entry.actor, entry.subject, entry.details["decision"]) == (key.prefix, str(incident.id), "confirmed")
    assert "second person" not in str(entry.details)


def test_who_starts_a_session_is_told_and_nothing_where_it_does_not_start(organisation: Organisation) -> None:
    key, raw = make_api_key(organisation)
    client = APIClient(HTTP_AUTHORIZATION=f"Bearer {raw}")
    wanted = {"candidate_id": make_enrolled_candidate(organisation).candidate_id, "session_id": "only-once"}
    started, again = (client.post("/api/v1/session/start", wanted, format="json") for _ in range(2))
    assert (started.status_code, again.status_code) == (201, 409)

    told = [(entry.actor, entry.subject, entry.details["biometric"]) for entry in entries("session.started")]

    assert told == [(key.prefix, started.json()["id"], True)]


def test_who_ends_a_session_is_told_by_whichever_way(organisation: Organisation) -> None:
    by_key, on_page, in_list, overdue = (make_session(organisation) for _ in range(4))
    key, raw = make_api_key(organisation)
    client = APIClient(HTTP_AUTHORIZATION=f"Bearer {raw}")
    assert client.post(f"/api/v1/session/{by_key.id}/end").status_code == 200
    assert client.post(f"/api/v1/session/{by_key.id}/end").status_code == 409
    proctor = signed_in(organisation, "view_examsession", "change_examsession")
    proctor.post(reverse("admin:exam_sessions_examsession_end_now", args=[on_page.pk]))
    proctor.post(
        reverse("admin:exam_sessions_examsession_changelist"), {"action": "end", "_selected_action": [str(in_list.pk)]}
    )
    session_end(session=overdue, reason="overdue")  # by the clock: nobody did it

    told = [(entry.actor, entry.subject, entry.details["reason"]) for entry in entries("session.ended")]

    person = proctor.user.username  # type: ignore[attr-defined]
    assert told == [
        (key.prefix, str(by_key.pk), "requested"),
        (person, str(on_page.pk), "proctor"),
        (person, str(in_list.pk), "proctor"),
    ]


def test_subscriptions_changed_over_rest_are_told_without_address_or_secret(organisation: Organisation) -> None:
    key, raw = make_api_key(organisation)
    client = APIClient(HTTP_AUTHORIZATION=f"Bearer {raw}")
    made = client.post(
        "/api/v1/subscriptions", {"transport": "webhook", "url": "https://93.184.216.34/hook"}, format="json"
    ).json()
    path = f"/api/v1/subscriptions/{made['id']}"
    assert client.patch(path, {"enabled": False, "nonsense": "x"}, format="json").status_code == 200
    assert client.post(f"{path}/rotate-secret", {}, format="json").status_code == 200
    assert client.delete(path).status_code == 204
    told = AuditEntry.objects.filter(subject=made["id"]).order_by("sequence")
    assert list(told.values_list("action", "details")) == [
        ("subscription.added", {"transport": "webhook"}),
        ("subscription.changed", {"transport": "webhook", "fields": ["enabled"]}),
        ("subscription.secret_rotated", {"transport": "webhook"}),
        ("subscription.removed", {"transport": "webhook"}),
    ]
    assert {entry.actor for entry in told} == {key.prefix}


def test_a_changed_policy_is_told_with_the_names_of_its_fields(organisation: Organisation) -> None:
    policy = policy_default(organisation=organisation)
    client = signed_in(organisation, "view_policy", "change_policy")
    page = client.get(f"/admin/exam_sessions/policy/{policy.pk}/change/")
    form = page.context["adminform"].form
    data = {name: form.get_initial_for_field(field, name) for name, field in form.fields.items()}
    data = {name: value for name, value in data.items() if value is not None and value is not False} | {
        "name": "Strict"
    }
    answer = client.post(f"/admin/exam_sessions/policy/{policy.pk}/change/", data)
    assert answer.status_code == 302, answer.context and answer.context["adminform"].form.errors
    (entry,) = entries("policy.changed")
    assert (entry.subject, "Name" in entry.details["fields"]) == (str(policy.pk), True)


# --- The pages of privacy ---------------------------------------------------------------------------------------------
def test_retention_is_set_in_the_admin_and_told(organisation: Organisation) -> None:
    client = signed_in(organisation, "view_retentionpolicy", "add_retentionpolicy", "change_retentionpolicy")
    answer = client.post("/admin/exam_sessions/retentionpolicy/add/", {"evidence_days": 7, "audit_days": ""})
    assert answer.status_code == 302
    policy = RetentionPolicy.objects.get()
    assert (policy.organisation, policy.evidence_days, policy.audit_days) == (organisation, 7, None)
    answer = client.post(f"/admin/exam_sessions/retentionpolicy/{policy.pk}/change/", {"evidence_days": 9})
    assert answer.status_code == 302
    assert entries("retention.changed")[0].details == {"fields": ["Evidence"]}
    assert b"9 days" in client.get("/admin/exam_sessions/retentionpolicy/").content
    refused = client.post(f"/admin/exam_sessions/retentionpolicy/{policy.pk}/change/", {"evidence_days": -1})
    assert refused.status_code == 200
    again = client.post("/admin/exam_sessions/retentionpolicy/add/", {"evidence_days": 7})
    assert b"own days are set already" in again.content
    form = client.get("/admin/exam_sessions/retentionpolicy/add/").content.decode()
    assert f'placeholder="{settings.RETENTION_DAYS["audit"]} days"' in form
    assert f"evidence {settings.RETENTION_DAYS['evidence']} days, detections" in form
    exam = make_exam(organisation)
    client.user.user_permissions.add(Permission.objects.get(codename="view_exam"))  # type: ignore[attr-defined]
    refused = client.post("/admin/exam_sessions/retentionpolicy/add/", {"exam": exam.pk, "audit_days": 7})
    assert "audit_days" in refused.context["adminform"].form.errors
    assert RetentionPolicy.objects.count() == 1


def test_holds_are_placed_and_lifted_in_the_admin(organisation: Organisation, monkeypatch: pytest.MonkeyPatch) -> None:
    session = make_session(organisation)
    client = signed_in(
        organisation, "view_legalhold", "add_legalhold", "change_legalhold", "view_candidate", "view_examsession"
    )
    path = "/admin/exam_sessions/legalhold/"
    answer = client.post(f"{path}add/", {"candidate": session.candidate_id, "session": "", "reason": "appeal 12"})
    assert answer.status_code == 302
    hold = LegalHold.objects.get()
    username = client.user.username  # type: ignore[attr-defined]
    assert (hold.placed_by, hold.reason, hold.organisation) == (username, "appeal 12", organisation)
    either, already = "Name a candidate or a session, one of both.", "There is such a hold already."
    for wrong, told in (
        ({"candidate": session.candidate_id}, already),
        ({"candidate": session.candidate_id, "session": session.pk}, either),
        ({}, either),
    ):
        page = client.post(f"{path}add/", {**wrong, "reason": "again"}).content.decode()
        assert told in page
        assert "Constraint" not in page
    stranger = make_session(make_organisation())
    assert client.post(f"{path}add/", {"candidate": stranger.candidate_id, "reason": "x"}).status_code == 200
    assert LegalHold.objects.count() == 1
    assert client.post(f"{path}{hold.pk}/change/", {"reason": "other"}).status_code == 403
    assert client.post(f"{path}{hold.pk}/delete/", {"post": "yes"}).status_code == 403

    monkeypatch.setattr(privacy_admin.HoldForm, "clean", lambda form: form.cleaned_data)  # somebody else was faster
    late = client.post(f"{path}add/", {"candidate": session.candidate_id, "reason": "again"}, follow=True)
    assert already in late.content.decode()

    lifted = client.post(path, {"action": "lift", "_selected_action": [hold.pk]}, follow=True)
    assert b"Lifted 1 hold. What" in lifted.content

    hold.refresh_from_db()
    assert hold.lifted_by == username
    assert [entry.action for entry in AuditEntry.objects.filter(subject_type="candidate").order_by("sequence")] == [
        "hold.placed", "hold.lifted",
    ]  # fmt: skip


def test_a_published_text_is_never_changed_or_removed(organisation: Organisation) -> None:
    client = signed_in(organisation, "view_consenttext", "add_consenttext", "change_consenttext", "delete_consenttext")
    path = "/admin/enrollment/consenttext/"
    made = client.post(
        f"{path}add/",
        {"version": "v1", "locale": "en", "text": "I agree.\n\nTo all of it.", "published_at_0": "2020-01-01"},
    )
    assert made.status_code == 302
    text = ConsentText.objects.get()
    assert text.published_at is None
    client.post(path, {"action": "publish", "_selected_action": [text.pk]})
    client.post(f"{path}{text.pk}/change/", {"version": "v1", "locale": "en", "text": "Something else."})
    assert client.post(f"{path}{text.pk}/delete/", {"post": "yes"}).status_code == 403
    text.refresh_from_db()
    assert text.text == "I agree.\n\nTo all of it."
    page = client.get(f"{path}{text.pk}/change/").content.decode()
    assert '<div class="wording">I agree.\n\nTo all of it.</div>' in page
    assert text.published_at is not None
    assert text.published_at <= timezone.now()
    client.post(path, {"action": "retire", "_selected_action": [text.pk]})
    told = AuditEntry.objects.filter(subject_type="consent_text").order_by("sequence")
    assert {"consent_text.added", "consent_text.published", "consent_text.retired"} <= {entry.action for entry in told}


def test_who_is_nobody_is_told_as_the_system() -> None:
    actor: Any = Actor.of_user(object())
    assert actor.kind == "system"


def test_an_erasure_is_found_by_the_id_that_it_does_not_hold(organisation: Organisation) -> None:
    for name in ("ada", "bob"):
        make_enrolled_candidate(organisation, name)
        candidate_erase(organisation=organisation, candidate_id=name, actor=SYSTEM)
    client = signed_in(organisation, "view_erasure")
    found = client.get("/admin/enrollment/erasure/?q=ada").context["cl"].queryset
    assert [each.subject for each in found] == [candidate_subject(organisation=organisation, candidate_id="ada")]
    assert not client.get("/admin/enrollment/erasure/?q=eve").context["cl"].queryset.exists()


def test_who_may_not_see_a_page_is_told_whom_to_ask(organisation: Organisation) -> None:
    page = signed_in(organisation, "view_erasure").get("/admin/exam_sessions/legalhold/add/")
    assert page.status_code == 403
    assert "ask an administrator" in page.content.decode()
