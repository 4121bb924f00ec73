"""Erasing a candidate: the key first, then everything, in any order of accidents; and the receipt for it."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import jwt
import pytest
import redis
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import DatabaseError
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.audit import SYSTEM, audit_verify, candidate_subject
from accounts.keys import SealError, open_sealed
from accounts.models import AuditEntry, DataKey, Organisation
from accounts.problems import Problem
from alerts.models import Alert, Delivery, Evidence, Incident
from detection.messages import CONTROL_CHANNEL, audio_key, frame_key
from detection.models import Detection, RuleState
from enrollment.models import Candidate, Consent, Enrollment, Erasure, FaceTemplate
from enrollment.templates import template_load
from proctor_site import erasure, removal
from sessions.biometrics import WITHOUT
from sessions.holds import hold_lift, hold_place
from sessions.models import ExamSession, LegalHold
from tests.alerts import builders
from tests.detection.builders import commit, frame, frames
from tests.factories import (
    make_api_key,
    make_consent,
    make_embedding,
    make_enrolled_candidate,
    make_organisation,
    make_session,
    make_template,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("evidence_dir")]

EVERYTHING = (Candidate, Consent, Enrollment, FaceTemplate, DataKey, ExamSession, Detection, RuleState, Incident,
              Evidence, Alert, Delivery)  # fmt: skip


@pytest.fixture
def organisation() -> Organisation:
    return make_organisation()


@pytest.fixture
def client(organisation: Organisation) -> APIClient:
    _, raw = make_api_key(organisation)
    return APIClient(HTTP_AUTHORIZATION=f"Bearer {raw}")


def watched(organisation: Organisation, name: str) -> ExamSession:
    """A candidate with a session that runs: frames measured, an incident with a picture, an alert on its way."""
    candidate = make_enrolled_candidate(organisation, name)
    session = make_session(candidate=candidate)
    commit(session, [*frames(0, 3), frame(3.5)])
    builders.apply(session, frames={"f1": (builders.ONSET, builders.jpeg())})
    return session


def counts() -> dict[str, int]:
    return {model.__name__: model.objects.count() for model in EVERYTHING}


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def erase(client: APIClient, path: str = "candidates/ada") -> dict[str, Any]:
    response = client.delete(f"/api/v1/{path}")
    assert response.status_code == 200, response.content
    return dict(response.json())


def test_everything_of_one_candidate_goes_and_nothing_of_another(
    client: APIClient, organisation: Organisation, evidence_dir: Path
) -> None:
    builders.subscription(organisation, "https://example.org/hook")
    watched(organisation, "bob")
    before, kept = counts(), files(evidence_dir)
    watched(organisation, "ada")
    assert all(count > before[name] for name, count in counts().items())

    answer = erase(client)

    assert counts() == before
    assert files(evidence_dir) == kept
    assert answer["candidate_id"] == "ada"
    assert answer["kind"] == "everything"
    expected = {"data_keys": 1, "templates": 1, "enrollments": 1, "consents": 1, "candidates": 1, "sessions": 1,
                "sessions_ended": 1, "detections": 7, "evidence_files": 1, "evidence": 1, "deliveries": 1, "alerts": 1,
                "incidents": 1}  # fmt: skip
    assert answer["erased"].items() >= expected.items()
    assert template_load(Candidate.objects.get(candidate_id="bob")) is not None


def test_the_receipt_is_verified_with_the_key_that_its_header_names(
    client: APIClient, organisation: Organisation
) -> None:
    make_enrolled_candidate(organisation, "ada")
    answer = erase(client)

    header = jwt.get_unverified_header(answer["receipt"])
    key = APIClient().get(f"/api/v1/receipt-keys/{header['kid']}")  # without any credentials
    claims = jwt.decode(answer["receipt"], jwt.PyJWK(key.json()), algorithms=["EdDSA"])

    assert (claims["sub"], claims["jti"], claims["erased"]) == ("ada", answer["receipt_id"], answer["erased"])
    assert key.json().keys() == {"kty", "crv", "use", "alg", "kid", "x"}
    body = answer["receipt"].split(".")
    forged = ".".join(
        (body[0], jwt.utils.base64url_encode(json.dumps({**claims, "sub": "bob"}).encode()).decode(), body[2])
    )
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(forged, jwt.PyJWK(key.json()), algorithms=["EdDSA"])


def test_keys_for_other_purposes_are_not_served(organisation: Organisation) -> None:
    key_id = organisation.own_keys.create(purpose="search", wrapped_key=b"x", kek_id="k").id
    for unknown in (key_id, uuid.uuid4()):
        answer = APIClient().get(f"/api/v1/receipt-keys/{unknown}")
        assert (answer.status_code, answer.json()["code"]) == (404, "receipt_key_unknown")


def test_asked_again_it_answers_with_the_same_receipt(client: APIClient, organisation: Organisation) -> None:
    make_enrolled_candidate(organisation, "ada")
    assert erase(client) == erase(client)
    assert Erasure.objects.count() == 1


def test_who_was_never_there_is_unknown(client: APIClient) -> None:
    for name in ("nobody", "no body", "a" * 129):
        answer = client.delete(f"/api/v1/candidates/{name}")
        assert (answer.status_code, answer.json()["code"]) == (404, "candidate_unknown")


def test_another_organisations_candidate_of_the_same_name_stays(client: APIClient, organisation: Organisation) -> None:
    other = make_enrolled_candidate(make_organisation(), "ada")
    make_enrolled_candidate(organisation, "ada")
    erase(client)
    assert template_load(Candidate.objects.get(pk=other.pk)) is not None
    stranger = make_api_key(make_organisation())[1]
    again = APIClient(HTTP_AUTHORIZATION=f"Bearer {stranger}").delete("/api/v1/candidates/ada")
    assert again.json()["code"] == "candidate_unknown"


def test_nothing_that_is_kept_holds_the_candidates_id(client: APIClient, organisation: Organisation) -> None:
    session = watched(organisation, "ada-lovelace")
    LogEntry.objects.create(
        user=builders.staff(organisation), content_type=ContentType.objects.get_for_model(Candidate),
        object_id=session.candidate_id, object_repr="ada-lovelace", action_flag=CHANGE,
    )  # fmt: skip
    erase(client, "candidates/ada-lovelace")
    kept = json.dumps(
        [*Erasure.objects.values(), *AuditEntry.objects.values(), *LogEntry.objects.values()], default=str
    )
    assert "ada-lovelace" not in kept
    assert not LogEntry.objects.exists()


def test_what_the_admin_noted_about_holds_goes_too(client: APIClient, organisation: Organisation) -> None:
    session, other = watched(organisation, "ada-lovelace"), watched(organisation, "bob")
    person = Client()
    person.force_login(builders.staff(organisation, superuser=True))
    add = reverse("admin:exam_sessions_legalhold_add")
    for held in ({"candidate": session.candidate.pk}, {"session": str(session.pk)}, {"candidate": other.candidate.pk}):
        assert person.post(add, {"reason": "appeal 12", **held}).status_code == 302
    for hold in LegalHold.objects.all():
        hold_lift(hold=hold, actor=SYSTEM)
    assert LogEntry.objects.count() == 3  # each names whom it holds

    erase(client, "candidates/ada-lovelace")

    assert [entry.object_repr for entry in LogEntry.objects.all()] == ["on bob"]


def test_the_audit_log_keeps_the_fact(client: APIClient, organisation: Organisation) -> None:
    make_enrolled_candidate(organisation, "ada")
    answer = erase(client)
    entry = AuditEntry.objects.get(action="candidate.erased")
    assert entry.subject == candidate_subject(organisation=organisation, candidate_id="ada")
    assert (entry.actor_kind, entry.details["receipt"]) == ("key", answer["receipt_id"])
    assert list(audit_verify(organisation)) == []


def test_frames_in_redis_go_too_and_gateways_are_told(
    client: APIClient, organisation: Organisation, redis_client: redis.Redis, django_capture_on_commit_callbacks: Any
) -> None:
    session, other = watched(organisation, "ada"), watched(organisation, "bob")
    for of in (session, other):
        redis_client.set(frame_key(str(of.id), "f1"), b"jpeg")
        redis_client.set(audio_key(str(of.id), "w1"), b"pcm")
    listening = redis_client.pubsub(ignore_subscribe_messages=True)
    listening.subscribe(CONTROL_CHANNEL)
    listening.get_message(timeout=1)

    with django_capture_on_commit_callbacks(execute=True):
        answer = erase(client)

    assert answer["erased"]["frames"] >= 2
    left = {key.decode() for key in redis_client.scan_iter("[fa]*:*")}
    assert left == {frame_key(str(other.id), "f1"), audio_key(str(other.id), "w1")}
    told = listening.get_message(timeout=5)
    assert told is not None
    assert json.loads(told["data"]) == {"action": "end", "session_id": str(session.id)}


STEPS = ["frames_forget", "sessions_remove", "biometrics_remove", "log_entries_remove", "audit_write"]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.django_db(transaction=True)
def test_broken_off_anywhere_the_key_is_gone_and_the_next_try_finishes(
    client: APIClient, organisation: Organisation, monkeypatch: pytest.MonkeyPatch, step: str, evidence_dir: Path
) -> None:
    before = counts()
    watched(organisation, "ada")

    def fail(*_: Any, **__: Any) -> Any:
        raise DatabaseError("the server went away")

    with monkeypatch.context() as patch:
        patch.setattr(erasure, step, fail)
        assert client.delete("/api/v1/candidates/ada").status_code == 500
    assert not DataKey.objects.exists()
    assert Candidate.objects.filter(candidate_id="ada").exists()

    answer = erase(client)

    assert counts() == before
    assert files(evidence_dir) == []
    assert answer["erased"]["data_keys"] == answer["erased"]["candidates"] == answer["erased"]["detections"] / 7 == 1
    assert Erasure.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_the_sweep_finishes_what_nobody_asks_for_again(
    client: APIClient, organisation: Organisation, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched(organisation, "ada")
    with monkeypatch.context() as patch:
        patch.setattr(removal, "detections_remove", lambda _: 1 / 0)
        client.delete("/api/v1/candidates/ada")
    assert erasure.erasures_resume() == 0  # its process may still be at work
    Erasure.objects.update(begun_at=timezone.now() - 2 * erasure.ABANDONED_AFTER)
    assert erasure.erasures_resume() == 1
    assert not Candidate.objects.exists()
    entry = AuditEntry.objects.get(action="candidate.erased")
    assert entry.actor_kind == "key"
    assert erasure.erasures_resume() == 0


@pytest.mark.django_db(transaction=True)
def test_one_that_fails_every_time_holds_up_none_of_the_others(
    client: APIClient, organisation: Organisation, monkeypatch: pytest.MonkeyPatch, evidence_dir: Path
) -> None:
    stuck = evidence_dir / Evidence.objects.get(session=watched(organisation, "ada")).storage_name
    make_enrolled_candidate(organisation, "bob")
    stuck.unlink()
    (stuck / "inside").mkdir(parents=True)  # what cannot be removed, also by root
    with monkeypatch.context() as patch:
        patch.setattr(erasure, "frames_forget", lambda _: 1 / 0)
        for name in ("ada", "bob"):
            client.delete(f"/api/v1/candidates/{name}")
    Erasure.objects.update(begun_at=timezone.now() - 2 * erasure.ABANDONED_AFTER)

    assert erasure.erasures_resume() == 1

    assert [candidate.candidate_id for candidate in Candidate.objects.all()] == ["ada"]
    (stuck / "inside").rmdir()
    assert erasure.erasures_resume() == 1
    assert not Candidate.objects.exists()


def test_while_it_runs_nobody_enrols_anew_and_no_hold_is_placed(client: APIClient, organisation: Organisation) -> None:
    candidate = make_enrolled_candidate(organisation, "ada")
    Erasure.objects.create(organisation=organisation, candidate=candidate, subject="x", kind="everything")
    accommodations = client.put("/api/v1/candidates/ada/accommodations", {"accommodations": {}}, format="json")
    start = client.post("/api/v1/session/start", {"candidate_id": "ada"}, format="json")
    for answer in (accommodations, start):
        assert (answer.status_code, answer.json()["code"]) == (409, "erasure_running")
    with pytest.raises(Exception, match="erasure_running"):
        hold_place(actor=SYSTEM, reason="too late", candidate=candidate)


@pytest.mark.parametrize(("on", "code"), [("session", "session_unknown"), ("candidate", "candidate_unknown")])
def test_a_hold_on_what_was_removed_while_the_reason_was_written_is_refused(
    organisation: Organisation, on: str, code: str
) -> None:
    session = watched(organisation, "ada")
    held = {"session": session} if on == "session" else {"candidate": session.candidate}
    if on == "session":
        removal.sessions_remove([session.pk])
    else:
        erasure.candidate_erase(organisation=organisation, candidate_id="ada", actor=SYSTEM)
    with pytest.raises(Problem) as refused:
        hold_place(actor=SYSTEM, reason="appeal", **held)  # type: ignore[arg-type]
    assert refused.value.code == code
    assert not LegalHold.objects.exists()


@pytest.mark.parametrize("path", ["candidates/ada", "enroll/ada"])
@pytest.mark.parametrize("on", ["candidate", "session"])
def test_a_legal_hold_refuses(client: APIClient, organisation: Organisation, path: str, on: str) -> None:
    session = watched(organisation, "ada")
    held = {"session": session} if on == "session" else {"candidate": session.candidate}
    hold = hold_place(actor=SYSTEM, reason="appeal 12", **held)  # type: ignore[arg-type]
    before = counts()

    answer = client.delete(f"/api/v1/{path}")

    assert (answer.status_code, answer.json()["code"]) == (409, "legal_hold")
    assert counts() == before
    hold_lift(hold=hold, actor=SYSTEM)
    erase(client, path)
    holds = AuditEntry.objects.filter(action__startswith="hold.").order_by("sequence")
    assert [entry.action for entry in holds] == ["hold.placed", "hold.lifted"]


# --- The enrolment alone ----------------------------------------------------------------------------------------------
def test_erasing_an_enrolment_destroys_key_template_pictures_and_keeps_sessions_and_consent(
    client: APIClient, organisation: Organisation, evidence_dir: Path
) -> None:
    session, bob = watched(organisation, "ada"), make_enrolled_candidate(organisation, "bob")
    ada = session.candidate
    make_template(ada, make_embedding(2))
    template = FaceTemplate.objects.get(candidate=ada)

    answer = erase(client, "enroll/ada")

    assert answer["kind"] == "enrollment"
    expected = {"data_keys": 1, "templates": 1, "enrollments": 2, "evidence_files": 1, "sessions_ended": 1}
    assert answer["erased"].items() >= expected.items()
    ada = Candidate.objects.get(pk=ada.pk)
    assert (ada.data_key, template_load(ada)) == (None, None)
    assert [consent.withdrawn_at is not None for consent in ada.consents.all()] == [True, True]
    assert Incident.objects.filter(session=session).exists()
    assert Evidence.objects.get().removed_at is not None
    assert files(evidence_dir) == []
    assert template_load(Candidate.objects.get(pk=bob.pk)) is not None
    with pytest.raises(SealError):  # what a backup of the row would hold opens under no key that is left
        open_sealed(template.ciphertext, data_key=DataKey.objects.get(), purpose="x", row="y")


@pytest.mark.django_db(transaction=True)
def test_no_session_that_compares_starts_while_an_enrolment_is_being_erased(
    client: APIClient, organisation: Organisation, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_enrolled_candidate(organisation, "ada")
    monkeypatch.setattr(erasure, "frames_forget", lambda _: 1 / 0)
    assert client.delete("/api/v1/enroll/ada").status_code == 500
    compared = client.post("/api/v1/session/start", {"candidate_id": "ada"}, format="json")
    assert (compared.status_code, compared.json()["code"]) == (409, "consent_missing")
    body = {"candidate_id": "ada", "policy": dict(WITHOUT)}
    assert client.post("/api/v1/session/start", body, format="json").status_code == 201


def test_a_running_session_that_compares_nobody_goes_on(client: APIClient, organisation: Organisation) -> None:
    candidate = make_enrolled_candidate(organisation, "ada")
    off = {"detectors": {"identity": {"enabled": False}, "voice": {"enabled": False}}}
    compared, watched_only = make_session(candidate=candidate), make_session(candidate=candidate, overrides=off)
    assert erase(client, "enroll/ada")["erased"]["sessions_ended"] == 1
    compared.refresh_from_db()
    watched_only.refresh_from_db()
    assert (compared.state, compared.end_reason, watched_only.state) == ("ended", "erased", "created")


def test_an_erased_enrolment_answers_with_its_receipt_and_one_that_never_was_says_so(
    client: APIClient, organisation: Organisation
) -> None:
    make_enrolled_candidate(organisation, "ada")
    assert erase(client, "enroll/ada") == erase(client, "enroll/ada")
    Candidate.objects.create(organisation=organisation, candidate_id="bob")
    answer = client.delete("/api/v1/enroll/bob")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_enrolled")
    assert client.delete("/api/v1/enroll/nobody").json()["code"] == "candidate_unknown"


def test_who_enrols_anew_can_be_erased_anew(client: APIClient, organisation: Organisation) -> None:
    candidate = make_enrolled_candidate(organisation, "ada")
    first = erase(client, "enroll/ada")
    make_consent(candidate)
    make_template(Candidate.objects.get(pk=candidate.pk))
    second = erase(client, "enroll/ada")
    assert first["receipt_id"] != second["receipt_id"]
    everything = erase(client)
    assert everything["kind"] == "everything"
    assert erase(client, "enroll/ada") == everything


def test_a_storage_that_is_away_holds_up_the_rest_and_the_key_is_gone(
    client: APIClient, organisation: Organisation, evidence_dir: Path
) -> None:
    session = watched(organisation, "ada")
    file = evidence_dir / Evidence.objects.get(session=session).storage_name
    file.unlink()
    (file / "inside").mkdir(parents=True)  # what cannot be removed, also by root

    answer = client.delete("/api/v1/candidates/ada")

    assert (answer.status_code, answer.json()["code"]) == (503, "storage_unavailable")
    assert not DataKey.objects.exists()
    (file / "inside").rmdir()
    erase(client)
    assert not Candidate.objects.exists()
