"""Comparing a picture with a template, 1:1."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from rest_framework.test import APIClient

from accounts.models import Organisation, Scope
from enrollment.models import FaceTemplate, FailedVerifications
from sessions.policies import policy_default
from tests.embedding_worker import altered
from tests.enrollment.test_enroll import enroll
from tests.factories import make_api_key, make_candidate

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("embedding_worker")]


def verify(client: APIClient, image: bytes, candidate_id: str = "ada") -> Any:
    body = {"candidate_id": candidate_id, "image": base64.b64encode(image).decode()}
    return client.post("/api/v1/verify", body, format="json")


@pytest.fixture
def _ada(client: APIClient, photographs: dict[str, bytes]) -> None:
    assert enroll(client, photographs["a_1"]).status_code == 201


@pytest.mark.usefixtures("_ada")
def test_another_photograph_of_the_same_person_matches(client: APIClient, photographs: dict[str, bytes]) -> None:
    answer = verify(client, photographs["a_2"]).json()
    assert answer["match"] is True
    assert answer["similarity"] > answer["threshold"] == 0.75
    assert answer["comparison_score"] == pytest.approx(0.76, abs=0.05)
    assert answer["model"] == "sface-2021dec"
    assert answer["quality"]["width_px"] > 100


@pytest.mark.usefixtures("_ada")
def test_a_template_that_does_not_open_is_said_and_counts_as_no_failure(
    client: APIClient, photographs: dict[str, bytes]
) -> None:
    enroll(client, photographs["b_1"], candidate_id="bob")
    ada, bob = FaceTemplate.objects.order_by("candidate__candidate_id")
    for ciphertext in (bytes(bob.ciphertext), bytes(ada.ciphertext)[:-1], b""):  # swapped, truncated, none
        FaceTemplate.objects.filter(pk=ada.pk).update(ciphertext=ciphertext)
        answer = verify(client, photographs["a_2"])
        assert (answer.status_code, answer.json()["code"]) == (500, "data_unreadable")
    assert set(FailedVerifications.objects.values_list("count", flat=True)) == {0}


@pytest.mark.usefixtures("_ada")
@pytest.mark.parametrize("stranger", ["b_1", "b_2", "c_1", "d_1"])
def test_a_stranger_does_not_match(client: APIClient, photographs: dict[str, bytes], stranger: str) -> None:
    answer = verify(client, photographs[stranger]).json()
    assert answer["match"] is False
    assert 0 <= answer["similarity"] < 0.75


@pytest.mark.usefixtures("_ada")
def test_the_default_policy_decides_the_threshold(
    client: APIClient, organisation: Organisation, photographs: dict[str, bytes]
) -> None:
    policy = policy_default(organisation=organisation)
    policy.document["rules"]["FACE_MISMATCH"] |= {"enter": 0.9999, "exit": 0.9999}
    policy.save()
    answer = verify(client, photographs["a_2"]).json()
    assert (answer["match"], answer["threshold"]) == (False, 0.9999)


@pytest.mark.usefixtures("_ada")
def test_a_form_with_a_file_verifies_too(client: APIClient, photographs: dict[str, bytes]) -> None:
    file = SimpleUploadedFile("a.jpg", photographs["a_2"], "image/jpeg")
    response = client.post("/api/v1/verify", {"candidate_id": "ada", "image": file}, format="multipart")
    assert response.json()["match"] is True


@pytest.mark.usefixtures("_ada")
def test_a_picture_too_poor_to_decide_on_is_refused(client: APIClient, photographs: dict[str, bytes]) -> None:
    response = verify(client, altered(photographs["a_2"], "blurred"))
    assert (response.status_code, response.json()["code"]) == (422, "image_blurred")


def test_an_unknown_candidate_is_said(client: APIClient, photographs: dict[str, bytes]) -> None:
    response = verify(client, photographs["a_1"], "nobody")
    assert (response.status_code, response.json()["code"]) == (404, "candidate_unknown")


def test_a_candidate_without_template_is_said(
    client: APIClient, organisation: Organisation, photographs: dict[str, bytes]
) -> None:
    make_candidate(organisation, "eve")
    response = verify(client, photographs["a_1"], "eve")
    assert (response.status_code, response.json()["code"]) == (404, "not_enrolled")


@pytest.mark.usefixtures("_ada")
def test_another_organisation_finds_nobody(photographs: dict[str, bytes]) -> None:
    _, raw = make_api_key()
    response = verify(APIClient(HTTP_AUTHORIZATION=f"Bearer {raw}"), photographs["a_2"])
    assert (response.status_code, response.json()["code"]) == (404, "candidate_unknown")


def test_a_key_for_enrolling_does_not_verify(organisation: Organisation, photographs: dict[str, bytes]) -> None:
    _, raw = make_api_key(organisation, scopes=[Scope.ENROLL])
    response = verify(APIClient(HTTP_AUTHORIZATION=f"Bearer {raw}"), photographs["a_2"])
    assert (response.status_code, response.json()["code"]) == (403, "scope_missing")


@pytest.mark.usefixtures("_ada")
def test_a_template_of_another_network_is_not_compared(client: APIClient, photographs: dict[str, bytes]) -> None:
    FaceTemplate.objects.update(model="arcface-r100")
    response = verify(client, photographs["a_2"])
    assert (response.status_code, response.json()["code"]) == (404, "not_enrolled")
    assert "enrol again" in response.json()["detail"]
