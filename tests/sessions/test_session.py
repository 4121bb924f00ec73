"""Reading, ending and enrolling on joining, by key and by join token."""

from __future__ import annotations

import base64
import json
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from redis import Redis
from rest_framework.test import APIClient

from accounts.audit import SYSTEM
from accounts.models import Organisation
from alerts.models import Incident
from detection.messages import CONTROL_CHANNEL, QUEUE_AUDIO, TASK_CLOSE_SESSION, revoked_key
from enrollment import services
from enrollment.models import Candidate, FaceTemplate
from media_gateway import tokens
from proctor_site.embedded.ports import free_port
from proctor_site.erasure import candidate_erase
from sessions.biometrics import WITHOUT
from sessions.joining import join_token_mint
from sessions.models import ExamSession, RetentionPolicy
from sessions.services import session_start
from sessions.sweep import sweep_sessions
from tests.factories import (
    make_api_key,
    make_candidate,
    make_enrolled_candidate,
    make_exam,
    make_gap,
    make_session,
)
from tests.sessions.conftest import joining

pytestmark = pytest.mark.django_db


def make_incident(session: ExamSession, event_type: str = "NO_FACE", state: str = "open") -> Incident:
    now = timezone.now()
    return Incident.objects.create(
        organisation=session.organisation,
        session=session,
        event_type=event_type,
        technical=False,
        state=state,
        started_at=now,
        decided_at=now,
        severity=0.5,
        peak_value=1.0,
        rule={},
        measures={},
        model="m",
        policy_version="1",
    )


def read(client: APIClient, session_id: object) -> tuple[int, dict[str, Any]]:
    response = client.get(f"/api/v1/session/{session_id}")
    return response.status_code, response.json()


class TestRead:
    def test_a_platform_sees_state_gaps_and_incidents(self, client: APIClient, organisation: Organisation) -> None:
        session = make_session(organisation, session_id="s-1", exam_id="e-1")
        make_gap(session, seconds=2.5, skipped=5)
        make_gap(session, seconds=1.0, skipped=2, stream="audio")
        for event_type, state in (("NO_FACE", "open"), ("NO_FACE", "closed"), ("FACE_MISMATCH", "closed")):
            make_incident(session, event_type, state)
        status, answer = read(client, "s-1")
        assert status == 200
        assert (answer["state"], answer["exam_id"], answer["enrolled"]) == ("created", "e-1", True)
        assert answer["incidents"] == [
            {"event_type": "FACE_MISMATCH", "count": 1, "open": 0},
            {"event_type": "NO_FACE", "count": 2, "open": 1},
        ]
        gaps = answer["gaps"]
        assert (gaps["count"], gaps["skipped"], gaps["seconds"]) == (2, 7, 3.5)
        assert {gap["stream"] for gap in gaps["latest"]} == {"audio", "video"}
        assert answer["policy_document"]["rules"]["NO_FACE"]["enabled"] is True
        assert "join_token" not in answer

    def test_it_is_found_by_our_id_too(self, client: APIClient, organisation: Organisation) -> None:
        session = make_session(organisation, session_id="s-1")
        assert read(client, session.id)[1]["session_id"] == "s-1"

    def test_the_platforms_own_name_comes_before_our_id(self, client: APIClient, organisation: Organisation) -> None:
        first = make_session(organisation, session_id="s-1")
        make_session(organisation, session_id=str(first.id))
        assert read(client, first.id)[1]["session_id"] == str(first.id)

    @pytest.mark.parametrize("session_id", ["nothing", str(uuid.uuid4()), "%00", "a%20b", "x" * 300])
    def test_an_unknown_session_is_said(self, client: APIClient, session_id: str) -> None:
        status, answer = read(client, session_id)
        assert (status, answer["code"]) == (404, "session_unknown")

    def test_the_candidate_sees_what_is_needed_to_take_part_and_no_more(
        self, organisation: Organisation, settings: Any
    ) -> None:
        settings.ICE_SERVERS = [{"urls": "stun:stun.example"}]
        session = make_session(organisation, overrides={"rules": {"SPEECH_DETECTED": {"enabled": False}}})
        make_incident(session)
        status, answer = read(joining(join_token_mint(session)), session.id)
        assert status == 200
        assert set(answer) == {
            "session_id",
            "id",
            "state",
            "candidate_id",
            "exam_id",
            "enrolled",
            "enroll_on_join",
            "consent_text",
            "whip_url",
            "ws_url",
            "ice_servers",
            "planned_end_at",
            "ended_at",
            "expires_at",
            "organisation",
            "watched",
            "check_in",
            "page_in_front",
            "evidence_days",
            "biometric",
            "pictures_kept",
        }
        assert "NO_FACE" in answer["watched"]
        assert "SPEECH_DETECTED" not in answer["watched"]
        assert answer["ice_servers"] == [{"urls": "stun:stun.example"}]
        assert answer["organisation"] == organisation.name

    @pytest.mark.parametrize("days", [3, 0])
    def test_candidates_are_told_how_long_pictures_of_this_exam_are_kept(
        self, organisation: Organisation, settings: Any, days: int
    ) -> None:
        exam = make_exam(organisation)
        RetentionPolicy.objects.create(organisation=organisation, exam=exam, evidence_days=days)
        of_exam, of_none = make_session(organisation, exam=exam), make_session(organisation)
        told = [read(joining(join_token_mint(one)), one.id)[1]["evidence_days"] for one in (of_exam, of_none)]
        assert told == [days, settings.EVIDENCE_DAYS]

    def test_without_biometrics_candidates_are_told_of_no_comparison_and_of_no_pictures(
        self, organisation: Organisation
    ) -> None:
        compared = make_session(organisation)
        other = session_start(organisation=organisation, candidate_id="eve", overrides=dict(WITHOUT))
        told, told_without = (read(joining(join_token_mint(one)), one.id)[1] for one in (compared, other))
        assert {"FACE_MISMATCH", "NO_FACE"} <= set(told["watched"])
        assert set(told["watched"]) - set(told_without["watched"]) == {"FACE_MISMATCH", "IDENTITY_UNSURE"}
        for what in ("pictures_kept", "biometric"):
            assert (told[what], told_without[what]) == (True, False)

    @pytest.mark.parametrize(("transcript", "told"), [({}, False), ({"enabled": True, "keywords": ["answer"]}, True)])
    def test_candidates_are_told_of_keywords_where_any_are_looked_for(
        self, organisation: Organisation, transcript: dict[str, Any], told: bool
    ) -> None:
        session = make_session(organisation, overrides={"detectors": {"transcript": transcript}})
        watched = read(joining(join_token_mint(session)), session.id)[1]["watched"]
        assert ("KEYWORD_SPOKEN" in watched) is told

    def test_an_organisation_without_a_name_of_its_own_is_not_called_default(self, organisation: Organisation) -> None:
        organisation.name = "Default"
        organisation.save()
        session = make_session(organisation)
        assert read(joining(join_token_mint(session)), session.id)[1]["organisation"] is None


class TestJoinToken:
    def test_another_sessions_token_is_refused(self, organisation: Organisation) -> None:
        own, other = make_session(organisation), make_session(organisation)
        for address in (other.id, other.session_id, "nothing"):
            status, answer = read(joining(join_token_mint(own)), address)
            assert (status, answer["code"]) == (403, "token_wrong_session")

    def test_an_expired_token_is_refused(self, organisation: Organisation) -> None:
        session = make_session(organisation, planned_end_at=timezone.now() - timedelta(hours=1))
        status, answer = read(joining(join_token_mint(session)), session.id)
        assert (status, answer["code"]) == (401, "token_expired")

    def test_a_forged_token_is_refused(self, organisation: Organisation) -> None:
        session = make_session(organisation)
        claims = tokens.JoinClaims(str(session.id), 1.0, timezone.now().timestamp() + 60, 2.0, 1.0)
        for token in (tokens.mint(claims, key="k" * 40), "a.b.c", "x"):
            status, answer = read(joining(token), session.id)
            assert (status, answer["code"]) == (401, "token_invalid")

    @pytest.mark.parametrize("claimed", [str(uuid.uuid4()), "not-a-uuid"])
    def test_a_token_for_a_session_that_is_no_more_is_refused(
        self, organisation: Organisation, settings: Any, claimed: str
    ) -> None:
        claims = tokens.JoinClaims(claimed, 1.0, timezone.now().timestamp() + 60, 2.0, 1.0)
        status, answer = read(joining(tokens.mint(claims, key=settings.JOIN_TOKEN_KEY)), claimed)
        assert (status, answer["code"]) == (401, "token_invalid")

    def test_it_neither_ends_nor_lists_nor_starts(self, organisation: Organisation) -> None:
        session = make_session(organisation)
        client = joining(join_token_mint(session))
        for response in (
            client.post(f"/api/v1/session/{session.id}/end"),
            client.get("/api/v1/admin/sessions"),
            client.post("/api/v1/session/start", {"candidate_id": "ada"}, format="json"),
            client.get(f"/api/v1/enroll/{session.candidate.candidate_id}"),
        ):
            assert (response.status_code, response.json()["code"]) == (401, "key_invalid")
            assert "takes API keys" in response.json()["detail"]

    def test_after_the_end_the_page_learns_that_it_is_over(self, organisation: Organisation) -> None:
        session = make_session(organisation, state="ended", ended_at=timezone.now())
        status, answer = read(joining(join_token_mint(session)), session.id)
        assert (status, answer["state"]) == (200, "ended")


def queued(redis_client: Redis) -> list[dict[str, Any]]:
    """Return the keyword arguments of the end messages on the queue."""
    messages = [json.loads(raw) for raw in redis_client.lrange(QUEUE_AUDIO, 0, -1)]  # type: ignore[union-attr]
    bodies = [json.loads(base64.b64decode(m["body"])) for m in messages if m["headers"]["task"] == TASK_CLOSE_SESSION]
    return [body[1] for body in bodies]


@pytest.mark.django_db(transaction=True)
class TestEnd:
    def test_it_ends_and_tells_gateways_and_workers(
        self, client: APIClient, organisation: Organisation, redis_client: Redis
    ) -> None:
        session = make_session(organisation, session_id="s-1", planned_end_at=timezone.now() + timedelta(minutes=10))
        listener = redis_client.pubsub()
        listener.subscribe(CONTROL_CHANNEL)
        assert listener.get_message(timeout=2)["type"] == "subscribe"

        response = client.post("/api/v1/session/s-1/end")

        assert response.status_code == 200
        assert (response.json()["state"], response.json()["end_reason"]) == ("ended", "requested")
        session.refresh_from_db()
        assert session.ended_at is not None
        assert session.closed_at is None
        told = listener.get_message(timeout=2)
        assert json.loads(told["data"]) == {"action": "end", "session_id": str(session.id)}
        assert 1400 < redis_client.ttl(revoked_key(str(session.id))) <= 600 + 900 + 1  # type: ignore[operator]
        assert queued(redis_client) == [
            {"session_id": str(session.id), "ended_at": pytest.approx(session.ended_at.timestamp())}
        ]

    def test_ending_twice_is_said_and_told_once(
        self, client: APIClient, organisation: Organisation, redis_client: Redis
    ) -> None:
        make_session(organisation, session_id="s-1")
        assert client.post("/api/v1/session/s-1/end").status_code == 200
        response = client.post("/api/v1/session/s-1/end")
        assert (response.status_code, response.json()["code"]) == (409, "session_ended")
        assert len(queued(redis_client)) == 1

    def test_another_organisation_cannot_end_it(self, organisation: Organisation) -> None:
        session = make_session(organisation, session_id="s-1")
        _, raw = make_api_key()
        other = APIClient(HTTP_AUTHORIZATION=f"Bearer {raw}")
        for address in ("s-1", session.id):
            response = other.post(f"/api/v1/session/{address}/end")
            assert (response.status_code, response.json()["code"]) == (404, "session_unknown")
            assert read(other, address)[1]["code"] == "session_unknown"
        session.refresh_from_db()
        assert session.state == "created"

    def test_without_redis_the_end_holds_and_the_sweep_tells_it_later(
        self, client: APIClient, organisation: Organisation, redis_client: Redis, settings: Any
    ) -> None:
        session = make_session(organisation, session_id="s-1")
        with away(settings):
            assert client.post("/api/v1/session/s-1/end").status_code == 200
        assert queued(redis_client) == []
        ExamSession.objects.update(ended_at=timezone.now() - timedelta(seconds=30))
        swept = sweep_sessions()
        assert (swept.ended, swept.closed_again, swept.revoked_again) == (0, 1, 1)
        assert [message["session_id"] for message in queued(redis_client)] == [str(session.id)]
        assert redis_client.exists(revoked_key(str(session.id)))


class away:  # noqa: N801  # reads as a word: with away(settings)
    """Point the process's Redis client at a port nobody listens on."""

    def __init__(self, settings: Any) -> None:
        self._settings, self._url = settings, settings.REDIS_URL

    def __enter__(self) -> None:
        self._settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"

    def __exit__(self, *_: object) -> None:
        self._settings.REDIS_URL = self._url


class TestEnrolOnJoin:
    @staticmethod
    def body(*images: bytes) -> dict[str, Any]:
        return {
            "images": [base64.b64encode(image).decode() for image in images],
            "consent": {"version": "1", "given_at": timezone.now().isoformat(), "locale": "en"},
        }

    def post(self, session: ExamSession, *images: bytes) -> Any:
        client = joining(join_token_mint(session))
        return client.post(f"/api/v1/session/{session.id}/enroll", self.body(*images), format="json")

    @pytest.mark.usefixtures("embedding_worker")
    def test_the_candidate_enrols_once(self, organisation: Organisation, photographs: dict[str, bytes]) -> None:
        candidate = make_candidate(organisation)
        session = ExamSession.objects.create(
            organisation=organisation,
            session_id="s-1",
            candidate=candidate,
            policy=make_session(organisation).policy,
            planned_end_at=timezone.now() + timedelta(hours=1),
            enroll_on_join=True,
        )
        assert read(joining(join_token_mint(session)), session.id)[1]["enrolled"] is False
        response = self.post(session, photographs["a_1"], photographs["a_2"])
        assert (response.status_code, response.json()["replaced"]) == (201, False)
        assert FaceTemplate.objects.filter(candidate=candidate).exists()
        assert read(joining(join_token_mint(session)), session.id)[1]["enrolled"] is True
        again = self.post(session, photographs["b_1"])
        assert (again.status_code, again.json()["code"]) == (409, "already_enrolled")

    @pytest.mark.usefixtures("embedding_worker")
    def test_poor_pictures_are_named(self, organisation: Organisation) -> None:
        session = make_session(organisation, candidate=make_enrolled_candidate(organisation), enroll_on_join=True)
        FaceTemplate.objects.all().delete()
        response = self.post(session, b"nothing")
        assert (response.status_code, response.json()["code"]) == (422, "image_invalid")

    @pytest.mark.usefixtures("embedding_worker")
    def test_how_alike_pictures_must_be_says_the_sessions_policy(
        self, organisation: Organisation, photographs: dict[str, bytes]
    ) -> None:
        strict = {"rules": {"FACE_MISMATCH": {"enter": 0.999, "exit": 0.999}}}
        candidate = make_enrolled_candidate(organisation)
        session = make_session(organisation, candidate=candidate, overrides=strict, enroll_on_join=True)
        FaceTemplate.objects.all().delete()
        response = self.post(session, photographs["a_1"], photographs["a_2"])
        assert (response.status_code, response.json()["code"]) == (422, "faces_differ")
        assert response.json()["threshold"] == 0.999

    def test_only_where_the_session_was_started_for_it(self, organisation: Organisation) -> None:
        response = self.post(make_session(organisation), b"x")
        assert (response.status_code, response.json()["code"]) == (409, "enrollment_closed")

    def test_not_after_the_end(self, organisation: Organisation) -> None:
        session = make_session(organisation, enroll_on_join=True, state="ended", ended_at=timezone.now())
        response = self.post(session, b"x")
        assert (response.status_code, response.json()["code"]) == (409, "session_ended")

    @pytest.mark.usefixtures("embedding_worker")
    def test_not_when_the_candidate_was_erased_while_the_pictures_were_read(
        self, organisation: Organisation, photographs: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        session, embed = make_session(organisation, enroll_on_join=True), services.images_embed
        FaceTemplate.objects.all().delete()

        def embed_meanwhile(images: Any) -> Any:
            candidate_erase(organisation=organisation, candidate_id=session.candidate.candidate_id, actor=SYSTEM)
            return embed(images)

        monkeypatch.setattr(services, "images_embed", embed_meanwhile)
        response = self.post(session, photographs["a_1"])
        assert (response.status_code, response.json()["code"]) == (409, "session_ended")
        assert not Candidate.objects.exists()

    def test_not_with_another_sessions_token_and_not_with_a_key(
        self, client: APIClient, organisation: Organisation
    ) -> None:
        session, other = make_session(organisation, enroll_on_join=True), make_session(organisation)
        response = joining(join_token_mint(other)).post(
            f"/api/v1/session/{session.id}/enroll", self.body(b"x"), format="json"
        )
        assert (response.status_code, response.json()["code"]) == (403, "token_wrong_session")
        response = client.post(f"/api/v1/session/{session.id}/enroll", self.body(b"x"), format="json")
        assert (response.status_code, response.json()["code"]) == (401, "not_authenticated")
