"""Consent is there before anything biometric is, in a version that is in force; withdrawn, everything of it stops."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.audit import candidate_subject
from accounts.models import AuditEntry, Organisation
from accounts.problems import Problem
from detection.contexts import SessionContexts
from enrollment.consents import ConsentGiven, consent_record, consent_text, has_consented
from enrollment.models import Candidate, Consent, ConsentText, FaceTemplate
from enrollment.services import candidate_verify
from sessions import services
from sessions.biometrics import WITHOUT, is_biometric
from sessions.joining import join_token_mint
from sessions.models import ExamSession
from tests.factories import make_api_key, make_consent, make_enrolled_candidate, make_organisation, make_session

pytestmark = pytest.mark.django_db


@pytest.fixture
def organisation() -> Organisation:
    return make_organisation()


@pytest.fixture
def client(organisation: Organisation) -> APIClient:
    _, raw = make_api_key(organisation)
    return APIClient(HTTP_AUTHORIZATION=f"Bearer {raw}")


def context(session: ExamSession) -> Any:
    return SessionContexts().get([str(session.id)])[str(session.id)]


def compares(session: ExamSession) -> tuple[bool, bool, bool]:
    """Whether a worker has a template, looks for faces it knows, and for voices it knows."""
    found = context(session)
    return found.template is not None, found.policy.detectors.identity.enabled, found.policy.detectors.voice.enabled


# --- Texts ------------------------------------------------------------------------------------------------------------
def publish(organisation: Organisation, version: str, locale: str = "en", **fields: Any) -> ConsentText:
    fields = {"published_at": timezone.now() - timedelta(days=1), "text": f"Text {version}"} | fields
    return ConsentText.objects.create(organisation=organisation, version=version, locale=locale, **fields)


def given(version: str, locale: str = "en") -> ConsentGiven:
    return ConsentGiven(version, timezone.now(), locale)


def test_without_texts_of_its_own_an_organisation_takes_any_version(organisation: Organisation) -> None:
    publish(make_organisation(), "other")
    given("whatever").require_acceptable(organisation)


@pytest.mark.parametrize(
    ("version", "locale", "taken"),
    [("v2", "de", True), ("v2", "de-AT", True), ("v2", "DE_at", True), ("v2", "en", False), ("v1", "de", False),
     ("v3", "de", False), ("v4", "de", False), ("v2", "deu", False)],
)  # fmt: skip
def test_only_texts_in_force_in_their_language_will_do(
    organisation: Organisation, version: str, locale: str, taken: bool
) -> None:
    publish(organisation, "v1", "de", retired_at=timezone.now())
    publish(organisation, "v2", "de")
    publish(organisation, "v3", "de", published_at=None)
    publish(organisation, "v4", "de", published_at=timezone.now() + timedelta(days=1))
    if taken:
        given(version, locale).require_acceptable(organisation)
        return
    with pytest.raises(Problem) as refused:
        given(version, locale).require_acceptable(organisation)
    assert refused.value.code == "consent_invalid"
    assert refused.value.members["errors"] == {"consent.version": ["must be one of v2 (de)"]}


def test_an_enrolment_under_a_text_not_in_force_is_refused_before_any_picture_is_read(
    client: APIClient, organisation: Organisation
) -> None:
    publish(organisation, "v2")
    body = {
        "candidate_id": "ada", "images": ["bm90IGEgcGljdHVyZQ=="],
        "consent": {"version": "v1", "given_at": timezone.now().isoformat(), "locale": "en"},
    }  # fmt: skip
    answer = client.post("/api/v1/enroll", body, format="json")
    assert (answer.status_code, answer.json()["code"]) == (422, "consent_invalid")
    assert not Candidate.objects.exists()


def test_the_page_is_given_the_newest_text_in_its_language(organisation: Organisation) -> None:
    assert consent_text(organisation=organisation) is None
    publish(organisation, "v1", published_at=timezone.now() - timedelta(days=9))
    at = timezone.now() - timedelta(days=1)
    german, english = (publish(organisation, "v2", locale, published_at=at) for locale in ("de", "en-GB"))
    assert consent_text(organisation=organisation, locale="en") == english
    assert consent_text(organisation=organisation, locale="fr") == german

    session = services.session_start(organisation=organisation, candidate_id="ada", enroll_on_join=True)
    joined = APIClient(HTTP_AUTHORIZATION=f"Bearer {join_token_mint(session)}").get(f"/api/v1/session/{session.id}")
    assert joined.json()["consent_text"] == {"version": "v2", "locale": "en-GB", "text": "Text v2"}


# --- Live -------------------------------------------------------------------------------------------------------------
def test_frames_of_who_has_agreed_are_compared() -> None:
    assert compares(make_session()) == (True, True, True)


def test_frames_of_who_has_not_agreed_or_not_any_more_are_compared_with_nothing(organisation: Organisation) -> None:
    never = services.session_start(organisation=organisation, candidate_id="ada", enroll_on_join=True)
    assert compares(never) == (False, False, False)
    session = make_session()
    Consent.objects.filter(candidate=session.candidate).update(withdrawn_at=timezone.now())
    assert compares(session) == (False, False, False)
    assert context(session).policy.detectors.faces.enabled


def test_consent_given_anew_counts() -> None:
    session = make_session()
    Consent.objects.update(withdrawn_at=timezone.now())
    make_consent(session.candidate)
    assert compares(session) == (True, True, True)


# --- Withdrawal -------------------------------------------------------------------------------------------------------
def test_withdrawing_ends_what_compares_and_leaves_what_does_not(
    client: APIClient, organisation: Organisation, django_capture_on_commit_callbacks: Any, redis_client: Any
) -> None:
    candidate = make_enrolled_candidate(organisation, "ada")
    compared, watched = make_session(candidate=candidate), make_session(candidate=candidate, overrides=dict(WITHOUT))
    other = make_session(organisation)

    with django_capture_on_commit_callbacks(execute=True):
        answer = client.post("/api/v1/candidates/ada/consent/withdraw")

    assert answer.json() == {"candidate_id": "ada", "consents": 1, "sessions_ended": [compared.session_id]}
    for session in (compared, watched, other):
        session.refresh_from_db()
    assert (compared.state, compared.end_reason) == ("ended", "consent_withdrawn")
    assert (watched.state, other.state) == ("created", "created")
    assert redis_client.exists(f"revoked:{compared.id}")
    entry = AuditEntry.objects.get(action="consent.withdrawn")
    assert entry.subject == candidate_subject(organisation=organisation, candidate_id="ada")
    assert Consent.objects.get(candidate=candidate).withdrawn_at is not None
    assert FaceTemplate.objects.filter(candidate=candidate).exists()  # erasing is asked for on its own


def test_the_candidate_withdraws_with_the_sessions_own_token(organisation: Organisation) -> None:
    session, other = make_session(organisation), make_session(organisation)
    mine = APIClient(HTTP_AUTHORIZATION=f"Bearer {join_token_mint(session)}")
    refused = mine.post(f"/api/v1/session/{other.id}/consent/withdraw")
    assert refused.json()["code"] == "token_wrong_session"

    assert mine.post(f"/api/v1/session/{session.id}/consent/withdraw").json()["consents"] == 1

    session.refresh_from_db()
    assert session.end_reason == "consent_withdrawn"
    entry = AuditEntry.objects.get(action="consent.withdrawn")
    assert (entry.actor_kind, entry.actor) == ("candidate", str(session.id))
    again = mine.post(f"/api/v1/session/{session.id}/consent/withdraw")
    assert again.json() == {"candidate_id": session.candidate.candidate_id, "consents": 0, "sessions_ended": []}
    assert AuditEntry.objects.count() == 1


def test_after_it_nothing_is_compared_and_no_such_session_starts(client: APIClient, organisation: Organisation) -> None:
    make_enrolled_candidate(organisation, "ada")
    client.post("/api/v1/candidates/ada/consent/withdraw")
    with pytest.raises(Problem, match="consent_missing"):  # before the picture is looked at
        candidate_verify(organisation=organisation, candidate_id="ada", image=b"", threshold=0.5)
    answer = client.post("/api/v1/session/start", {"candidate_id": "ada"}, format="json")
    assert (answer.status_code, answer.json()["code"]) == (409, "consent_missing")


@pytest.mark.parametrize("backdated_s", [0, 7200])
def test_withdrawn_consent_is_not_given_anew_by_sending_it_again(
    client: APIClient, organisation: Organisation, backdated_s: int
) -> None:
    candidate = make_enrolled_candidate(organisation, "ada")
    first = Consent.objects.get(candidate=candidate)
    client.post("/api/v1/candidates/ada/consent/withdraw")
    given_at = first.given_at - timedelta(seconds=backdated_s)
    consent = {"version": first.version, "given_at": given_at.isoformat(), "locale": first.locale}
    body = {"candidate_id": "ada", "images": ["bm90IGEgcGljdHVyZQ=="], "consent": consent}

    answer = client.post("/api/v1/enroll", body, format="json")  # no worker runs: none is asked

    assert (answer.status_code, answer.json()["code"]) == (422, "consent_invalid")
    assert list(answer.json()["errors"]) == ["consent.given_at"]
    assert not Consent.objects.filter(withdrawn_at=None).exists()


def test_consent_given_after_a_withdrawal_counts(organisation: Organisation) -> None:
    candidate = make_enrolled_candidate(organisation)
    Consent.objects.update(withdrawn_at=timezone.now() - timedelta(seconds=1))
    consent = consent_record(candidate=candidate, given=given("2026-01"))
    assert consent.withdrawn_at is None
    assert has_consented(candidate)
    assert consent_record(candidate=candidate, given=ConsentGiven("2026-01", consent.given_at, "en")) == consent


def test_another_organisations_candidate_cannot_be_withdrawn_for(client: APIClient) -> None:
    make_enrolled_candidate(make_organisation(), "ada")
    assert client.post("/api/v1/candidates/ada/consent/withdraw").json()["code"] == "candidate_unknown"
    assert Consent.objects.get().withdrawn_at is None


# --- Without biometrics -----------------------------------------------------------------------------------------------
def test_who_does_not_agree_sits_the_exam_without_biometrics(client: APIClient, organisation: Organisation) -> None:
    answer = client.post("/api/v1/session/start", {"candidate_id": "ada", "policy": dict(WITHOUT)}, format="json")
    assert answer.status_code == 201
    session = ExamSession.objects.get()
    assert not is_biometric(session.policy)
    assert compares(session) == (False, False, False)
    assert not FaceTemplate.objects.exists()


def test_who_withdrew_sits_the_next_exam_without_biometrics(client: APIClient, organisation: Organisation) -> None:
    make_enrolled_candidate(organisation, "ada")
    client.post("/api/v1/candidates/ada/consent/withdraw")
    body = {"candidate_id": "ada", "policy": dict(WITHOUT)}
    assert client.post("/api/v1/session/start", body, format="json").status_code == 201


@pytest.mark.parametrize("left_on", ["identity", "voice"])
def test_one_detector_left_on_is_biometric_enough(client: APIClient, left_on: str) -> None:
    policy = {"detectors": {name: {"enabled": name == left_on} for name in ("identity", "voice")}}
    answer = client.post("/api/v1/session/start", {"candidate_id": "ada", "policy": policy}, format="json")
    assert (answer.status_code, answer.json()["code"]) == (404, "candidate_unknown")
