"""Looking an enrolment up, and erasing it."""

from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient

from accounts.keys import SealError
from accounts.models import DataKey, Organisation, Scope
from enrollment.models import Candidate, FaceTemplate
from enrollment.services import candidate_data_key, template_load
from tests.factories import (
    make_api_key,
    make_candidate,
    make_embedding,
    make_enrolled_candidate,
)

pytestmark = pytest.mark.django_db


def test_the_answer_tells_how_not_what(client: APIClient, organisation: Organisation) -> None:
    make_enrolled_candidate(organisation, "ada")
    answer = client.get("/api/v1/enroll/ada").json()
    assert set(answer) == {"candidate_id", "enrolled_at", "model", "consent", "images", "duplicates"}
    assert (answer["model"], answer["consent"]["version"]) == ("sface-2021dec", "2026-01")
    assert answer["images"][0]["width_px"] == 160.0


@pytest.mark.parametrize("method", ["get", "delete"])
@pytest.mark.parametrize("candidate_id", ["nobody", "%00", "a%0A", "%F0%9F%98%80", "a" * 200, "..", "a%2Fb"])
def test_an_unknown_candidate_is_said(client: APIClient, method: str, candidate_id: str) -> None:
    response = getattr(client, method)(f"/api/v1/enroll/{candidate_id}")
    assert response.status_code == 404
    assert response.json()["code"] in {"candidate_unknown", "not_found"}


@pytest.mark.parametrize("method", ["get", "delete"])
def test_a_candidate_without_template_is_said(client: APIClient, organisation: Organisation, method: str) -> None:
    make_candidate(organisation, "eve")
    response = getattr(client, method)("/api/v1/enroll/eve")
    assert (response.status_code, response.json()["code"]) == (404, "not_enrolled")


@pytest.mark.parametrize("method", ["get", "delete"])
def test_another_organisation_finds_nobody(organisation: Organisation, method: str) -> None:
    make_enrolled_candidate(organisation, "ada")
    _, raw = make_api_key()
    response = getattr(APIClient(HTTP_AUTHORIZATION=f"Bearer {raw}"), method)("/api/v1/enroll/ada")
    assert (response.status_code, response.json()["code"]) == (404, "candidate_unknown")
    assert FaceTemplate.objects.count() == 1


@pytest.mark.parametrize("method", ["get", "delete"])
def test_a_key_for_verifying_neither_reads_nor_erases(organisation: Organisation, method: str) -> None:
    make_enrolled_candidate(organisation, "ada")
    _, raw = make_api_key(organisation, scopes=[Scope.VERIFY])
    response = getattr(APIClient(HTTP_AUTHORIZATION=f"Bearer {raw}"), method)("/api/v1/enroll/ada")
    assert (response.status_code, response.json()["code"]) == (403, "scope_missing")


class TestTemplate:
    def test_it_comes_back_as_it_went_in(self, organisation: Organisation) -> None:
        candidate = make_enrolled_candidate(organisation, embedding=make_embedding(7))
        template = template_load(candidate)
        assert template is not None
        assert template.tobytes() == make_embedding(7).tobytes()

    def test_another_candidates_ciphertext_does_not_open(self, organisation: Organisation) -> None:
        ada, bob = (make_enrolled_candidate(organisation) for _ in range(2))
        FaceTemplate.objects.filter(candidate=ada).update(
            ciphertext=bytes(FaceTemplate.objects.get(candidate=bob).ciphertext)
        )
        with pytest.raises(SealError):
            template_load(Candidate.objects.get(pk=ada.pk))

    def test_another_candidates_key_and_ciphertext_together_do_not_open(self, organisation: Organisation) -> None:
        ada, bob = (make_enrolled_candidate(organisation) for _ in range(2))
        stolen = bytes(FaceTemplate.objects.get(candidate=bob).ciphertext)
        key = bob.data_key
        Candidate.objects.filter(pk=bob.pk).update(data_key=None)
        Candidate.objects.filter(pk=ada.pk).update(data_key=key)
        FaceTemplate.objects.filter(candidate=ada).update(ciphertext=stolen)
        with pytest.raises(SealError):
            template_load(Candidate.objects.get(pk=ada.pk))

    def test_nobody_enrolled_is_none(self, organisation: Organisation) -> None:
        assert template_load(make_candidate(organisation)) is None

    def test_the_data_key_is_made_once(self, organisation: Organisation) -> None:
        candidate = make_candidate(organisation)
        assert candidate_data_key(candidate) == candidate_data_key(Candidate.objects.get(pk=candidate.pk))
        assert DataKey.objects.count() == 1

    def test_with_its_relations_fetched_it_asks_nothing(
        self, organisation: Organisation, django_assert_num_queries: Any
    ) -> None:
        made = make_enrolled_candidate(organisation)
        candidate = Candidate.objects.select_related("data_key", "face_template").get(pk=made.pk)
        with django_assert_num_queries(0):
            assert template_load(candidate) is not None
