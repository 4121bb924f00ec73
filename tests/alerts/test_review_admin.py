"""Decide on incidents in the admin: the panel, the queue, many at once, and who may."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.messages import get_messages
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import Organisation, User
from alerts.admin import reviews as pages
from alerts.models import Alert, Incident, Review
from alerts.reviews import Reviewer, incident_review
from detection.engine.policy import EventType
from sessions.models import RISK_NOTE, Policy
from tests.alerts import builders
from tests.factories import make_policy, make_session

pytestmark = pytest.mark.django_db

LIST = "/admin/alerts/incident/"
MAY = ("view_examsession", "view_incident", "view_evidence", "review_incident")


@pytest.fixture
def owner() -> Organisation:
    return builders.organisation()


@pytest.fixture
def ann(owner: Organisation) -> User:
    return builders.staff(owner, may=MAY)


@pytest.fixture
def client(ann: User) -> Client:
    return signed_in(ann)


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def made(owner: Organisation, count: int = 1, phase: str = "closed") -> list[Incident]:
    session = builders.session(owner)
    alerts = [
        builders.apply(session, builders.change(phase=phase, started_at=builders.ONSET + n / 10)) for n in range(count)
    ]
    return [Incident.objects.get(pk=alert.incident_id) for alert in alerts]


def page(client: Client, incident: Incident) -> str:
    return client.get(f"{LIST}{incident.pk}/change/").content.decode()


def send(client: Client, incident: Incident, decision: str = "confirmed", **changed: Any) -> Any:
    body = {"decision": decision, "reason": "A phone at the ear", "version": incident.version} | changed
    return client.post(f"{LIST}{incident.pk}/review/", body)


def told(answer: Any) -> list[str]:
    return [str(message) for message in get_messages(answer.wsgi_request)]


# --- One --------------------------------------------------------------------------------------------------------------
def test_a_decision_is_kept_logged_and_leads_to_the_next(client: Client, owner: Organisation, ann: User) -> None:
    first, second = made(owner, 2)
    assert "2 incidents wait for a decision." in page(client, first)
    answer = send(client, first)
    assert (answer.status_code, answer["location"]) == (302, f"{LIST}{second.pk}/change/")
    kept = Review.objects.get()
    assert (kept.user, kept.decision, kept.reason) == (ann, "confirmed", "A phone at the ear")
    assert Alert.objects.filter(phase="confirmed").count() == 1
    assert LogEntry.objects.get().change_message == "confirmed: A phone at the ear"
    shown = page(client, first)
    assert re.search(rf"<strong>Confirmed</strong> by {ann.username}, .*: <q>A phone at the ear</q>", shown)
    assert 'value="reopened"' in shown
    assert 'value="dismissed"' not in shown
    last = send(client, second, "dismissed")
    assert last["location"] == f"{LIST}{second.pk}/change/"
    assert told(last)[-1] == "Nothing else waits for a decision."


def test_what_is_reopened_is_shown_again_to_be_decided(client: Client, owner: Organisation) -> None:
    (incident,) = made(owner)
    send(client, incident)
    answer = send(client, incident, "reopened", version=3)
    assert answer["location"] == f"{LIST}{incident.pk}/change/"
    assert 'value="dismissed"' in page(client, incident)


def test_who_was_slower_is_told_and_overwrites_nothing(client: Client, owner: Organisation) -> None:
    (incident,) = made(owner)
    incident_review(incident=incident, decision="dismissed", reason="a sneeze", reviewer=Reviewer("Bob"))
    answer = send(client, incident)
    assert "is version 3 now" in told(answer)[0]
    assert [review.decision for review in Review.objects.all()] == ["dismissed"]


@pytest.mark.parametrize("changed", [{"reason": "  "}, {"decision": "guilty"}, {"version": ""}, {"reason": "x" * 1001}])
def test_what_makes_no_sense_decides_nothing(client: Client, owner: Organisation, changed: dict[str, Any]) -> None:
    (incident,) = made(owner)
    answer = send(client, incident, **changed)
    assert answer.status_code == 302
    assert told(answer)[0].startswith("Nothing was decided.")
    assert not Review.objects.exists()


def test_an_open_incident_cannot_be_decided_on_and_its_page_says_so(client: Client, owner: Organisation) -> None:
    (incident,) = made(owner, phase="opened")
    assert "it can be decided on when it has ended" in page(client, incident)
    assert "Nothing was decided." in told(send(client, incident))[0]
    assert not Review.objects.exists()


def test_deciding_needs_the_permission_the_organisation_and_a_post(client: Client, owner: Organisation) -> None:
    (incident,) = made(owner)
    looking = signed_in(builders.staff(owner))
    assert send(looking, incident).status_code == 403
    assert "review-form" not in page(looking, incident)
    assert send(signed_in(builders.staff(builders.organisation(), may=MAY)), incident).status_code == 404
    assert client.get(f"{LIST}{incident.pk}/review/").status_code == 405
    assert send(Client(), incident)["location"].startswith("/admin/login/")
    assert not Review.objects.exists()
    chief = signed_in(builders.staff(builders.organisation(), superuser=True))
    assert send(chief, incident).status_code == 302
    assert Review.objects.get().organisation == owner


def test_reasons_that_one_gives_often_are_offered(client: Client, owner: Organisation, ann: User) -> None:
    incidents = made(owner, 5)
    for incident, reason in zip(incidents, ["a dog", "a sneeze", "a dog", "<b>", "not mine"], strict=True):
        who = Reviewer("Bob") if reason == "not mine" else Reviewer.signed_in(ann)
        incident_review(incident=incident, decision="dismissed", reason=reason, reviewer=who)
    (fresh,) = made(owner)
    offered = re.findall(r'data-reason="([^"]*)"', page(client, fresh))
    assert offered[0] == "a dog"
    assert set(offered) == {"a dog", "a sneeze", "&lt;b&gt;"}


def test_the_queue_is_entered_from_the_list_and_passes_over(client: Client, owner: Organisation) -> None:
    first, second = made(owner, 2)
    made(builders.organisation())
    listed = client.get(LIST).content.decode()
    assert f"{LIST}waiting/" in listed or "waiting" in listed
    entered = client.get(f"{LIST}waiting")
    entered = client.get(entered["location"]) if entered.status_code == 301 else entered
    assert entered["location"] == f"{LIST}{first.pk}/change/"
    assert client.get(f"{LIST}{first.pk}/next/")["location"] == f"{LIST}{second.pk}/change/"
    assert client.get(f"{LIST}{second.pk}/next/")["location"] == f"{LIST}{first.pk}/change/"


def test_an_incidents_page_costs_the_same_however_much_waits(client: Client, owner: Organisation) -> None:
    first, *_ = made(owner, 2)

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            page(client, first)
        return len(captured)

    queries()
    few = queries()
    made(owner, 20)
    assert queries() == few


# --- Many -------------------------------------------------------------------------------------------------------------
def bulk(client: Client, incidents: list[Incident], **more: Any) -> Any:
    body = {"action": "dismiss", "_selected_action": [str(incident.pk) for incident in incidents]} | more
    return client.post(LIST, body)


def versions(incidents: list[Incident]) -> dict[str, int]:
    return {f"version_{incident.pk}": incident.version for incident in incidents}


def test_many_are_dismissed_with_one_reason_after_a_question(client: Client, owner: Organisation, ann: User) -> None:
    incidents = made(owner, 3)
    asked = bulk(client, incidents)
    assert asked.status_code == 200
    assert "Dismiss 3" in asked.content.decode()
    assert not Review.objects.exists()
    answer = bulk(client, incidents, reason="the camera fell over", **versions(incidents))
    assert told(answer) == ["Incidents dismissed: 3."]
    assert set(Incident.objects.values_list("state", flat=True)) == {"dismissed"}
    assert set(Review.objects.values_list("reason", "user")) == {("the camera fell over", ann.pk)}
    assert LogEntry.objects.count() == 3


def test_what_cannot_be_dismissed_or_has_changed_stays_and_is_counted(client: Client, owner: Organisation) -> None:
    still, taken, changed = made(owner, 3)
    (opened,) = made(owner, phase="opened")
    incident_review(incident=taken, decision="confirmed", reason="seen", reviewer=Reviewer("Bob"))
    chosen = [still, taken, changed, opened]
    asked = bulk(client, chosen).content.decode()
    assert "Dismiss 2" in asked
    assert "2 of those selected are open or decided on already, and stay as they are." in asked
    shown = versions(chosen)
    for decision in ("confirmed", "reopened"):
        incident_review(incident=changed, decision=decision, reason="seen", reviewer=Reviewer("Bob"))
    answer = bulk(client, chosen, reason="nothing to see", **shown)
    assert told(answer) == ["Incidents dismissed: 1. Open, decided on or changed meanwhile, and left as they are: 3."]
    assert {incident.pk: incident.state for incident in Incident.objects.all()} == {
        still.pk: "dismissed", taken.pk: "confirmed", changed.pk: "reopened", opened.pk: "open"
    }  # fmt: skip


def test_an_empty_reason_is_asked_for_again_and_too_many_are_refused(
    client: Client, owner: Organisation, monkeypatch: pytest.MonkeyPatch
) -> None:
    incidents = made(owner, 3)
    answer = bulk(client, incidents, reason=" ", **versions(incidents))
    assert answer.status_code == 200
    assert "This field is required." in answer.content.decode()
    monkeypatch.setattr(pages, "MOST_AT_ONCE", 2)
    assert told(bulk(client, incidents)) == ["At most 2 incidents are dismissed at once."]
    assert not Review.objects.exists()


def test_without_the_permission_there_is_no_such_action(owner: Organisation) -> None:
    incidents = made(owner, 2)
    looking = signed_in(builders.staff(owner))
    assert "Dismiss with a reason" not in looking.get(LIST).content.decode()
    bulk(looking, incidents, reason="mine", **versions(incidents))
    strangers = signed_in(builders.staff(builders.organisation(), may=MAY))
    bulk(strangers, incidents, reason="mine", **versions(incidents))
    assert not Review.objects.exists()


# --- The risk score ---------------------------------------------------------------------------------------------------
def test_sessions_show_their_risk_and_what_it_is_for_and_sort_by_it(client: Client, owner: Organisation) -> None:
    calm, wild = builders.session(owner), builders.session(owner)
    builders.apply(wild, builders.change(EventType.FACE_MISMATCH, "closed", peak_value=0.0))
    listed = client.get("/admin/exam_sessions/examsession/?o=-5")
    assert [session.pk for session in listed.context["cl"].result_list] == [wild.pk, calm.pk]
    assert RISK_NOTE in listed.content.decode()
    shown = client.get(f"/admin/exam_sessions/examsession/{wild.pk}/change/").content.decode()
    assert f"{wild.tally.risk_score:.1f}. {RISK_NOTE}" in shown
    assert wild.tally.risk_score > 0


def test_weights_edited_in_the_admin_mark_the_policy_and_the_incident_says_what_it_adds(owner: Organisation) -> None:
    policy = make_policy(owner, is_default=True)
    chief = signed_in(builders.staff(owner, superuser=True))
    session = make_session(owner)
    builders.apply(session, builders.change(phase="closed", ended_at=builders.ONSET + 60))
    incident = Incident.objects.get()
    assert "0.300 points (not decided: half)" in page(chief, incident)
    path = f"/admin/exam_sessions/policy/{policy.pk}/change/"
    form = chief.get(path).context["adminform"].form
    shown = {name: form[name].value() for name in form.fields}
    body = {name: value for name, value in shown.items() if value is not None and value is not False}
    answer = chief.post(path, body | {"rules__NO_FACE__severity": "0.2"})
    assert answer.status_code == 302, answer.context["adminform"].form.errors
    policy = Policy.objects.get(pk=policy.pk)
    assert (policy.version, policy.rescore_due) == (2, True)
