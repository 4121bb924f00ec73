"""Pictures: sealed, linked, removed."""

from __future__ import annotations

import os
import time
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.signing import TimestampSigner
from django.db import transaction
from django.utils import timezone
from rest_framework.test import APIClient

from accounts import keys
from accounts.api_keys import api_key_create
from accounts.models import AuditEntry, Organisation
from accounts.problems import Problem
from alerts import evidence, evidence_sweep
from alerts.models import Evidence, Incident
from tests.alerts import builders

pytestmark = pytest.mark.django_db

PICTURE = builders.jpeg()


def store(owner: Organisation | None = None, *, enrolled: bool = True, frame_id: str = "f1") -> Evidence:
    owner = owner or builders.organisation()
    session = builders.session(owner, candidate=builders.candidate(owner, enrolled=enrolled))
    alert = builders.apply(session)
    with transaction.atomic():
        rows = evidence.keep(incident=alert.incident, frames={frame_id: (builders.ONSET, PICTURE)})
    return rows[0]


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_the_file_holds_no_trace_of_the_picture_and_opens_again(evidence_dir: Path) -> None:
    row = store()
    (file,) = files(evidence_dir)
    assert PICTURE[:64] not in file.read_bytes()
    assert b"JFIF" not in file.read_bytes()
    assert file.stat().st_mode & 0o077 == 0
    assert evidence.picture(row) == PICTURE


def test_storing_the_same_frame_twice_keeps_one_row_and_one_file(evidence_dir: Path) -> None:
    row = store()
    with transaction.atomic():
        again = evidence.keep(incident=row.incident, frames={"f1": (builders.ONSET, PICTURE)})
    assert [r.id for r in again] == [row.id]
    assert len(files(evidence_dir)) == 1


def test_no_pictures_are_kept_of_a_candidate_who_has_not_enrolled(evidence_dir: Path) -> None:
    session = builders.session(candidate=builders.candidate(owner := builders.organisation(), enrolled=False))
    assert session.candidate.organisation == owner
    alert = builders.apply(session, frames={"f1": (builders.ONSET, PICTURE)})
    assert alert.payload["metadata"]["evidence"] == []
    assert not Evidence.objects.exists()
    assert files(evidence_dir) == []


def test_a_changed_file_does_not_open(evidence_dir: Path) -> None:
    row = store()
    (file,) = files(evidence_dir)
    content = bytearray(file.read_bytes())
    content[-20] ^= 1
    file.write_bytes(content)
    with pytest.raises(keys.SealError):
        evidence.picture(row)


def test_a_file_put_in_anothers_place_does_not_open(evidence_dir: Path) -> None:
    first, second = store(), store()
    one, other = (evidence_dir / row.storage_name for row in (first, second))
    one.write_bytes(other.read_bytes())
    with pytest.raises((keys.SealError, Problem)):
        evidence.picture(first)


# --- Serving ----------------------------------------------------------------------------------------------------------
def path_of(row: Evidence) -> str:
    return f"/api/v1/evidence/{row.id}"


def test_a_storage_that_does_not_answer_is_said(evidence_dir: Path) -> None:
    row = store()
    file = evidence_dir / row.storage_name
    file.unlink()
    file.mkdir()  # what cannot be read, also by root
    answer = APIClient().get(evidence.link(row.id).split("8000", 1)[1])
    assert (answer.status_code, answer.json()["code"]) == (503, "storage_unavailable")
    assert answer["retry-after"]


def test_a_changed_file_is_said_and_nobody_has_seen_it(evidence_dir: Path) -> None:
    row = store()
    file = evidence_dir / row.storage_name
    for content in (file.read_bytes()[:-20] + bytes(20), file.read_bytes()[:40], b""):
        file.write_bytes(content)
        answer = APIClient().get(evidence.link(row.id).split("8000", 1)[1])
        assert (answer.status_code, answer.json()["code"]) == (500, "data_unreadable")
    assert not AuditEntry.objects.filter(action="evidence.viewed").exists()


def test_the_signed_link_alone_shows_the_picture() -> None:
    row = store()
    answer = APIClient().get(evidence.link(row.id).split("8000", 1)[1], HTTP_ACCEPT="image/avif,image/*")
    assert answer.status_code == 200
    assert answer.content == PICTURE
    assert answer["content-type"] == "image/jpeg"
    assert answer["x-content-type-options"] == "nosniff"
    assert answer["cache-control"] == "no-store"


@pytest.mark.parametrize("signature", ["", "1:abc", "x", "::", "1vabcd:" + "A" * 43])
def test_a_wrong_signature_is_refused(signature: str) -> None:
    answer = APIClient().get(path_of(store()), {"signature": signature})
    assert (answer.status_code, answer.json()["code"]) == (403, "link_invalid")


def test_a_signature_of_another_picture_is_refused() -> None:
    mine, other = store(), store()
    signature = evidence.link(other.id).split("signature=")[1]
    answer = APIClient().get(path_of(mine), {"signature": signature})
    assert answer.json()["code"] == "link_invalid"


def test_an_old_link_has_expired(monkeypatch: pytest.MonkeyPatch) -> None:
    row = store()
    then = time.time() - evidence.LINK_LIFETIME.total_seconds() - 5
    with monkeypatch.context() as patch:
        patch.setattr("django.core.signing.time.time", lambda: then)
        signature = TimestampSigner(salt="alerts.evidence.link").sign(str(row.id)).split(":", 1)[1]
    answer = APIClient().get(path_of(row), {"signature": signature})
    assert (answer.status_code, answer.json()["code"]) == (403, "link_expired")


def client_of(owner: Organisation, *scopes: str) -> APIClient:
    _, raw = api_key_create(organisation=owner, name=f"key-{uuid.uuid4().hex[:6]}", scopes=scopes)
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {raw}")
    return client


def test_keys_and_staff_see_pictures_of_their_own_organisation_only() -> None:
    owner, stranger = builders.organisation(), builders.organisation()
    path = path_of(store(owner))
    assert client_of(owner, "sessions").get(path).content == PICTURE
    assert client_of(owner, "verify").get(path).json()["code"] == "scope_missing"
    assert client_of(stranger, "sessions").get(path).json()["code"] == "evidence_unknown"
    assert APIClient().get(path).status_code == 401

    signed_in = APIClient()
    signed_in.force_login(builders.staff(owner))
    assert signed_in.get(path).content == PICTURE
    signed_in.force_login(builders.staff(stranger))
    assert signed_in.get(path).status_code == 404


def test_staff_need_the_permission_to_view_evidence() -> None:
    owner = builders.organisation()
    path = path_of(store(owner))
    signed_in = APIClient()
    signed_in.force_login(builders.staff(owner, may=["view_examsession", "view_incident"]))
    assert signed_in.get(path).json()["code"] == "permission_denied"
    signed_in.force_login(builders.staff(owner, may=["view_evidence"]))
    assert signed_in.get(path).content == PICTURE


def test_unknown_evidence_is_404() -> None:
    answer = client_of(builders.organisation(), "sessions").get(f"/api/v1/evidence/{uuid.uuid4()}")
    assert (answer.status_code, answer.json()["code"]) == (404, "evidence_unknown")


def test_pictures_of_an_erased_candidate_are_gone_though_the_file_is_there(evidence_dir: Path) -> None:
    row = store()
    link = evidence.link(row.id).split("8000", 1)[1]
    candidate = row.session.candidate
    assert candidate.data_key is not None
    candidate.data_key.delete()

    answer = APIClient().get(link)

    assert (answer.status_code, answer.json()["code"]) == (410, "evidence_erased")
    assert len(files(evidence_dir)) == 1

    candidate.refresh_from_db()  # and enrolled anew, under another key
    candidate.data_key = keys.data_key_create(organisation=candidate.organisation)
    candidate.save()
    assert APIClient().get(link).json()["code"] == "evidence_erased"


# --- The sweep --------------------------------------------------------------------------------------------------------
def test_the_sweep_removes_expired_files_in_batches_and_keeps_the_rows(evidence_dir: Path) -> None:
    rows = [store() for _ in range(3)]
    kept = store()
    Evidence.objects.exclude(id=kept.id).update(expires_at=timezone.now() - timedelta(seconds=1))

    assert evidence_sweep.sweep(batch=2).expired == 2
    assert evidence_sweep.sweep(batch=2).expired == 1
    assert evidence_sweep.sweep(batch=2).expired == 0

    assert files(evidence_dir) == [evidence_dir / kept.storage_name]
    assert Evidence.objects.filter(removed_at__isnull=False).count() == 3
    answer = APIClient().get(evidence.link(rows[0].id).split("8000", 1)[1])
    assert (answer.status_code, answer.json()["code"]) == (410, "evidence_removed")


def _age(path: Path, hours: float) -> None:
    then = time.time() - hours * 3600
    os.utime(path, (then, then))


def test_the_sweep_removes_files_of_rolled_back_transactions_but_no_young_ones(evidence_dir: Path) -> None:
    kept = store()
    with transaction.atomic():
        store(frame_id="f2")
        transaction.set_rollback(True)
    assert len(files(evidence_dir)) == 2
    assert evidence_sweep.sweep().orphaned == 0  # may still be committed

    for file in files(evidence_dir):
        _age(file, hours=2)
    assert evidence_sweep.sweep().orphaned == 1
    assert files(evidence_dir) == [evidence_dir / kept.storage_name]


def test_the_sweep_looks_into_days_beyond_the_retention_time(evidence_dir: Path, settings: Any) -> None:
    old_day = (timezone.now() - timedelta(days=settings.EVIDENCE_DAYS + 3)).date().isoformat()
    middle_day = (timezone.now() - timedelta(days=5)).date().isoformat()
    for day in (old_day, middle_day):
        file = evidence_dir / day / "abc" / "left.sealed"
        file.parent.mkdir(parents=True)
        file.write_bytes(b"x")
        _age(file, hours=200)
    assert evidence_sweep.sweep().orphaned == 1
    assert [file.parts[-3] for file in files(evidence_dir)] == [middle_day]


@pytest.mark.django_db(transaction=True)
def test_the_file_goes_with_its_row(evidence_dir: Path) -> None:
    row = store()
    assert len(files(evidence_dir)) == 1
    row.session.delete()
    assert not Incident.objects.exists()
    assert files(evidence_dir) == []
