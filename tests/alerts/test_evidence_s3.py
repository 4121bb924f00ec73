"""Evidence in an S3-compatible storage: a real server process on loopback that speaks the protocol."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import boto3
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import ContentFile
from django.db import transaction
from django.utils import timezone

from accounts.audit import SYSTEM
from accounts.problems import Problem
from alerts import evidence, evidence_sweep
from alerts.evidence_verify import chain_verify
from alerts.models import Evidence
from proctor_site import evidence_storage
from proctor_site.embedded.ports import free_port
from proctor_site.erasure import candidate_erase
from sessions.models import ExamSession
from tests.alerts import builders

pytestmark = pytest.mark.django_db

BUCKET = "evidence"
PICTURE = builders.jpeg()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a storage server."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(address)
        yield address
    finally:
        process.terminate()
        process.wait()


def _wait_for(address: str) -> None:
    for _ in range(300):
        try:
            urllib.request.urlopen(address, timeout=5).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)
        else:
            return
    pytest.fail("The storage server does not start.")


@pytest.fixture
def bucket(server: str, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A new bucket that the environment names."""
    for name, value in {
        "EVIDENCE_STORAGE": "s3", "EVIDENCE_S3_BUCKET": BUCKET, "EVIDENCE_S3_ENDPOINT": server,
        "EVIDENCE_S3_REGION": "eu-central-1", "EVIDENCE_S3_ACCESS_KEY": "test", "EVIDENCE_S3_SECRET_KEY": "test",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    described = evidence_storage.described(directory=settings.EVIDENCE_DIR)
    settings.STORAGES = settings.STORAGES | {"evidence": described}
    made = boto3.resource(
        "s3", endpoint_url=server, region_name="eu-central-1", aws_access_key_id="test", aws_secret_access_key="test"
    ).Bucket(BUCKET)
    made.create(CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    yield made
    made.objects.all().delete()
    made.delete()


def stored(session: ExamSession | None = None) -> Evidence:
    alert = builders.apply(session or builders.session(), frames={"f1": (builders.ONSET, PICTURE)})
    return Evidence.objects.get(incident=alert.incident)


def test_the_object_holds_no_trace_of_the_picture_and_opens_again(bucket: Any) -> None:
    row = stored()
    (held,) = bucket.objects.all()
    assert held.key == row.storage_name
    assert PICTURE[100:164] not in held.get()["Body"].read()
    assert evidence.picture(row) == PICTURE
    assert list(chain_verify(row.session)) == []


def test_a_missing_and_a_changed_object_are_told_apart(bucket: Any) -> None:
    row = stored()
    bucket.Object(row.storage_name).put(Body=b"something else")
    assert list(chain_verify(row.session)) == [f"The file of the picture {row.id} was changed."]
    bucket.Object(row.storage_name).delete()
    with pytest.raises(Problem, match="evidence_unknown"):
        evidence.picture(row)


def test_time_and_erasure_remove_objects(bucket: Any) -> None:
    expired, erased, kept = stored(), stored(), stored()
    Evidence.objects.filter(pk=expired.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert evidence_sweep.sweep().expired == 1
    candidate = erased.session.candidate
    candidate_erase(organisation=candidate.organisation, candidate_id=candidate.candidate_id, actor=SYSTEM)
    assert [held.key for held in bucket.objects.all()] == [kept.storage_name]


def test_objects_of_rolled_back_transactions_are_found(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = stored()
    with transaction.atomic():
        stored()
        transaction.set_rollback(True)
    assert evidence_sweep.sweep().orphaned == 0  # may still be committed
    monkeypatch.setattr(evidence_sweep, "ORPHAN_AGE", timedelta(seconds=-5))
    assert evidence_sweep.sweep().orphaned == 1
    assert [held.key for held in bucket.objects.all()] == [kept.storage_name]


def test_a_bucket_that_is_not_there_loses_the_picture_not_the_incident(bucket: Any) -> None:
    storage = evidence.storage()
    bucket.delete()
    try:
        with pytest.raises(OSError, match="NoSuchBucket"):
            storage.save("x", ContentFile(b"x"))
    finally:
        bucket.create(CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})


def test_a_storage_that_does_not_answer_is_an_os_error(bucket: Any, settings: Any) -> None:
    options = settings.STORAGES["evidence"]["OPTIONS"] | {"endpoint_url": f"http://127.0.0.1:{free_port()}"}
    settings.STORAGES = settings.STORAGES | {"evidence": settings.STORAGES["evidence"] | {"OPTIONS": options}}
    with pytest.raises(OSError, match="does not answer"):
        evidence.storage().save("x", ContentFile(b"x"))


def test_a_wrong_or_incomplete_setting_is_named(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    monkeypatch.setenv("EVIDENCE_STORAGE", "tape")
    with pytest.raises(ImproperlyConfigured, match="EVIDENCE_STORAGE is 'tape'"):
        evidence_storage.described(directory=settings.EVIDENCE_DIR)
    monkeypatch.setenv("EVIDENCE_STORAGE", "s3")
    with pytest.raises(ImproperlyConfigured, match="EVIDENCE_S3_BUCKET"):
        evidence_storage.described(directory=settings.EVIDENCE_DIR)
