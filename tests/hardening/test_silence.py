"""An exam with planted markers: who people are, what they look like and what opens doors is in no log and no metric."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import re
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from django.db import IntegrityError
from django.test import Client
from prometheus_client import REGISTRY, generate_latest

from alerts import delivery
from alerts.models import Delivery
from proctor_site import quiet_logs
from sessions.joining import join_token_mint
from tests.alerts import builders
from tests.alerts.receiver import Receiver, running
from tests.alerts.web import ROOT, running_web
from tests.factories import make_api_key, make_enrolled_candidate, make_organisation, make_session, make_user
from tests.media_gateway.conftest import gateway, start_gateway, valkey
from tests.media_gateway.publishers import join_token
from tests.media_gateway.world import KEY, GatewayUnderTest

__all__ = ["gateway", "start_gateway", "valkey"]

pytestmark = pytest.mark.django_db(transaction=True)

CANDIDATE = "marker-jane.doe@example.org"
SESSION = "marker-algebra-jane"
UNKNOWN = "marker-unknown"
LOGIN = "marker-proctor@example.org"
PASSWORD = "marker-password"
ADDRESS = "203.0.113.77"
URL_TOKEN = "marker-url-token"
IMAGE = b"marker-image-bytes" * 4
MARKERS = [
    CANDIDATE, SESSION, UNKNOWN, LOGIN, PASSWORD, ADDRESS, URL_TOKEN, "marker-", IMAGE.decode(),
    base64.b64encode(IMAGE).decode()[:32],
]  # fmt: skip


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.0/8"]
    with running() as made:
        yield made


@pytest.fixture
def logs(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What is logged from ``INFO`` on, as ``LOG_LEVEL`` has it by default."""
    caplog.set_level(logging.INFO)
    return caplog


def metrics() -> str:
    return generate_latest(REGISTRY).decode()


def require_silence(logs: pytest.LogCaptureFixture, *secrets: str) -> None:
    said = logs.text + metrics()
    assert [marker for marker in (*MARKERS, *secrets) if marker in said] == []


def test_requests_right_wrong_and_failing_say_nothing_of_anybody(
    settings: Any,
    receiver: Receiver,
    logs: pytest.LogCaptureFixture,
    evidence_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.ENROLL_TIMEOUT_S = 0.02
    organisation = make_organisation()
    _, raw = make_api_key(organisation)
    subscription, secret = builders.subscription(organisation, receiver.url(f"/ok?key={URL_TOKEN}"))
    session = make_session(candidate=make_enrolled_candidate(organisation, CANDIDATE), session_id=SESSION)
    token = join_token_mint(session)
    platform = Client(HTTP_AUTHORIZATION=f"Bearer {raw}", REMOTE_ADDR=ADDRESS, raise_request_exception=False)
    candidate = Client(HTTP_AUTHORIZATION=f"Bearer {token}", REMOTE_ADDR=ADDRESS, raise_request_exception=False)
    picture = base64.b64encode(IMAGE).decode()

    def send(client: Client, method: str, path: str, body: Any = None) -> int:
        answer = client.generic(
            method, f"/api/v1/{path}", b"" if body is None else json.dumps(body).encode(), "application/json"
        )
        return int(answer.status_code)

    consent = {"version": "1", "locale": "en", "given_at": "2026-01-01T00:00:00Z"}
    statuses = [
        send(platform, "POST", "enroll", {"candidate_id": CANDIDATE, "images": [picture], "consent": consent}),
        send(platform, "POST", "verify", {"candidate_id": CANDIDATE, "image": picture}),
        send(platform, "GET", f"enroll/{UNKNOWN}"),
        send(platform, "GET", f"candidates/{UNKNOWN}/accommodations"),
        send(platform, "GET", f"session/{UNKNOWN}"),
        send(platform, "POST", f"session/{SESSION}/challenge", {}),
        send(platform, "POST", "session/start", {"candidate_id": CANDIDATE, "session_id": SESSION}),
        send(platform, "GET", f"nowhere/{CANDIDATE}"),
        send(candidate, "GET", f"session/{session.pk}"),
        send(candidate, "POST", f"session/{session.pk}/events", {"events": [{"type": UNKNOWN, "at": CANDIDATE}]}),
        send(candidate, "GET", f"enroll/{CANDIDATE}"),
        send(Client(HTTP_AUTHORIZATION=f"Bearer sdp_{UNKNOWN}_x", REMOTE_ADDR=ADDRESS), "GET", f"session/{SESSION}"),
        send(Client(REMOTE_ADDR=ADDRESS), "GET", f"evidence/{uuid.uuid4()}?signature={UNKNOWN}"),
    ]
    assert {200, 401, 403, 404, 409} <= set(statuses)
    assert 503 in statuses  # no worker

    def breaks(**_: Any) -> None:
        raise IntegrityError(f"duplicate key value\nDETAIL:  Key (candidate_id)=({CANDIDATE}) already exists.\n")

    monkeypatch.setattr("sessions.views.session_start", breaks)
    assert send(platform, "POST", "session/start", {"candidate_id": CANDIDATE}) == 500

    builders.apply(session, builders.change(phase="closed"), frames={"f1": (builders.ONSET, builders.jpeg())})
    receiver.statuses = [503]
    delivery.drain([subscription.id])
    assert Delivery.objects.get().attempt_count == 1

    assert send(platform, "POST", f"session/{SESSION}/end", {}) == 200
    assert send(platform, "DELETE", f"enroll/{CANDIDATE}") == 200
    assert "IntegrityError" in logs.text
    assert len(logs.records) >= 10
    require_silence(logs, raw, token, secret)


def test_signing_in_wrongly_says_nothing_of_who_tried(logs: pytest.LogCaptureFixture) -> None:
    user = make_user(make_organisation(), password=PASSWORD)
    type(user).objects.filter(pk=user.pk).update(username=LOGIN)
    browser = Client(REMOTE_ADDR=ADDRESS, enforce_csrf_checks=True)
    assert browser.post("/admin/login/", {"username": LOGIN, "password": "x"}).status_code == 403
    relaxed = Client(REMOTE_ADDR=ADDRESS, raise_request_exception=False)
    assert relaxed.post("/admin/login/", {"username": LOGIN, "password": PASSWORD + "!"}).status_code == 200
    assert relaxed.post("/admin/login/", {"username": LOGIN, "password": PASSWORD}).status_code == 302
    relaxed.force_login(user)
    assert relaxed.get(f"/admin/enrollment/candidate/{UNKNOWN}/change/").status_code in (302, 403, 404)
    assert relaxed.get("/admin/enrollment/candidate/", {"q": CANDIDATE}).status_code in (200, 403)
    assert logs.records
    require_silence(logs)


def test_the_web_process_as_it_is_started_writes_no_access_log(tmp_path: Path) -> None:
    given = {}
    for where in ("Dockerfile", "Procfile", "docs/operations.md"):
        (line,) = re.findall(r"daphne (.*) ?proctor_site\.asgi:application", (ROOT / where).read_text())
        given[where] = re.sub(r"-[bp] \S+", "", line).split()
    assert len(set(map(tuple, given.values()))) == 1, given
    with running_web(tmp_path, arguments=given["Dockerfile"]) as (port, _):
        for path in (f"api/v1/enroll/{CANDIDATE}", f"admin/oidc/callback/?code={URL_TOKEN}", f"{UNKNOWN}\x00"):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
                connection.sendall(f"GET /{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
                assert connection.recv(12).startswith(b"HTTP/1.1 4")
    said = (tmp_path / "daphne.log").read_text()
    assert [marker for marker in MARKERS if marker in said] == []


async def test_the_gateway_says_nothing_of_who_publishes(
    gateway: GatewayUnderTest, logs: pytest.LogCaptureFixture
) -> None:
    session_id = str(uuid.uuid4())
    token = join_token(KEY, session_id)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/sdp", "X-Forwarded-For": ADDRESS}
    sdp = f"v=0\r\no=- 0 0 IN IP4 {ADDRESS}\r\ns={CANDIDATE}\r\na=candidate:1 1 udp 1 {ADDRESS} 5 typ host\r\n"
    async with aiohttp.ClientSession() as http:
        for path in (session_id, UNKNOWN, f"{session_id}/{UNKNOWN}"):
            for body in (sdp, "v=0", CANDIDATE):
                answer = await http.post(f"{gateway.url}/whip/{path}", data=body, headers=headers)
                assert 400 <= answer.status < 500
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.gateway.port)
    writer.write(f"GET /{CANDIDATE}\x00 HTTP/9.9\r\nX: {ADDRESS}\r\n\r\n".encode())
    assert b"400" in await reader.read()
    writer.close()
    assert "A connection failed: InvalidURLError" in logs.text
    require_silence(logs, token)
    assert session_id not in metrics()


def test_a_record_leaves_out_the_row_and_keeps_the_rest(caplog: pytest.LogCaptureFixture) -> None:
    quiet_logs.quiet_records_install()  # a second time changes nothing
    error = IntegrityError("duplicate key\nDETAIL:  Key (a)=(jane).\nHINT:  none")
    logger = logging.getLogger("tests.quiet")
    try:
        raise error
    except IntegrityError:
        logger.exception("It failed: %s", error)
    logger.warning("As Celery has it: %s", repr(error))
    assert "jane" not in caplog.text
    assert "HINT:  none" in caplog.text
    assert caplog.text.count("(left out)") == 3
