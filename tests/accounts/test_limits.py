"""How often: counted in Redis, answered with 429 and a time to come back."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.urls import URLPattern, URLResolver, get_resolver
from redis import Redis
from rest_framework.test import APIClient

from accounts import limits
from sessions.joining import join_token_mint
from sessions.models import ExamSession
from tests.factories import make_api_key, make_session

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_client")]


def limit(settings: Any, **rates: str) -> None:
    settings.RATE_LIMITS = settings.RATE_LIMITS | rates


def client(raw: str) -> APIClient:
    return APIClient(HTTP_AUTHORIZATION=f"Bearer {raw}")


@pytest.mark.parametrize("address", ["/api/v1/enroll", "/api/v1/verify"])
def test_requests_with_pictures_are_limited_per_key(settings: Any, address: str) -> None:
    limit(settings, pictures="2/d")
    (_, busy), (_, calm) = make_api_key(), make_api_key()
    codes = [client(busy).post(address, {}, format="json").status_code for _ in range(3)]
    assert codes[2] == 429
    assert 429 not in codes[:2]
    answer = client(busy).post(address, {}, format="json")
    assert answer.json()["code"] == "too_many_requests"
    assert 0 < int(answer["Retry-After"]) <= 86401
    assert client(calm).post(address, {}, format="json").status_code != 429


def test_enrolling_on_joining_is_limited_per_session(settings: Any) -> None:
    limit(settings, join_pictures="1/d")
    codes = [[_enroll(session) for _ in range(2)] for session in (make_session(), make_session())]
    assert [pair[1] for pair in codes] == [429, 429]
    assert 429 not in [pair[0] for pair in codes]


def _enroll(session: ExamSession) -> int:
    return client(join_token_mint(session)).post(f"/api/v1/session/{session.id}/enroll", {}, format="json").status_code


def test_wrong_credentials_are_limited_per_address_and_right_ones_are_not(settings: Any) -> None:
    limit(settings, failed_authentication="2/d")
    session, (_, raw) = make_session(), make_api_key()
    address = f"/api/v1/session/{session.id}"
    tried = [client(wrong).get(address) for wrong in ("sdp_abc_def", "sdp_abc_xyz", "sdp_abc_def", "no.join.token")]
    assert [answer.status_code for answer in tried] == [401, 401, 429, 429]
    assert int(tried[2]["Retry-After"]) > 0
    assert client("sdp_abc_def").get(address, REMOTE_ADDR="10.9.8.7").status_code == 401
    assert client(raw).get(address).json()["code"] == "session_unknown"  # of another organisation: but it is let in


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("", ""),
        ("unknown", ""),
    ],
)
def test_an_address_counts_as_its_machine(address: str, counted: str) -> None:
    assert limits.address_counted(address) == counted


def test_a_join_token_is_limited_whatever_session_it_names(settings: Any) -> None:
    limit(settings, events="2/d")
    joined = client(join_token_mint(make_session()))
    codes = [joined.post(f"/api/v1/session/made-up-{n}/events", {}, format="json").status_code for n in range(4)]
    assert codes == [403, 403, 429, 429]


def test_a_limit_ends_with_its_time(settings: Any, redis_client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    limit(settings, pictures="1/min")
    now = 1_790_000_000.0
    monkeypatch.setattr(limits.time, "time", lambda: now)
    assert limits.wait_s("pictures", "somebody") is None
    wait = limits.wait_s("pictures", "somebody")
    assert wait is not None
    assert 0 < wait <= 60
    (key,) = redis_client.keys("limit:*")
    assert 0 < redis_client.ttl(key) <= 60
    now += wait
    assert limits.wait_s("pictures", "somebody") is None


def test_without_redis_nobody_is_limited(settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    limit(settings, failed_authentication="1/d")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        settings.REDIS_URL = f"redis://127.0.0.1:{unused.getsockname()[1]}/0"
        answers = [client("sdp_abc_def").get("/api/v1/session/any").status_code for _ in range(3)]
    assert answers == [401, 401, 401]
    assert "Redis is away" in caplog.text


@pytest.mark.parametrize("written", ["", "many", "0/min", "5", "5/year", "-1/min"])
def test_a_rate_that_is_none_is_named(settings: Any, written: str) -> None:
    limit(settings, pictures=written)
    with pytest.raises(ImproperlyConfigured, match="RATE_PICTURES"):
        limits.rate_parse("pictures")


def test_every_other_request_is_limited_per_key_and_without_one_per_address(settings: Any) -> None:
    limit(settings, requests="2/d", anonymous="1/d")
    (_, busy), (_, calm) = make_api_key(), make_api_key()
    answers = [client(busy).get("/api/v1/subscriptions") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert int(answers[2]["Retry-After"]) > 0
    assert client(calm).get("/api/v1/subscriptions").status_code == 200
    public = [APIClient().get("/api/v1/schemas/alert-1.0.json") for _ in range(2)]
    assert [answer.status_code for answer in public] == [200, 429]
    assert public[1].json()["code"] == "too_many_requests"
    assert APIClient().get("/api/v1/schemas/alert-1.0.json", REMOTE_ADDR="10.9.8.7").status_code == 200


def test_a_view_with_a_limit_of_its_own_or_without_any_is_known() -> None:
    """Whoever adds a view of the REST API gets the general limit, or says which."""
    unlimited, own = [], []
    for pattern in _views():
        throttles = pattern.callback.cls.throttle_classes  # type: ignore[union-attr]
        if not throttles:
            unlimited.append(str(pattern.pattern))
        elif throttles != [limits.RequestLimit]:
            own.append(str(pattern.pattern))
    assert unlimited == []
    assert 5 <= len(own) <= 10


def _views(resolver: URLResolver | None = None) -> list[URLPattern]:
    found: list[URLPattern] = []
    for entry in (resolver or get_resolver()).url_patterns:
        if isinstance(entry, URLResolver):
            found += _views(entry)
        elif hasattr(entry.callback, "cls"):
            found.append(entry)
    return found
