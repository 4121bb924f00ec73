"""Enrolling over REST: with real pictures, a real queue, a real worker and its real models."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone
from redis import Redis
from rest_framework.test import APIClient

from accounts.audit import candidate_subject
from accounts.models import AuditEntry, DataKey, Organisation
from detection.engine import quality
from detection.engine.likeness import similarity
from detection.engine.policy import merge
from detection.worker import get_engine
from enrollment import embedding
from enrollment.models import Candidate, Consent, Enrollment, FaceTemplate
from enrollment.services import template_load
from enrollment.tasks import image_read
from sessions.models import default_policy_document
from tests.embedding_worker import altered
from tests.factories import make_enrolled_candidate, make_policy

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("embedding_worker")]

QUALITY = {"width_px", "sharpness", "brightness", "contrast", "yaw_deg", "pitch_deg", "clarity"}


def consent(**fields: Any) -> dict[str, Any]:
    return {"version": "2026-01", "given_at": timezone.now().isoformat(), "locale": "de-AT"} | fields


def body(*images: bytes, **fields: Any) -> dict[str, Any]:
    encoded = [base64.b64encode(image).decode() for image in images]
    return {"candidate_id": "ada", "images": encoded, "consent": consent()} | fields


def enroll(client: APIClient, *images: bytes, **fields: Any) -> Any:
    return client.post("/api/v1/enroll", body(*images, **fields), format="json")


def test_an_enrolment_makes_a_sealed_template(
    client: APIClient, organisation: Organisation, photographs: dict[str, bytes]
) -> None:
    response = enroll(client, photographs["a_1"])
    assert response.status_code == 201, response.json()
    answer = response.json()
    assert (answer["candidate_id"], answer["replaced"], answer["model"]) == ("ada", False, "sface-2021dec")
    assert [set(quality) for quality in answer["images"]] == [QUALITY]
    candidate = Candidate.objects.get(organisation=organisation, candidate_id="ada")
    template = template_load(candidate)
    assert template is not None
    assert template.shape == (128,)
    assert np.linalg.norm(template) == pytest.approx(1.0, abs=1e-5)
    stored = FaceTemplate.objects.get(candidate=candidate)
    assert template[:8].tobytes() not in bytes(stored.ciphertext)
    given = Consent.objects.get(candidate=candidate)
    assert (given.version, given.locale) == ("2026-01", "de-AT")
    assert "embedding" not in json.dumps(answer)
    entry = AuditEntry.objects.get(action="candidate.enrolled")
    assert entry.subject == candidate_subject(organisation=organisation, candidate_id="ada")
    assert (entry.actor_kind, entry.details) == ("key", {"replaced": False, "consent": "2026-01"})


def test_a_second_enrolment_replaces_the_template_and_keeps_the_key(
    client: APIClient, organisation: Organisation, photographs: dict[str, bytes]
) -> None:
    assert enroll(client, photographs["a_1"]).json()["replaced"] is False
    before = Candidate.objects.get(candidate_id="ada")
    first = template_load(before)
    response = enroll(client, photographs["b_1"])
    assert (response.status_code, response.json()["replaced"]) == (201, True)
    after = Candidate.objects.get(candidate_id="ada")
    second = template_load(after)
    assert before.data_key_id == after.data_key_id
    assert first is not None
    assert second is not None
    assert similarity(float(first @ second)) < 0.75
    assert (FaceTemplate.objects.count(), Enrollment.objects.count(), DataKey.objects.count()) == (1, 2, 1)


def test_after_an_erasure_the_candidate_enrols_anew_under_a_new_key(
    client: APIClient, photographs: dict[str, bytes]
) -> None:
    enroll(client, photographs["a_1"])
    before = DataKey.objects.get()
    assert client.delete("/api/v1/enroll/ada").status_code == 200
    assert enroll(client, photographs["a_1"]).json()["replaced"] is False
    assert DataKey.objects.get() != before


def test_several_pictures_of_one_person_make_one_template_close_to_each(
    client: APIClient, photographs: dict[str, bytes]
) -> None:
    response = enroll(client, photographs["a_1"], photographs["a_2"])
    assert response.status_code == 201, response.json()
    assert len(response.json()["images"]) == 2
    both = template_load(Candidate.objects.get(candidate_id="ada"))
    enroll(client, photographs["a_1"])
    one = template_load(Candidate.objects.get(candidate_id="ada"))
    assert both is not None
    assert one is not None
    assert 0.85 < float(both @ one) < 0.9999


@pytest.mark.parametrize("as_json", [True, False])
def test_a_form_with_files_enrols_too(client: APIClient, photographs: dict[str, bytes], as_json: bool) -> None:
    fields: dict[str, Any] = {
        "candidate_id": "ada",
        "images": [SimpleUploadedFile(f"{name}.jpg", photographs[name], "image/jpeg") for name in ("a_1", "a_2")],
    }
    if as_json:
        fields["consent"] = json.dumps(consent())
    else:
        fields |= {f"consent.{name}": value for name, value in consent().items()}
    response = client.post("/api/v1/enroll", fields, format="multipart")
    assert response.status_code == 201, response.json()
    assert len(response.json()["images"]) == 2


def test_a_data_url_is_taken_as_browsers_make_it(client: APIClient, photographs: dict[str, bytes]) -> None:
    encoded = "data:image/jpeg;base64," + base64.b64encode(photographs["a_1"]).decode()
    assert client.post("/api/v1/enroll", body(images=[encoded]), format="json").status_code == 201


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("empty", "face_missing"),
        ("doubled", "faces_several"),
        ("small", "face_too_small"),
        ("blurred", "image_blurred"),
        ("dark", "image_dark"),
        ("bright", "image_bright"),
    ],
)
def test_a_poor_picture_is_refused_with_what_was_measured(
    client: APIClient, photographs: dict[str, bytes], change: str, code: str
) -> None:
    response = enroll(client, photographs["c_1"], altered(photographs["c_1"], change))
    problem = response.json()
    assert (response.status_code, problem["code"]) == (422, code), problem
    assert response["Content-Type"] == "application/problem+json"
    assert problem["image"] == 1
    assert problem["measured"] != problem["threshold"]
    assert problem["detail"].endswith(".")
    assert {found["image"] for found in problem["problems"]} == {1}
    assert not Candidate.objects.exists()


def test_a_face_turned_further_than_the_limit_is_refused(
    photographs: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """B's head is turned by some 13 degrees: none of the photographs goes beyond the real limit."""
    monkeypatch.setattr(quality, "MAX_TURN_DEG", 10.0)
    (problem,) = image_read(photographs["b_1"], engine=get_engine()).problems
    assert (problem.code, problem.threshold) == ("face_turned", 10.0)
    assert problem.measured is not None
    assert 10.0 < problem.measured < 20.0


def test_pictures_of_two_people_are_refused(client: APIClient, photographs: dict[str, bytes]) -> None:
    response = enroll(client, photographs["a_1"], photographs["a_2"], photographs["c_1"])
    problem = response.json()
    assert (response.status_code, problem["code"]) == (422, "faces_differ")
    assert 2 in problem["images"]
    assert "and 3 do not seem" in problem["detail"]  # people count from 1
    assert problem["measured"] < problem["threshold"]
    assert not FaceTemplate.objects.exists()


def test_how_alike_pictures_must_be_says_the_default_policy(
    client: APIClient, organisation: Organisation, photographs: dict[str, bytes]
) -> None:
    strict = merge(default_policy_document(), {"rules": {"FACE_MISMATCH": {"enter": 0.999, "exit": 0.999}}})
    policy = make_policy(organisation, is_default=True, document=strict)
    response = enroll(client, photographs["a_1"], photographs["a_2"])
    assert (response.status_code, response.json()["code"]) == (422, "faces_differ")
    assert response.json()["threshold"] == 0.999
    policy.document = default_policy_document()
    policy.save()
    assert enroll(client, photographs["a_1"], photographs["a_2"]).status_code == 201


def bomb() -> bytes:
    """Return a PNG of a few hundred bytes that claims 60,000 x 60,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(100_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("image", "status", "code"),
    [(b"not an image at all", 422, "image_invalid"), (bomb(), 413, "image_too_large")],
)
def test_what_is_no_picture_is_refused(client: APIClient, image: bytes, status: int, code: str) -> None:
    response = enroll(client, image)
    assert (response.status_code, response.json()["code"]) == (status, code)


def test_a_truncated_picture_is_refused(client: APIClient, photographs: dict[str, bytes]) -> None:
    response = enroll(client, photographs["a_1"][:300])
    assert (response.status_code, response.json()["code"]) == (422, "image_invalid")


def test_a_file_over_the_limit_is_refused_before_anybody_looks(
    client: APIClient, photographs: dict[str, bytes], settings: Any
) -> None:
    settings.IMAGE_MAX_BYTES = len(photographs["a_1"]) - 1
    problem = enroll(client, photographs["b_2"], photographs["a_1"]).json()
    assert (problem["status"], problem["code"], problem["image"]) == (413, "image_too_large", 1)


@pytest.mark.parametrize("form", ["json", "multipart"])
def test_an_empty_request_is_told_everything_that_is_missing(client: APIClient, form: str) -> None:
    response = client.post("/api/v1/enroll", {}, format=form)
    problem = response.json()
    assert (response.status_code, problem["code"]) == (400, "request_invalid")
    consent = {"consent.version", "consent.given_at", "consent.locale"}
    assert set(problem["errors"]) == {"candidate_id", "images"} | consent
    assert all(name in problem["detail"] for name in problem["errors"])


def test_consent_that_is_no_json_is_listed_with_the_other_faults(client: APIClient) -> None:
    problem = client.post("/api/v1/enroll", {"consent": "{"}, format="multipart").json()
    assert set(problem["errors"]) == {"candidate_id", "images", "consent"}


@pytest.mark.parametrize(
    "given",
    [
        None,
        "yes",
        {},
        {"version": "1", "locale": "en"},
        {"version": "", "given_at": "2026-01-01T00:00:00Z", "locale": "en"},
        {"version": "1", "given_at": "yesterday", "locale": "en"},
        {"version": "1", "given_at": (timezone.now() + timedelta(hours=1)).isoformat(), "locale": "en"},
        {"version": "1", "given_at": "0001-01-01T00:00:00Z", "locale": "en"},
        {"version": "1", "given_at": "2026-01-01T00:00:00Z", "locale": "no language"},
    ],
)
def test_without_valid_consent_nothing_is_looked_at(
    client: APIClient, photographs: dict[str, bytes], redis_client: Redis, given: Any
) -> None:
    response = enroll(client, photographs["a_1"], consent=given)
    assert (response.status_code, response.json()["code"]) == (422, "consent_invalid"), response.json()
    assert response.json()["errors"]
    assert not redis_client.keys("*enroll*")
    assert not Candidate.objects.exists()


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"candidate_id": ""}, "candidate_id"),
        ({"candidate_id": "../etc/passwd"}, "candidate_id"),
        ({"candidate_id": "ada\n"}, "candidate_id"),
        ({"candidate_id": "a" * 129}, "candidate_id"),
        ({"candidate_id": None}, "candidate_id"),
        ({"images": []}, "images"),
        ({"images": ["QUJD"] * 6}, "images"),
        ({"images": "QUJD"}, "images"),
        ({"images": ["not base64!"]}, "images.0"),
        ({"images": [""]}, "images.0"),
        ({"images": [{"a": 1}]}, "images.0"),
    ],
)
def test_a_wrong_field_is_named(client: APIClient, fields: dict[str, Any], path: str) -> None:
    response = client.post("/api/v1/enroll", body(b"ABC") | fields, format="json")
    assert (response.status_code, response.json()["code"]) == (400, "request_invalid"), response.json()
    assert list(response.json()["errors"]) == [path]


def test_no_picture_and_no_embedding_stays_in_redis(
    client: APIClient, photographs: dict[str, bytes], redis_client: Redis
) -> None:
    assert enroll(client, photographs["a_1"]).status_code == 201
    assert [key for key in redis_client.keys("*") if b"enroll:" in key] == []


def test_pictures_are_never_in_redis_in_the_clear(
    client: APIClient, photographs: dict[str, bytes], redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bytes] = []
    ask = embedding._ask

    def look_first(*arguments: Any) -> None:
        seen.extend(redis_client.mget(redis_client.keys("enroll:*")))  # type: ignore[arg-type]
        ask(*arguments)

    monkeypatch.setattr(embedding, "_ask", look_first)
    assert enroll(client, photographs["a_1"]).status_code == 201
    assert len(seen) == 1
    assert photographs["a_1"][1000:1032] not in seen[0]


def test_the_candidate_of_another_organisation_is_another(
    client: APIClient, organisation: Organisation, photographs: dict[str, bytes]
) -> None:
    other = make_enrolled_candidate(candidate_id="ada")
    assert enroll(client, photographs["a_1"]).json()["replaced"] is False
    assert Candidate.objects.filter(candidate_id="ada").count() == 2
    other.refresh_from_db()
    assert FaceTemplate.objects.filter(candidate=other).count() == 1
