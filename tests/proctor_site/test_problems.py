"""Every error below /api/ is a problem with a documented code, whatever goes wrong."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError
from django.test import Client
from kombu.exceptions import OperationalError as BrokerError
from redis.exceptions import ConnectionError as RedisConnectionError
from rest_framework import exceptions as drf
from rest_framework.test import APIClient

from accounts.problems import CODES, Problem
from proctor_site.exceptions import as_problem, flatten
from tests.factories import make_api_key

ROOT = Path(__file__).resolve().parents[2]
APPS = ["accounts", "enrollment", "sessions", "detection", "alerts", "proctor_site"]


def require_problem(response: Any, status: int, code: str) -> dict[str, Any]:
    body = response.json()
    assert (response.status_code, body["code"]) == (status, code), body
    assert response["Content-Type"] == "application/problem+json"
    assert set(body) >= {"type", "title", "status", "detail", "code"}
    assert (body["status"], body["title"]) == (status, CODES[code].title)
    return dict(body)


@pytest.fixture
def client(db: None) -> APIClient:
    _, raw = make_api_key()
    return APIClient(HTTP_AUTHORIZATION=f"Bearer {raw}", raise_request_exception=False)


@pytest.mark.parametrize("debug", [True, False])
@pytest.mark.parametrize("path", ["/api/", "/api/v1/", "/api/v1/nothing", "/api/v2/enroll", "/api/v1/enroll/"])
@pytest.mark.parametrize("method", ["get", "post", "delete"])
def test_an_address_that_is_none(path: str, method: str, debug: bool, settings: Any) -> None:
    settings.DEBUG = debug
    require_problem(getattr(Client(enforce_csrf_checks=True), method)(path), 404, "not_found")


def test_the_table_of_problems_is_plain_to_read() -> None:
    page = Client().get("/api/problems").content.decode()
    assert "`" not in page
    for name, code in CODES.items():
        assert f'<tr id="{name}">' in page
        assert f"<td>{html.escape(code.title, quote=True)}</td>" in page


def test_browsers_find_an_icon() -> None:
    response = Client().get("/favicon.ico", follow=True)
    assert (response.status_code, response["Content-Type"]) == (200, "image/svg+xml")


def test_outside_the_api_not_found_is_plain() -> None:
    response = Client().get("/nothing")
    assert (response.status_code, response["Content-Type"]) == (404, "text/plain")


def test_a_method_that_is_not_answered(client: APIClient) -> None:
    response = client.put("/api/v1/enroll")
    require_problem(response, 405, "method_not_allowed")
    assert "POST" in response["Allow"]


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"\xff\xfe",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b"[" * 100_000,
        b"1" * 5000,
        b'{"candidate_id": "\\ud800"}',
    ],
)
def test_a_body_that_is_no_json(client: APIClient, body: bytes) -> None:
    response = client.generic("POST", "/api/v1/session/start", body, content_type="application/json")
    require_problem(response, 400, "malformed_request")


def test_several_faults_read_as_one_sentence(client: APIClient) -> None:
    response = client.get("/api/v1/admin/sessions", {"state": "sleeping", "since": "soon"})
    detail = require_problem(response, 400, "request_invalid")["detail"]
    assert re.fullmatch(r"[^;]+[^.]; [^;]+[^.]\.", detail), detail


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"1", b'"text"'])
def test_a_body_that_is_no_object(client: APIClient, body: bytes) -> None:
    response = client.generic("POST", "/api/v1/session/start", body, content_type="application/json")
    require_problem(response, 400, "request_invalid")


def test_a_form_that_cannot_be_read(client: APIClient) -> None:
    response = client.generic("POST", "/api/v1/enroll", b"nonsense", content_type="multipart/form-data; boundary=x")
    assert response.status_code in (400, 422)
    response = client.generic("POST", "/api/v1/enroll", b"nonsense", content_type="multipart/form-data")
    require_problem(response, 400, "malformed_request")


def test_a_body_of_another_type(client: APIClient) -> None:
    response = client.generic("POST", "/api/v1/session/start", b"a=1", content_type="text/csv")
    require_problem(response, 415, "media_type_unsupported")


def test_an_answer_that_cannot_be_given(client: APIClient) -> None:
    require_problem(client.get("/api/v1/admin/sessions", HTTP_ACCEPT="image/png"), 406, "not_acceptable")


def test_a_body_that_is_too_large(client: APIClient) -> None:
    body = b'{"candidate_id": "' + b"a" * (1 << 20) + b'"}'
    response = client.generic("POST", "/api/v1/session/start", body, content_type="application/json")
    require_problem(response, 413, "request_too_large")


def test_a_form_with_too_many_files(client: APIClient) -> None:
    part = b'--x\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\nA\r\n'
    response = client.generic(
        "POST", "/api/v1/enroll", part * 300 + b"--x--\r\n", content_type="multipart/form-data; boundary=x"
    )
    require_problem(response, 413, "request_too_large")


def test_what_nobody_expected_is_answered_without_internals(
    client: APIClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(**_: Any) -> None:
        raise RuntimeError("the secret is 42")

    monkeypatch.setattr("sessions.views.sessions_list", broken)
    response = client.get("/api/v1/admin/sessions")
    require_problem(response, 500, "internal_error")
    assert "42" not in response.content.decode()
    assert "the secret is 42" in caplog.text


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (OperationalError("server closed the connection"), 503, "database_unavailable"),
        (InterfaceError("connection already closed"), 503, "database_unavailable"),
        (RedisConnectionError("refused"), 503, "queue_unavailable"),
        (BrokerError("refused"), 503, "queue_unavailable"),
        (drf.Throttled(wait=3.2), 429, "too_many_requests"),
        (drf.PermissionDenied(), 403, "permission_denied"),
        (drf.AuthenticationFailed("CSRF Failed"), 401, "key_invalid"),
        (ZeroDivisionError(), 500, "internal_error"),
    ],
)
def test_exceptions_have_codes(error: Exception, status: int, code: str) -> None:
    problem = as_problem(error)
    assert (problem.status, problem.code) == (status, code)
    assert ("Retry-After" in problem.headers) == (status in (429, 503))


def test_nested_errors_become_paths() -> None:
    detail = {"a": ["wrong"], "b": {"c": ["bad", "worse"]}, "d": [{}, {"e": ["no"]}], "non_field_errors": ["both"]}
    assert flatten(detail) == {"a": ["wrong"], "b.c": ["bad", "worse"], "d.1.e": ["no"], "": ["both"]}


def test_an_unknown_code_cannot_be_raised() -> None:
    with pytest.raises(KeyError):
        Problem("made_up")


def test_every_code_is_used_and_every_used_code_is_in_the_table() -> None:
    sources = "\n".join(
        path.read_text()
        for app in APPS
        for path in (ROOT / app).rglob("*.py")
        if path.name not in {"problems.py", "schema.py"} and "migrations" not in path.parts
    )
    raised = set(re.findall(r'Problem\(\s*"(\w+)"', sources))
    assert len(raised) > 15
    assert raised <= set(CODES)
    mentioned = set(re.findall(r'"(\w+)"', sources + (ROOT / "media_gateway" / "tokens.py").read_text()))
    mentioned |= set(re.findall(r'"(\w+)"', (ROOT / "detection" / "engine" / "quality.py").read_text()))
    assert set(CODES) <= mentioned


@pytest.mark.django_db
def test_the_table_is_shown_where_the_type_points(client: APIClient) -> None:
    problem = client.get("/api/v1/session/nothing").json()
    page = Client().get(problem["type"].partition("#")[0])
    assert page.status_code == 200
    assert f'id="{problem["type"].partition("#")[2]}"' in page.content.decode()
    assert all(f"<code>{code}</code>" in page.content.decode() for code in CODES)
