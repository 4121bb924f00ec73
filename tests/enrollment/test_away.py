"""Enrolling while a part of the service is away: a clear answer, within bounds, and nothing half done."""

from __future__ import annotations

import time
from typing import Any

import pytest
from celery import current_app
from celery.exceptions import SoftTimeLimitExceeded
from redis import Redis
from rest_framework.test import APIClient

from enrollment.models import Candidate
from enrollment.tasks import embed
from proctor_site.embedded.ports import free_port
from tests.enrollment.test_enroll import enroll

pytestmark = pytest.mark.django_db

IMAGE = b"never looked at"


def test_without_workers_the_answer_is_503_and_when_to_come_back(
    client: APIClient, settings: Any, redis_client: Redis
) -> None:
    settings.ENROLL_TIMEOUT_S = 0.6
    started = time.monotonic()
    response = enroll(client, IMAGE)
    assert time.monotonic() - started < 3
    assert (response.status_code, response.json()["code"]) == (503, "workers_unavailable")
    assert int(response["Retry-After"]) > 0
    assert not redis_client.keys("enroll:*")
    assert not Candidate.objects.exists()


def test_a_worker_that_comes_too_late_does_nothing(
    client: APIClient, settings: Any, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.ENROLL_TIMEOUT_S = 0.3
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(current_app, "send_task", lambda name, kwargs, **_: sent.append(kwargs))
    assert enroll(client, IMAGE).status_code == 503
    assert len(sent) == 1
    embed(**sent[0])
    assert not redis_client.keys("enroll:*")


def test_a_worker_that_fails_says_so_at_once(
    client: APIClient, settings: Any, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker runs here, on the real message, with a model that cannot be loaded."""

    def broken() -> Any:
        raise RuntimeError("no weights")

    def deliver(name: str, kwargs: dict[str, Any], **_: Any) -> None:
        with pytest.raises(RuntimeError, match="no weights"):
            embed(**kwargs)

    monkeypatch.setattr("enrollment.tasks.get_engine", broken)
    monkeypatch.setattr(current_app, "send_task", deliver)
    started = time.monotonic()
    response = enroll(client, IMAGE)
    assert time.monotonic() - started < 3
    assert (response.status_code, response.json()["code"]) == (500, "internal_error")
    assert "weights" not in response.content.decode()


def test_pictures_that_take_too_long_to_read_are_refused(
    client: APIClient, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker runs here, on the real message; Celery's signal comes while a picture is decoded."""

    def slow(data: bytes) -> Any:
        raise SoftTimeLimitExceeded

    monkeypatch.setattr("enrollment.tasks.get_engine", lambda: None)
    monkeypatch.setattr("enrollment.tasks.decode_image", slow)
    monkeypatch.setattr(current_app, "send_task", lambda name, kwargs, **_: embed(**kwargs))
    response = enroll(client, IMAGE)
    assert (response.status_code, response.json()["code"]) == (422, "image_invalid")
    assert "within" in response.json()["detail"]


def test_one_request_holds_a_worker_no_longer_than_anybody_waits(settings: Any) -> None:
    assert 0 < embed.soft_time_limit < embed.time_limit <= settings.ENROLL_TIMEOUT_S


def test_without_redis_the_answer_is_503(client: APIClient, settings: Any) -> None:
    settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"
    started = time.monotonic()
    response = enroll(client, IMAGE)
    assert time.monotonic() - started < 3
    assert (response.status_code, response.json()["code"]) == (503, "queue_unavailable")
    assert int(response["Retry-After"]) > 0
