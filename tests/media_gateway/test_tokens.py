"""The join token: who may publish, for which session, until when."""

from __future__ import annotations

import base64
import json
import math
import time
from dataclasses import replace

import jwt
import pytest

from media_gateway.tokens import JoinClaims, TokenError, mint, verify

KEY = "a-key-for-tests-that-is-long-enough-0123"
SESSION = "6c8c9a3e-6f63-4b0e-8d3a-0d4d6f0a7b11"


def claims() -> JoinClaims:
    now = time.time()
    return JoinClaims(session_id=SESSION, issued_at=now, expires_at=now + 60, frames_per_second=2.0, audio_window_s=1.0)


def code_of(token: str, **kwargs: float) -> str:
    with pytest.raises(TokenError) as caught:
        verify(token, key=KEY, **kwargs)
    return caught.value.code


def test_a_token_tells_what_it_was_minted_with() -> None:
    minted = claims()
    assert verify(mint(minted, key=KEY), key=KEY) == minted


def test_a_token_expires_to_the_fraction_of_a_second() -> None:
    minted = claims()
    token = mint(minted, key=KEY)
    assert verify(token, key=KEY, now=minted.expires_at - 0.1) == minted
    assert code_of(token, now=minted.expires_at) == "token_expired"


def test_a_token_from_the_future_is_invalid() -> None:
    minted = claims()
    assert code_of(mint(minted, key=KEY), now=minted.issued_at - 60) == "token_invalid"


def test_a_token_opens_only_its_own_session() -> None:
    claims().require_session(SESSION)
    with pytest.raises(TokenError) as caught:
        claims().require_session("00000000-0000-4000-8000-000000000000")
    assert caught.value.code == "token_wrong_session"


def test_a_token_of_another_key_is_invalid() -> None:
    assert code_of(mint(claims(), key=KEY[::-1])) == "token_invalid"


def test_a_token_without_signature_is_invalid() -> None:
    body = mint(claims(), key=KEY).split(".")[1]
    header = base64.urlsafe_b64encode(json.dumps({"alg": "none", "typ": "JWT"}).encode()).rstrip(b"=").decode()
    assert code_of(f"{header}.{body}.") == "token_invalid"


def test_a_changed_payload_is_invalid() -> None:
    header, _, signature = mint(claims(), key=KEY).split(".")
    other = mint(replace(claims(), session_id="another"), key=KEY).split(".")[1]
    assert code_of(f"{header}.{other}.{signature}") == "token_invalid"


@pytest.mark.parametrize("text", ["", "x", "a.b.c", "....", "\x00", "é" * 10])
def test_what_is_no_token_is_invalid(text: str) -> None:
    assert code_of(text) == "token_invalid"


@pytest.mark.parametrize(
    "change",
    [
        {"aud": "someone-else"},
        {"sub": 7},
        {"sub": ""},
        {"fps": 0},
        {"fps": "2"},
        {"fps": True},
        {"win": -1},
        {"win": math.inf},
        {"exp": math.nan},
        {"exp": None},
        {"iat": "now"},
    ],
)
def test_a_signed_token_with_senseless_claims_is_invalid(change: dict[str, object]) -> None:
    minted = claims()
    payload = {
        "aud": "sd-proctor-join",
        "sub": SESSION,
        "iat": minted.issued_at,
        "exp": minted.expires_at,
        "fps": 2.0,
        "win": 1.0,
    }
    assert verify(jwt.encode(payload, KEY, algorithm="HS256"), key=KEY) == minted
    # PyJWT refuses to encode some of these; the JSON is what counts.
    token = jwt.api_jws.encode(json.dumps(payload | change).encode(), KEY, algorithm="HS256")
    assert code_of(token) == "token_invalid"


@pytest.mark.parametrize("missing", ["aud", "sub", "iat", "exp", "fps", "win"])
def test_every_claim_is_required(missing: str) -> None:
    payload = {"aud": "sd-proctor-join", "sub": SESSION, "iat": 1.0, "exp": 9e9, "fps": 2.0, "win": 1.0}
    del payload[missing]
    assert code_of(jwt.encode(payload, KEY, algorithm="HS256")) == "token_invalid"
