"""Incidents over REST: lists, one in full, decisions, and who may do what."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from accounts.models import APIKey, Organisation
from alerts import payload
from alerts.models import Alert, Incident, Review
from alerts.reviews import Reviewer, incident_review
from detection.engine.policy import EventType
from sessions.joining import join_token_mint
from sessions.models import RISK_NOTE, ExamSession
from tests.alerts import builders
from tests.alerts.test_api import client_of

pytestmark = pytest.mark.django_db

URL = "/api/v1/incidents"


@pytest.fixture
def owner() -> Organisation:
    return builders.organisation()


@pytest.fixture
def client(owner: Organisation) -> APIClient:
    return client_of(owner, "sessions", "review")


def made(
    session: ExamSession, event_type: EventType = EventType.NO_FACE, phase: str = "closed", **more: Any
) -> Incident:
    frames = more.pop("frames", None)
    alert = builders.apply(session, builders.change(event_type, phase, **more), frames=frames)
    return Incident.objects.get(pk=alert.incident_id)


def review(client: APIClient, incident: Incident, decision: str = "confirmed", **more: Any) -> Any:
    body = {"decision": decision, "reason": "A phone at the ear"} | more
    return client.post(f"{URL}/{incident.pk}/review", body, format="json")


def found(client: APIClient, **query: Any) -> list[str]:
    answer = client.get(URL, query)
    assert answer.status_code == 200, answer.json()
    return [row["incident_id"] for row in answer.json()["results"]]


# --- Lists ------------------------------------------------------------------------------------------------------------
def test_incidents_are_listed_newest_first_and_only_ones_own(client: APIClient, owner: Organisation) -> None:
    session = builders.session(owner, exam_id="maths")
    first, second = made(session), made(session, EventType.CAMERA_LOST, "opened")
    made(builders.session(builders.organisation()))
    body = client.get(URL).json()
    assert (body["count"], [row["incident_id"] for row in body["results"]]) == (2, [str(second.pk), str(first.pk)])
    row = body["results"][1]
    assert (row["session_id"], row["exam_id"], row["candidate_id"]) == (
        session.session_id, "maths", session.candidate.candidate_id
    )  # fmt: skip
    assert (row["state"], row["version"], row["severity_score"]) == ("closed", 2, 0.6)
    assert row["risk_points"] == first.points > 0
    assert body["results"][0]["risk_points"] == 0


def test_every_filter_narrows_the_list(client: APIClient, owner: Organisation) -> None:
    maths, art = builders.session(owner, exam_id="maths"), builders.session(owner, exam_id="art")
    phone = made(maths, EventType.PHONE)
    late = made(maths, EventType.NO_FACE, started_at=builders.ONSET + 100, ended_at=builders.ONSET + 120)
    lost = made(art, EventType.CAMERA_LOST)
    opened = made(art, EventType.NO_FACE, "opened")
    incident_review(incident=late, decision="dismissed", reason="a sneeze", reviewer=Reviewer("Ann"))
    at = builders.moment(builders.ONSET + 50).isoformat()
    for query, expected in (
        ({"session_id": maths.session_id}, [late, phone]),
        ({"session_id": str(art.pk)}, [opened, lost]),
        ({"session_id": str(uuid.uuid4())}, []),
        ({"exam_id": "art"}, [opened, lost]),
        ({"candidate_id": maths.candidate.candidate_id}, [late, phone]),
        ({"event_type": "NO_FACE"}, [opened, late]),
        ({"state": "dismissed"}, [late]),
        ({"state": "open"}, [opened]),
        ({"state": "undecided"}, [phone]),
        ({"technical": "true"}, [lost]),
        ({"technical": "false"}, [opened, late, phone]),
        ({"since": at}, [late]),
        ({"until": at, "exam_id": "maths"}, [phone]),
        ({"min_severity": "0.6"}, [row for row in (opened, lost, late, phone) if row.severity >= 0.6]),
        ({"ordering": "created_at"}, [phone, late, lost, opened]),
        ({"page_size": 1, "page": 2}, [lost]),
        ({"state": "closed", "technical": "false", "exam_id": "maths", "event_type": "PHONE"}, [phone]),
    ):
        assert found(client, **query) == [str(row.pk) for row in expected], query
    severities = [row["severity_score"] for row in client.get(URL, {"ordering": "-severity"}).json()["results"]]
    assert len(severities) == 4
    assert severities == sorted(severities, reverse=True)


@pytest.mark.parametrize(
    "query",
    [
        "state=guilty", "event_type=SNEEZE", "min_severity=2", "min_severity=nan", "since=yesterday", "technical=maybe",
        "session_id=%00", "ordering=reason",
    ],
)  # fmt: skip
def test_a_filter_that_makes_no_sense_is_refused_by_name(client: APIClient, query: str) -> None:
    answer = client.get(f"{URL}?{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, "request_invalid")
    assert list(answer.json()["errors"]) == [query.split("=")[0]]


def test_a_list_of_many_costs_as_many_queries_as_one_of_few(client: APIClient, owner: Organisation) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert client.get(URL).status_code == 200
        return len(captured)

    made(builders.session(owner, exam_id="maths"))
    queries()
    few = queries()
    for number in range(10):
        made(builders.session(owner, exam_id=f"exam-{number}"))
    assert queries() == few


# --- One in full ------------------------------------------------------------------------------------------------------
def test_an_incident_is_shown_with_pictures_reasons_and_decisions(client: APIClient, owner: Organisation) -> None:
    measured = {"identity": {"comparison_score": 0.1183, "similarity": 0.41}}
    incident = made(
        builders.session(owner), EventType.FACE_MISMATCH, value=0.41, peak_value=0.23, model="sface-2021dec",
        measures={"onset": {}, "decision": measured, "peak": {}}, frames={"f1": (builders.ONSET, builders.jpeg())},
    )  # fmt: skip
    assert review(client, incident, reviewer="Ann Example").status_code == 200
    body = client.get(f"{URL}/{incident.pk}").json()
    assert (body["state"], body["version"]) == ("confirmed", 3)
    assert body["why"]["sentence"].startswith("The similarity with the enrolled face was below the threshold of 0.75")
    assert body["why"]["severity"] == "0.9 · (½ + ½ · 0.69) = 0.762"
    assert {"name": "Lowest similarity (0 to 1)", "value": "0.23 at 14:13:22 UTC"} in body["why"]["scores"]
    assert [row["decision"] for row in body["why"]["measures"]] == ["0.1183", "0.41"]
    (picture,) = body["evidence"]
    opened = APIClient().get(picture["url"].removeprefix("http://localhost:8000"))
    assert (opened.status_code, opened.content) == (200, builders.jpeg())
    (kept,) = body["reviews"]
    key = APIKey.objects.get()
    assert (kept["decision"], kept["reason"], kept["reviewer"], kept["api_key"], kept["version"]) == (
        "confirmed", "A phone at the ear", "Ann Example", key.name, 3
    )  # fmt: skip


def test_what_belongs_to_another_organisation_is_unknown(client: APIClient) -> None:
    incident = made(builders.session(builders.organisation()))
    for answer in (client.get(f"{URL}/{incident.pk}"), review(client, incident), client.get(f"{URL}/{uuid.uuid4()}")):
        assert (answer.status_code, answer.json()["code"]) == (404, "incident_unknown")
    assert not Review.objects.exists()


# --- Decisions --------------------------------------------------------------------------------------------------------
def test_a_decision_answers_with_the_incident_as_it_is_then(client: APIClient, owner: Organisation) -> None:
    incident = made(builders.session(owner))
    body = review(client, incident, version=2).json()
    assert (body["state"], body["version"]) == ("confirmed", 3)
    assert body["risk_points"] == pytest.approx(2 * incident.points, abs=1e-4)
    assert body["reviews"][0]["reviewer"] == APIKey.objects.get().name  # nobody was named
    assert Alert.objects.filter(phase="confirmed").count() == 1


def test_decisions_that_are_not_possible_are_conflicts_with_a_code(client: APIClient, owner: Organisation) -> None:
    session = builders.session(owner)
    opened, over = made(session, phase="opened"), made(session)
    answers = [
        review(client, opened),
        review(client, over, "reopened"),
        review(client, over, version=1),
        review(client, over, version=2),
        review(client, over, "dismissed"),
        review(client, over, "dismissed", version=2),
    ]
    assert [(answer.status_code, answer.json().get("code")) for answer in answers] == [
        (409, "incident_open"), (409, "incident_undecided"), (409, "incident_changed"), (200, None),
        (409, "incident_decided"), (409, "incident_changed"),
    ]  # fmt: skip
    assert (answers[4].json()["state"], answers[4].json()["version"]) == ("confirmed", 3)


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"decision": "guilty"}, "decision"), ({"decision": None}, "decision"), ({"reason": ""}, "reason"),
        ({"reason": "   "}, "reason"), ({"reason": "x" * 1001}, "reason"), ({"reason": "a\x00b"}, "reason"),
        ({"version": 0}, "version"), ({"version": 2**40}, "version"), ({"reviewer": "x" * 151}, "reviewer"),
    ],
)  # fmt: skip
def test_a_body_that_makes_no_sense_is_refused_by_field(
    client: APIClient, owner: Organisation, changed: dict[str, Any], field: str
) -> None:
    answer = review(client, made(builders.session(owner)), **changed)
    assert (answer.status_code, answer.json()["code"]) == (400, "request_invalid")
    assert list(answer.json()["errors"]) == [field]
    assert not Review.objects.exists()


def test_the_longest_reason_fits_into_a_webhook(client: APIClient, owner: Organisation) -> None:
    assert review(client, made(builders.session(owner)), reason="🙂" * 1000, reviewer="ñ" * 150).status_code == 200
    assert len(payload.body(Alert.objects.get(phase="confirmed").payload)) < 20_000


# --- Who may ----------------------------------------------------------------------------------------------------------
def test_reading_needs_one_scope_and_deciding_another(owner: Organisation) -> None:
    incident = made(builders.session(owner))
    reader, decider, other = (client_of(owner, scope) for scope in ("sessions", "review", "admin"))
    assert [client.get(URL).status_code for client in (reader, decider, other, APIClient())] == [200, 403, 403, 401]
    assert [review(client, incident).status_code for client in (reader, other, APIClient())] == [403, 403, 401]
    assert review(reader, incident).json()["code"] == "scope_missing"
    assert review(decider, incident).status_code == 200


def test_people_who_are_signed_in_need_permissions_and_decide_under_their_own_name(owner: Organisation) -> None:
    incident = made(builders.session(owner), frames={"f1": (builders.ONSET, builders.jpeg())})

    def signed_in(*may: str, of: Organisation = owner) -> APIClient:
        client = APIClient()
        client.force_login(builders.staff(of, may=may))
        return client

    looking, deciding = signed_in("view_incident"), signed_in("view_incident", "review_incident", "view_evidence")
    assert signed_in("view_examsession").get(URL).status_code == 403
    assert looking.get(f"{URL}/{incident.pk}").json()["evidence"] == []  # may not see pictures
    assert len(deciding.get(f"{URL}/{incident.pk}").json()["evidence"]) == 1
    assert review(looking, incident).status_code == 403
    assert review(signed_in("review_incident", of=builders.organisation()), incident).status_code == 404
    assert review(deciding, incident, reviewer="Somebody Else").status_code == 200
    kept = Review.objects.get()
    assert kept.user is not None
    assert (kept.reviewer, kept.api_key) == (kept.user.username, None)


def test_a_page_of_another_site_cannot_decide_with_somebodys_login(owner: Organisation) -> None:
    incident = made(builders.session(owner))
    client = APIClient(enforce_csrf_checks=True)
    client.force_login(builders.staff(owner, may=["review_incident"]))
    assert review(client, incident).status_code == 403
    assert not Review.objects.exists()


# --- The risk score ---------------------------------------------------------------------------------------------------
def test_the_score_is_shown_with_what_it_is_for(owner: Organisation) -> None:
    calm, wild = builders.session(owner, state="live"), builders.session(owner, state="live")
    made(wild, EventType.FACE_MISMATCH, ended_at=builders.ONSET + 90, peak_value=0.0)
    made(calm, EventType.CAMERA_LOST)
    client = client_of(owner, "sessions", "admin")
    body = client.get(f"/api/v1/session/{wild.session_id}").json()
    assert (body["risk_score"], body["risk_note"]) == (31.0, RISK_NOTE)
    assert "no verdict" in RISK_NOTE
    assert client.get(f"/api/v1/session/{calm.session_id}").json()["risk_score"] == 0
    rows = client.get("/api/v1/admin/sessions", {"ordering": "-risk_score"}).json()["results"]
    assert [(row["session_id"], row["risk_score"]) for row in rows] == [(wild.session_id, 31.0), (calm.session_id, 0.0)]
    rows = client.get("/api/v1/admin/sessions", {"ordering": "risk_score"}).json()["results"]
    assert [row["session_id"] for row in rows] == [calm.session_id, wild.session_id]
    stats = client.get("/api/v1/admin/stats").json()
    assert stats["highest_risks"] == [{"session_id": wild.session_id, "state": "live", "risk_score": 31.0}]
    assert stats["risk_note"] == RISK_NOTE
    assert stats["reviews"] == {"waiting": 1, "confirmed": 0, "dismissed": 0, "reopened": 0}


def test_statistics_count_decisions_and_forget_sessions_that_are_long_over(owner: Organisation) -> None:
    session = builders.session(owner, state="ended")
    first, second = made(session), made(session)
    for incident, decision in ((first, "confirmed"), (second, "dismissed"), (second, "reopened")):
        incident_review(incident=incident, decision=decision, reason="seen", reviewer=Reviewer("Ann"))
    client = client_of(owner, "admin")
    assert client.get("/api/v1/admin/stats").json()["reviews"] == {
        "waiting": 1, "confirmed": 1, "dismissed": 1, "reopened": 1
    }  # fmt: skip
    assert len(client.get("/api/v1/admin/stats").json()["highest_risks"]) == 1
    ExamSession.objects.update(ended_at=builders.moment(builders.ONSET) - timedelta(days=365 * 5))
    assert client.get("/api/v1/admin/stats").json()["highest_risks"] == []


def test_candidates_are_told_nothing_of_scores(owner: Organisation) -> None:
    session = builders.session(owner)
    made(session)
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {join_token_mint(session)}")
    assert "risk" not in client.get(f"/api/v1/session/{session.id}").content.decode()
    assert client.get(URL).status_code == 401
