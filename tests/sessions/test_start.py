"""Starting a session over REST."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import connection
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from rest_framework.test import APIClient

from accounts.models import Organisation, Scope
from enrollment.models import Candidate
from media_gateway.tokens import verify
from sessions.models import Exam, ExamSession
from tests.factories import make_api_key, make_candidate, make_enrolled_candidate, make_exam, make_policy

pytestmark = pytest.mark.django_db


def start(client: APIClient, **fields: Any) -> Any:
    return client.post("/api/v1/session/start", {"candidate_id": "ada"} | fields, format="json")


@pytest.fixture
def ada(organisation: Organisation) -> Candidate:
    return make_enrolled_candidate(organisation, "ada")


def test_the_answer_holds_all_that_is_needed_to_publish(client: APIClient, ada: Candidate, settings: Any) -> None:
    settings.PUBLIC_URL = "https://proctor.example"
    settings.GATEWAY_PUBLIC_URL = "https://media.example"
    settings.ICE_SERVERS = [{"urls": ["stun:stun.example"]}]
    response = start(client, exam_id="algebra-1", session_id="s-1")
    assert response.status_code == 201, response.json()
    answer = response.json()
    assert set(answer) == {
        "session_id",
        "id",
        "state",
        "candidate_id",
        "exam_id",
        "join_token",
        "whip_url",
        "ws_url",
        "candidate_url",
        "ice_servers",
        "planned_end_at",
        "expires_at",
        "policy",
    }
    assert [answer[name] for name in ("session_id", "state", "candidate_id", "exam_id")] == [
        "s-1",
        "created",
        "ada",
        "algebra-1",
    ]
    assert answer["whip_url"] == f"https://media.example/whip/{answer['id']}"
    assert answer["ws_url"] == f"wss://proctor.example/api/v1/session/ws/{answer['id']}"
    assert answer["candidate_url"] == f"https://proctor.example/candidate/{answer['id']}#{answer['join_token']}"
    assert answer["ice_servers"] == [{"urls": ["stun:stun.example"]}]
    assert answer["policy"] == {"name": "Default", "version": "1"}


def test_the_join_token_is_the_gateways_and_bound_to_the_session(client: APIClient, ada: Candidate) -> None:
    answer = start(client, planned_minutes=60, policy={"sampling": {"frames_per_second": 1.0}}).json()
    claims = verify(answer["join_token"], key=django_settings.JOIN_TOKEN_KEY)
    assert claims.session_id == answer["id"]
    assert (claims.frames_per_second, claims.audio_window_s) == (1.0, 1.0)
    expires_at = parse_datetime(answer["expires_at"])
    assert expires_at is not None
    assert claims.expires_at == pytest.approx(expires_at.timestamp(), abs=0.01)
    grace = timedelta(seconds=django_settings.JOIN_GRACE_S)
    assert abs(expires_at - timezone.now() - timedelta(minutes=60) - grace) < timedelta(seconds=10)


def test_a_session_without_a_name_is_called_by_its_id(client: APIClient, ada: Candidate) -> None:
    answer = start(client).json()
    assert answer["session_id"] == answer["id"]
    assert answer["exam_id"] is None
    planned = ExamSession.objects.get().planned_end_at - timezone.now()
    assert abs(planned - timedelta(minutes=180)) < timedelta(seconds=10)


def test_a_second_start_of_the_same_session_is_refused(client: APIClient, ada: Candidate) -> None:
    assert start(client, session_id="s-1").status_code == 201
    response = start(client, session_id="s-1")
    assert (response.status_code, response.json()["code"]) == (409, "session_exists")
    assert response.json()["session_id"] == "s-1"
    assert ExamSession.objects.count() == 1


def test_an_ended_sessions_name_is_not_free_again(client: APIClient, ada: Candidate) -> None:
    start(client, session_id="s-1")
    assert client.post("/api/v1/session/s-1/end").status_code == 200
    assert start(client, session_id="s-1").json()["code"] == "session_exists"


@pytest.mark.django_db(transaction=True)
def test_of_two_starts_at_once_one_wins(client: APIClient, ada: Candidate) -> None:
    statuses: list[int] = []
    together = threading.Barrier(2)

    def run() -> None:
        together.wait()
        own = APIClient(**client._credentials or {}, HTTP_AUTHORIZATION=client.defaults["HTTP_AUTHORIZATION"])
        statuses.append(start(own, session_id="s-1", exam_id="new-exam").status_code)
        connection.close()

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [201, 409]
    assert (ExamSession.objects.count(), Exam.objects.count()) == (1, 1)


def test_another_organisation_may_use_the_same_names(client: APIClient, ada: Candidate) -> None:
    start(client, session_id="s-1", exam_id="e-1")
    other = make_enrolled_candidate(candidate_id="ada")
    _, raw = make_api_key(other.organisation)
    response = start(APIClient(HTTP_AUTHORIZATION=f"Bearer {raw}"), session_id="s-1", exam_id="e-1")
    assert response.status_code == 201
    assert ExamSession.objects.get(id=response.json()["id"]).organisation == other.organisation


def test_an_unknown_candidate_is_said(client: APIClient) -> None:
    response = start(client, candidate_id="nobody")
    assert (response.status_code, response.json()["code"]) == (404, "candidate_unknown")


def test_a_candidate_of_another_organisation_is_unknown(client: APIClient) -> None:
    make_enrolled_candidate(candidate_id="ada")
    assert start(client).json()["code"] == "candidate_unknown"


def test_a_candidate_who_has_not_enrolled_is_refused(client: APIClient, organisation: Organisation) -> None:
    make_candidate(organisation, "ada")
    response = start(client)
    assert (response.status_code, response.json()["code"]) == (409, "candidate_not_enrolled")


def test_enrolling_on_joining_needs_no_known_candidate(client: APIClient) -> None:
    answer = start(client, enroll_on_join=True)
    assert answer.status_code == 201
    assert Candidate.objects.get().candidate_id == "ada"
    assert ExamSession.objects.get().enroll_on_join is True


def test_a_key_without_the_scope_starts_nothing(organisation: Organisation, ada: Candidate) -> None:
    _, raw = make_api_key(organisation, scopes=[Scope.ENROLL, Scope.ADMIN])
    response = start(APIClient(HTTP_AUTHORIZATION=f"Bearer {raw}"))
    assert (response.status_code, response.json()["code"]) == (403, "scope_missing")


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"candidate_id": "a b"}, "candidate_id"),
        ({"session_id": "a/b"}, "session_id"),
        ({"session_id": "start"}, "session_id"),
        ({"exam_id": "\x00"}, "exam_id"),
        ({"planned_minutes": 0}, "planned_minutes"),
        ({"planned_minutes": 10**6}, "planned_minutes"),
        ({"planned_minutes": "soon"}, "planned_minutes"),
        ({"planned_end_at": "2020-01-01T00:00:00Z"}, "planned_end_at"),
        ({"planned_end_at": "9999-12-31T23:59:59Z"}, "planned_end_at"),
        ({"policy": [1]}, "policy"),
        ({"enroll_on_join": "perhaps"}, "enroll_on_join"),
    ],
)
def test_a_wrong_field_is_named(client: APIClient, ada: Candidate, fields: dict[str, Any], path: str) -> None:
    response = start(client, **fields)
    assert (response.status_code, response.json()["code"]) == (400, "request_invalid")
    assert list(response.json()["errors"]) == [path]
    assert not ExamSession.objects.exists()


def test_minutes_and_end_together_are_refused(client: APIClient, ada: Candidate) -> None:
    end = (timezone.now() + timedelta(hours=1)).isoformat()
    assert start(client, planned_minutes=5, planned_end_at=end).json()["code"] == "request_invalid"
    assert start(client, planned_end_at=end).status_code == 201


class TestPolicy:
    def test_overrides_lie_over_the_default(self, client: APIClient, ada: Candidate) -> None:
        start(client, policy={"rules": {"NO_FACE": {"hold_s": 9.0}}})
        rules = ExamSession.objects.get().policy["rules"]
        assert rules["NO_FACE"]["hold_s"] == 9.0
        assert rules["NO_FACE"]["release_s"] == 1.5
        assert len(rules) >= 7

    def test_bad_overrides_are_named_by_path(self, client: APIClient, ada: Candidate) -> None:
        overrides = {"rules": {"NO_FACE": {"hold_s": -1}, "NONSENSE": {}}, "sampling": {"frames_per_second": "many"}}
        response = start(client, policy=overrides)
        assert (response.status_code, response.json()["code"]) == (422, "policy_invalid")
        assert set(response.json()["errors"]) == {
            "rules.NO_FACE.hold_s",
            "rules.NONSENSE",
            "sampling.frames_per_second",
        }
        assert not ExamSession.objects.exists()

    def test_the_exams_policy_comes_before_the_default(
        self, client: APIClient, organisation: Organisation, ada: Candidate
    ) -> None:
        policy = make_policy(organisation, "Strict")
        policy.document["rules"]["NO_FACE"]["hold_s"] = 1.0
        policy.save()
        make_exam(organisation, "algebra-1", policy=policy)
        answer = start(client, exam_id="algebra-1").json()
        assert answer["policy"] == {"name": "Strict", "version": "2"}
        assert ExamSession.objects.get().policy["rules"]["NO_FACE"]["hold_s"] == 1.0

    def test_a_policy_changed_later_does_not_change_the_session(
        self, client: APIClient, organisation: Organisation, ada: Candidate
    ) -> None:
        policy = make_policy(organisation, "Strict")
        make_exam(organisation, "algebra-1", policy=policy)
        start(client, exam_id="algebra-1")
        before = ExamSession.objects.get().policy
        policy.document["rules"]["NO_FACE"]["hold_s"] = 7.0
        policy.save()
        assert ExamSession.objects.get().policy == before
