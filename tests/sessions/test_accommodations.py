"""A candidate's own exceptions: kept with the candidate, laid over the policy, noted with session and alert."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from rest_framework.test import APIClient

from accounts.audit import candidate_subject
from accounts.models import AuditEntry, Organisation, Scope
from alerts import why
from alerts.models import Alert, Incident
from enrollment.models import Candidate
from sessions.models import ExamSession
from tests.detection.builders import commit, frames
from tests.factories import make_api_key, make_enrolled_candidate, make_policy, make_session, make_user

pytestmark = pytest.mark.django_db

PATIENT = {"rules": {"NO_FACE": {"hold_s": 20}}}


def start(client: APIClient, candidate: Candidate, **body: Any) -> Any:
    body |= {"candidate_id": candidate.candidate_id}
    return client.post("/api/v1/session/start", body, format="json")


def test_they_have_the_last_word_over_policy_and_overrides(client: APIClient, organisation: Organisation) -> None:
    document = {"rules": {"NO_FACE": {"hold_s": 5, "severity": 0.1}}}
    make_policy(organisation, is_default=True, document=document)
    candidate = make_enrolled_candidate(organisation)
    Candidate.objects.update(accommodations=PATIENT)
    more = {"rules": {"SPEECH_DETECTED": {"enabled": False}}}
    answer = start(client, candidate, policy={"rules": {"NO_FACE": {"hold_s": 7}}}, accommodations=more)
    assert answer.status_code == 201
    session = ExamSession.objects.get(session_id=answer.json()["session_id"])
    assert session.policy["rules"]["NO_FACE"] | {"hold_s": 20.0, "severity": 0.1} == session.policy["rules"]["NO_FACE"]
    assert session.policy["rules"]["SPEECH_DETECTED"]["enabled"] is False
    assert session.accommodations == {"rules": PATIENT["rules"] | more["rules"]}
    read = client.get(f"/api/v1/session/{session.session_id}").json()
    assert read["accommodations"] == session.accommodations
    candidate.refresh_from_db()
    assert candidate.accommodations == PATIENT  # what was for one session is not kept


def test_an_incident_and_its_alert_show_them(organisation: Organisation) -> None:
    candidate = make_enrolled_candidate(organisation)
    Candidate.objects.update(accommodations={"rules": {"NO_FACE": {"hold_s": 4}, "FACE_MISMATCH": {"enabled": False}}})
    session = make_session(candidate=candidate)
    commit(session, [*frames(0, 2), *frames(2, 10, faces=0), *frames(10, 14)])
    incident = Incident.objects.get(session=session)
    assert incident.rule["hold_s"] == 4
    assert why.accommodations(incident) == ["hold_s = 4"]
    assert {alert.payload["metadata"]["accommodated"] for alert in Alert.objects.filter(session=session)} == {True}
    other = make_session(organisation)
    commit(other, [*frames(0, 2), *frames(2, 10, faces=0), *frames(10, 14)])
    assert {alert.payload["metadata"]["accommodated"] for alert in Alert.objects.filter(session=other)} == {False}


def test_they_are_set_and_read_by_rest(client: APIClient, organisation: Organisation) -> None:
    address = "/api/v1/candidates/jane-17/accommodations"
    assert client.get(address).json()["code"] == "candidate_unknown"
    answer = client.put(address, {"accommodations": PATIENT}, format="json")
    assert (answer.status_code, answer.json()) == (200, {"accommodations": PATIENT})
    assert client.get(address).json() == {"accommodations": PATIENT}
    client.put(address, {"accommodations": {}}, format="json")
    assert Candidate.objects.get(organisation=organisation, candidate_id="jane-17").accommodations == {}


def test_the_audit_log_tells_who_changed_them_and_not_to_what(client: APIClient, organisation: Organisation) -> None:
    address = "/api/v1/candidates/jane-17/accommodations"
    for accommodations in ({}, PATIENT, PATIENT):  # made, changed, and once more the same
        client.put(address, {"accommodations": accommodations}, format="json")
    told = list(AuditEntry.objects.filter(action__startswith="candidate.").order_by("sequence"))
    assert [entry.action for entry in told] == ["candidate.added", "candidate.changed"]
    assert {entry.subject for entry in told} == {candidate_subject(organisation=organisation, candidate_id="jane-17")}
    assert {entry.actor_kind for entry in told} == {"key"}
    assert told[1].details == {"fields": ["Accommodations"]}


def test_who_may_not_start_sessions_may_not_set_them(organisation: Organisation) -> None:
    _, raw = make_api_key(organisation, scopes=[Scope.VERIFY])
    client = APIClient(HTTP_AUTHORIZATION=f"Bearer {raw}")
    answer = client.put("/api/v1/candidates/jane-17/accommodations", {"accommodations": PATIENT}, format="json")
    assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing")


@pytest.mark.parametrize(
    ("fragment", "path"),
    [
        ({"rules": {"NO_FACE": {"hold_s": -1}}}, "rules.NO_FACE.hold_s"),
        ({"rules": {"SNEEZING": {}}}, "rules.SNEEZING"),
        ({"extra_time": 30}, "extra_time"),
    ],
)
def test_what_no_policy_has_is_refused_by_path(
    client: APIClient, organisation: Organisation, fragment: dict[str, Any], path: str
) -> None:
    candidate = make_enrolled_candidate(organisation, "jane-17")
    for answer in (
        client.put("/api/v1/candidates/jane-17/accommodations", {"accommodations": fragment}, format="json"),
        start(client, candidate, accommodations=fragment),
    ):
        assert (answer.status_code, answer.json()["code"]) == (422, "policy_invalid")
        assert path in answer.json()["errors"]
    candidate.accommodations = fragment
    with pytest.raises(ValidationError, match="accommodations"):
        candidate.full_clean()
    assert not ExamSession.objects.exists()


def test_they_are_edited_in_the_admin_and_nothing_else_is(organisation: Organisation) -> None:
    candidate = make_enrolled_candidate(organisation, "jane-17")
    permissions = ["view_candidate", "change_candidate"]
    client, address = Client(), f"/admin/enrollment/candidate/{candidate.pk}/change/"
    client.force_login(make_user(organisation, permissions=permissions))
    inlines = {f"{name}-{form}": 0 for name in ("consents", "enrollments") for form in ("TOTAL_FORMS", "INITIAL_FORMS")}
    body = {"candidate_id": "somebody", "accommodations": '{"rules": {"NO_FACE": {"hold_s": 20}}}'} | inlines
    assert client.post(address, body).status_code == 302
    candidate.refresh_from_db()
    assert (candidate.candidate_id, candidate.accommodations) == ("jane-17", PATIENT)
    refused = client.post(address, body | {"accommodations": '{"rules": {"NO_FACE": {"hold_s": -1}}}'})
    assert "rules.NO_FACE.hold_s: must be a number" in refused.content.decode()
    client.force_login(make_user(organisation, permissions=["view_candidate"]))
    assert client.post(address, body | {"accommodations": "{}"}).status_code == 403
