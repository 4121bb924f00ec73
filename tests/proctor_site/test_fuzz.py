"""Whatever a client sends, the answer is never a fault of ours, and always one of the documented kind."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.problems import CODES
from tests.alerts import builders
from tests.factories import make_api_key, make_enrolled_candidate, make_organisation, make_session

pytestmark = pytest.mark.django_db

KEYS = [
    "candidate_id", "exam_id", "session_id", "images", "image", "consent", "version", "given_at", "locale", "policy",
    "rules", "NO_FACE", "hold_s", "sampling", "frames_per_second", "planned_minutes", "planned_end_at",
    "enroll_on_join", "transport", "url", "secret", "event_types", "exam_ids", "enabled", "webhook",
    "decision", "reason", "reviewer",
]  # fmt: skip
WORDS = [
    "ada", "QUJD", "webhook", "en", "2026-01-01T00:00:00Z", "9999-12-31T23:59:59+14:00", "0001-01-01", "\x00", "\ud800",
    "%00", "../..", "a" * 300, "🙂", "NO_FACE", "http://127.0.0.1", "https://[::1", "whsec_AAAA", "nan", "true",
]  # fmt: skip
TEXTS = st.sampled_from(WORDS) | st.text(max_size=20)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
VALUES = st.recursive(
    SCALARS,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.sampled_from(KEYS) | TEXTS, below, max_size=6),
    max_leaves=12,
)
BODIES = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=8) | VALUES

INCIDENT = "00000000-0000-4000-8000-000000000001"
CONSENT = {"version": "1", "locale": "en", "given_at": "2026-01-01T00:00:00Z"}
VALID: dict[str, dict[str, Any]] = {
    "session/start": {"candidate_id": "ada", "policy": {"rules": {"NO_FACE": {"hold_s": 2}}}, "planned_minutes": 5},
    "enroll": {"candidate_id": "bob", "images": ["QUJD"], "consent": CONSENT},
    "verify": {"candidate_id": "ada", "image": "QUJD"},
    "subscriptions": {"transport": "webhook", "url": "https://93.184.216.34/hook", "event_types": ["NO_FACE"]},
    f"incidents/{INCIDENT}/review": {"decision": "dismissed", "reason": "a dog", "version": 2},
}
CHANGES = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=2)

POSTS = ["enroll", "verify", "session/start", "subscriptions", "session/s-1/enroll", f"incidents/{INCIDENT}/review"]
GETS = [
    "admin/sessions", "admin/stats", "session/{}", "enroll/{}", "subscriptions/{}", "evidence/{}", "incidents",
    "incidents/{}", "schemas/alert-{}.json", "{}",
]  # fmt: skip
QUERY = [
    "state", "exam_id", "candidate_id", "since", "until", "search", "ordering", "page", "page_size", "signature",
    "session_id", "event_type", "technical", "min_severity",
]  # fmt: skip


@pytest.fixture
def client(settings: Any) -> Client:
    """Return a client with every scope, of an organisation that has something to find; workers never answer."""
    settings.ENROLL_TIMEOUT_S = 0.05
    organisation = make_organisation()
    session = make_session(candidate=make_enrolled_candidate(organisation, "ada"), session_id="s-1")
    builders.apply(session, builders.change(phase="closed", finding_id=INCIDENT))
    _, raw = make_api_key(organisation)
    return Client(HTTP_AUTHORIZATION=f"Bearer {raw}", raise_request_exception=False)


def require_expected(response: Any) -> None:
    if response.status_code < 400:
        return
    body = response.json()
    assert response["Content-Type"] == "application/problem+json"
    assert CODES[body["code"]].status == response.status_code == body["status"]
    assert response.status_code < 500 or body["code"] == "workers_unavailable", body


FUZZ = settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@FUZZ
@given(path=st.sampled_from(POSTS), body=BODIES)
def test_any_json(client: Client, path: str, body: Any) -> None:
    require_expected(client.post(f"/api/v1/{path}", json.dumps(body), content_type="application/json"))


@FUZZ
@given(path=st.sampled_from(sorted(VALID)), changes=CHANGES)
def test_any_change_of_a_valid_body(client: Client, path: str, changes: dict[str, Any]) -> None:
    body = json.dumps(VALID[path] | changes)
    require_expected(client.post(f"/api/v1/{path}", body, content_type="application/json"))


@FUZZ
@given(
    path=st.sampled_from(POSTS),
    body=st.binary(max_size=200),
    kind=st.sampled_from(["application/json", "multipart/form-data; boundary=x", "x", ""]),
)
def test_any_bytes(client: Client, path: str, body: bytes, kind: str) -> None:
    require_expected(client.generic("POST", f"/api/v1/{path}", body, content_type=kind))


@FUZZ
@given(fields=st.dictionaries(st.sampled_from([*KEYS, "consent.version", "consent.given_at"]), TEXTS, max_size=8))
def test_any_form(client: Client, fields: dict[str, str]) -> None:
    clean = {name: value.encode("utf-8", "replace").decode() for name, value in fields.items()}
    require_expected(client.post("/api/v1/enroll", clean))


@FUZZ
@given(path=st.sampled_from(GETS), part=TEXTS, query=st.dictionaries(st.sampled_from(QUERY), TEXTS, max_size=4))
def test_any_address(client: Client, path: str, part: str, query: dict[str, str]) -> None:
    clean = {name: value.encode("utf-8", "replace").decode() for name, value in query.items()}
    address = path.format(part.encode("utf-8", "replace").decode())
    require_expected(client.get(f"/api/v1/{address}", clean))


@FUZZ
@given(credentials=TEXTS, scheme=st.sampled_from(["Bearer ", "bearer", "Basic ", "", "Bearer sdp_", "Bearer a.b."]))
def test_any_credentials(client: Client, credentials: str, scheme: str) -> None:
    header = scheme + credentials.encode("latin-1", "replace").decode("latin-1")
    response = Client(HTTP_AUTHORIZATION=header).get("/api/v1/session/s-1")
    require_expected(response)
    assert response.status_code in (401, 403)
