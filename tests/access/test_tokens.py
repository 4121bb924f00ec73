"""Join tokens that are not ours, not any more, or another's: refused wherever a token is taken.

The gateway verifies by the same function; its own tests hold it to the same answers over WHIP.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from rest_framework.test import APIClient

from media_gateway.tokens import JoinClaims, TokenError, mint, verify
from sessions.joining import join_token_mint
from sessions.models import ExamSession
from sessions.services import session_end
from tests.alerts.builders import on_db
from tests.alerts.dialling import dial_path, refused
from tests.factories import make_session

Spoil = Callable[[ExamSession, str], str]


def payload(session: ExamSession, **changes: Any) -> dict[str, Any]:
    now = time.time()
    told = {"aud": "sd-proctor-join", "sub": str(session.id), "iat": now - 5, "exp": now + 600, "fps": 2.0, "win": 1.0}
    return {name: value for name, value in (told | changes).items() if value is not None}


def signed(session: ExamSession, key: str, algorithm: str = "HS256", **changes: Any) -> str:
    return jwt.encode(payload(session, **changes), key, algorithm=algorithm)


def unsigned(session: ExamSession, key: str) -> str:
    return jwt.encode(payload(session), None, algorithm="none")


def stripped(session: ExamSession, key: str) -> str:
    return signed(session, key).rpartition(".")[0] + "."


def renamed(session: ExamSession, key: str) -> str:
    """Another session's name under the signature of one's own."""
    head, _, signature = signed(session, key).split(".")
    body = base64.urlsafe_b64encode(json.dumps(payload(session, fps=30.0)).encode()).rstrip(b"=").decode()
    return f"{head}.{body}.{signature}"


INVALID: dict[str, Spoil] = {
    "alg none": unsigned,
    "no signature": stripped,
    "changed": renamed,
    "another key": lambda session, key: signed(session, "x" * 64),
    "HS384": lambda session, key: signed(session, key, "HS384"),
    "HS512": lambda session, key: signed(session, key, "HS512"),
    "of the future": lambda session, key: signed(session, key, iat=time.time() + 600),
    "for somebody else": lambda session, key: signed(session, key, aud="another-service"),
    "without audience": lambda session, key: signed(session, key, aud=None),
    "without end": lambda session, key: signed(session, key, exp=None),
    "without session": lambda session, key: signed(session, key, sub=None),
    "end as text": lambda session, key: signed(session, key, exp="never"),
    "endless": lambda session, key: signed(session, key, exp=1e400),
    "no token": lambda session, key: "a.b.c",
}


@pytest.fixture
def spoilt(settings: Any, request: pytest.FixtureRequest, session: ExamSession) -> str:
    return INVALID[request.param](session, settings.JOIN_TOKEN_KEY)


@pytest.fixture
def session(db: None, redis_client: object) -> ExamSession:
    return make_session()


@pytest.mark.parametrize("spoilt", INVALID, indirect=True)
def test_a_token_that_does_not_hold_opens_nothing(session: ExamSession, spoilt: str, settings: Any) -> None:
    with pytest.raises(TokenError) as caught:
        verify(spoilt, key=settings.JOIN_TOKEN_KEY)
    assert caught.value.code == "token_invalid"
    client = APIClient(HTTP_AUTHORIZATION=f"Bearer {spoilt}")
    for method, where in (("get", ""), ("post", "/events"), ("post", "/challenge"), ("post", "/enroll")):
        answer = getattr(client, method)(f"/api/v1/session/{session.id}{where}", format="json")
        assert (answer.status_code, answer.json()["code"]) == (401, "token_invalid"), where


def test_an_expired_token_is_told_from_a_wrong_one(session: ExamSession, settings: Any) -> None:
    token = signed(session, settings.JOIN_TOKEN_KEY, exp=time.time() - 1)
    answer = APIClient(HTTP_AUTHORIZATION=f"Bearer {token}").get(f"/api/v1/session/{session.id}")
    assert (answer.status_code, answer.json()["code"]) == (401, "token_expired")


def test_a_token_opens_its_own_session_alone(session: ExamSession) -> None:
    for other in (make_session(session.organisation), make_session()):
        client = APIClient(HTTP_AUTHORIZATION=f"Bearer {join_token_mint(session)}")
        for method, where in (("get", ""), ("post", "/events"), ("post", "/challenge"), ("post", "/enroll")):
            answer = getattr(client, method)(f"/api/v1/session/{other.id}{where}", format="json")
            assert (answer.status_code, answer.json()["code"]) == (403, "token_wrong_session"), where
        assert client.get(f"/api/v1/session/{session.id}").status_code == 200


def test_a_token_is_used_again_until_its_session_ends_and_then_only_reads_that(session: ExamSession) -> None:
    client = APIClient(HTTP_AUTHORIZATION=f"Bearer {join_token_mint(session)}")
    address = f"/api/v1/session/{session.id}"
    assert [client.get(address).status_code for _ in range(2)] == [200, 200]
    session_end(session=session, reason="requested")
    read = client.get(address)
    assert (read.status_code, read.json()["state"]) == (200, "ended")
    bodies: dict[str, dict[str, Any]] = {
        "/events": {"events": [{"type": "TAB_HIDDEN", "at": time.time()}]},
        "/challenge": {},
        "/enroll": {
            "consent": {"version": "1", "locale": "en", "given_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())},
            "images": [base64.b64encode(b"no picture").decode()],
        },
    }
    for where, body in bodies.items():
        answer = client.post(f"{address}{where}", body, format="json")
        assert (answer.status_code, answer.json()["code"]) == (409, "session_ended"), where


def test_a_token_is_no_api_key_and_opens_nothing_else(session: ExamSession) -> None:
    client = APIClient(HTTP_AUTHORIZATION=f"Bearer {join_token_mint(session)}")
    for address in ("admin/sessions", "admin/stats", "incidents", "subscriptions", "deliveries", "enroll/somebody"):
        answer = client.get(f"/api/v1/{address}")
        assert (answer.status_code, answer.json()["code"]) == (401, "key_invalid"), address


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("no_listener_outlives_its_test")
@pytest.mark.parametrize("how", ["header", "subprotocol"])
async def test_no_socket_opens_by_a_token_that_does_not_hold(settings: Any, redis_client: object, how: str) -> None:
    session = await on_db(make_session)()
    path, key = f"/api/v1/session/ws/{session.id}", settings.JOIN_TOKEN_KEY
    tokens = {name: (spoil(session, key), "token_invalid") for name, spoil in INVALID.items()}
    now = time.time()
    expired = mint(JoinClaims(str(session.id), now - 600, now - 1, 2.0, 1.0), key=key)
    tokens["expired"] = (expired, "token_expired")
    for name, (token, code) in tokens.items():
        given = {"token": token} if how == "header" else {"protocols": ["sd-proctor.v1", f"bearer.{token}"]}
        assert await refused(dial_path(path, **given)) == (4401, code), name
