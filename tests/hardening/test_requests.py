"""Bombs, path tricks and odd headers against the REST API, and whatever a client shouts into a live socket."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from rest_framework.test import APIClient

from accounts.problems import CODES
from sessions.joining import join_token_mint
from sessions.models import ExamSession
from tests.alerts import builders
from tests.alerts.conftest import no_lasting_connections, no_listener_outlives_its_test
from tests.alerts.dialling import dial_path, hear, join_token, opened
from tests.factories import make_api_key, make_session
from tests.hardening.mutate import mutated

__all__ = ["no_lasting_connections", "no_listener_outlives_its_test"]

DEEP = 100_000
PATH_TRICKS = [
    "../admin/stats", "..%2fadmin%2fstats", "%2e%2e/%2e%2e/etc/passwd", "%00", "ada%00.jpg", "%c0%ae%c0%ae/", "%ff",
    "a" * 5000, "%F0%9F%99%82" * 60, "ada%0d%0aX-Injected:%201", ";ls", "'%20OR%201=1--", "{{7*7}}", "//x",
    "%ed%a0%80",
    "\u202e", "con", "~", "*",
]  # fmt: skip
IN = ["session/{}", "session/{}/events", "enroll/{}", "candidates/{}/accommodations", "evidence/{}", "subscriptions/{}",
      "incidents/{}", "deliveries/{}", "schemas/alert-{}.json"]  # fmt: skip
HEADERS = [
    {"HTTP_X_HTTP_METHOD_OVERRIDE": "DELETE"}, {"HTTP_X_FORWARDED_HOST": "evil.example"}, {"HTTP_ACCEPT": "text/html"},
    {"HTTP_ACCEPT": "*/*;q=x"}, {"CONTENT_TYPE": "application/json; charset=utf-7"}, {"HTTP_RANGE": "bytes=0-0"},
    {"CONTENT_TYPE": "multipart/form-data; boundary=" + "x" * 2000}, {"HTTP_CONTENT_ENCODING": "gzip"},
    {"HTTP_AUTHORIZATION": "Bearer \x00"}, {"HTTP_AUTHORIZATION": "Bearer " + "x" * 100_000},
]  # fmt: skip


@pytest.fixture
def session(db: None) -> ExamSession:
    return make_session(session_id="s-1")


@pytest.fixture
def client(session: ExamSession) -> APIClient:
    _, raw = make_api_key(session.organisation)
    return APIClient(HTTP_AUTHORIZATION=f"Bearer {raw}", raise_request_exception=False)


def require_refused(response: Any, what: object) -> None:
    assert 400 <= response.status_code < 500, what
    assert CODES[response.json()["code"]].status == response.status_code, what


@pytest.mark.parametrize(
    "bomb",
    [b"[" * DEEP, b'{"a":' * DEEP, b"[" * DEEP + b"]" * DEEP, b'{"events":' + b"9" * 5000 + b"}", b"\xff\xfe[\x00",
     b'{"a": 1e999999}', b'"' + b"\\u0000" * 1000 + b'"', b"[1," * 200_000],
    ids=["array", "object", "closed", "number", "utf16", "float", "nul", "wide"],
)  # fmt: skip
def test_a_bomb_of_json_is_a_bad_request(client: APIClient, session: ExamSession, bomb: bytes) -> None:
    for path in ("session/start", "subscriptions", f"session/{session.pk}/events", "deliveries/resend"):
        require_refused(client.generic("POST", f"/api/v1/{path}", bomb, content_type="application/json"), path)


def test_more_than_a_megabyte_is_too_much(client: APIClient) -> None:
    body = json.dumps({"candidate_id": "a" * (1 << 20)}).encode()
    assert client.generic("POST", "/api/v1/session/start", body, content_type="application/json").status_code == 413


@pytest.mark.parametrize("trick", PATH_TRICKS)
def test_ids_lead_nowhere_else(client: APIClient, trick: str) -> None:
    for path in IN:
        response = client.get("/api/v1/" + path.format(trick))
        assert response.status_code < 500, path
        assert "X-Injected" not in response.headers
        if response.status_code == 200:
            assert trick == "../admin/stats", path  # a client's own library resolves that, to what the key may read


@pytest.mark.parametrize("headers", HEADERS, ids=range(len(HEADERS)))
def test_odd_headers_change_nothing(client: APIClient, session: ExamSession, headers: dict[str, str]) -> None:
    for method, path in (("GET", f"session/{session.session_id}"), ("POST", "session/start")):
        response = client.generic(method, f"/api/v1/{path}", b"{}", **headers)
        assert response.status_code < 500
        assert b"evil.example" not in response.content
    assert ExamSession.objects.filter(pk=session.pk).exists()


def test_events_made_wrong_are_refused(session: ExamSession, settings: Any) -> None:
    settings.RATE_LIMITS = settings.RATE_LIMITS | {"events": "100000/min"}
    page = Client(HTTP_AUTHORIZATION=f"Bearer {join_token_mint(session)}", raise_request_exception=False)
    event = {"type": "TAB_HIDDEN", "at": "2026-01-01T00:00:00Z", "duration_s": 2.5}
    good = json.dumps({"events": [event] * 3}).encode()
    statuses = set()
    for body in mutated([good], 400, seed=8):
        response = page.generic("POST", f"/api/v1/session/{session.pk}/events", body, "application/json")
        statuses.add(response.status_code)
        if response.status_code != 202:
            require_refused(response, body)
    assert {400} <= statuses


def frames() -> Iterator[dict[str, Any]]:
    chance = random.Random(9)
    for _ in range(60):
        yield {"bytes_data": chance.randbytes(chance.randrange(1, 2000))}
        yield {"text_data": chance.choice(["[" * 5000, '{"type": "websocket.close"}', "\x00", "🙂" * 500, "null", " "])}


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("no_listener_outlives_its_test", "no_lasting_connections")
async def test_a_live_socket_does_not_care_what_is_shouted_into_it(settings: Any) -> None:
    session = await builders.on_db(builders.session)()
    path = f"/api/v1/session/ws/{session.pk}"
    async with opened(dial_path(path, token=join_token(session, settings))) as socket:
        assert (await hear(socket, within_s=10))["type"] == "state"
        for frame in frames():
            await socket.send_to(**frame)
        assert await socket.receive_nothing(timeout=0.5)  # neither an answer nor a close
