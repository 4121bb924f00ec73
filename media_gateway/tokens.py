"""The join token: what lets one publisher send media for one session, and how that media is to be sampled.

The gateway accepts it, so the gateway defines it; the web side mints it with ``mint``. It is a JWT (HS256) bound to one
session. It may be used again for its own session until it expires or the session ends; a newer peer replaces the older.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import jwt

_ALGORITHM = "HS256"
_AUDIENCE = "sd-proctor-join"
_TOLERANCE_S = 30.0
"""How far the clock of the minting process may be ahead of ours."""


class TokenError(Exception):
    """A token that opens nothing. ``code`` is ``token_invalid``, ``token_expired`` or ``token_wrong_session``."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class JoinClaims:
    """What a join token says. Times are Unix seconds."""

    session_id: str
    issued_at: float
    expires_at: float
    frames_per_second: float
    audio_window_s: float

    def require_session(self, session_id: str) -> None:
        """Raise ``TokenError`` (``token_wrong_session``) unless the token is bound to ``session_id``."""
        if self.session_id != session_id:
            raise TokenError("token_wrong_session", "This join token belongs to another session.")


def mint(claims: JoinClaims, *, key: str) -> str:
    """Sign ``claims`` with ``key``."""
    payload = {
        "aud": _AUDIENCE,
        "sub": claims.session_id,
        "iat": claims.issued_at,
        "exp": claims.expires_at,
        "fps": claims.frames_per_second,
        "win": claims.audio_window_s,
    }
    return jwt.encode(payload, key, algorithm=_ALGORITHM)


def verify(token: str, *, key: str, now: float | None = None) -> JoinClaims:
    """Check signature, audience, form and expiry; raise ``TokenError`` on any fault.

    Whether the token fits the session it is used for is for the caller to ask: ``JoinClaims.require_session``.
    """
    try:
        # Times are checked below, against ``now`` and with fractions of a second.
        payload = jwt.decode(
            token,
            key,
            algorithms=[_ALGORITHM],
            audience=_AUDIENCE,
            options={"require": ["sub", "iat", "exp"], "verify_exp": False, "verify_iat": False, "verify_nbf": False},
        )
        claims = _claims(payload)
    except (jwt.InvalidTokenError, KeyError, TypeError, ValueError) as error:
        raise TokenError("token_invalid", "The join token is not valid.") from error
    now = time.time() if now is None else now
    if now >= claims.expires_at:
        raise TokenError("token_expired", "The join token has expired.")
    if claims.issued_at > now + _TOLERANCE_S:
        raise TokenError("token_invalid", "The join token is from the future.")
    return claims


def _claims(payload: dict[str, Any]) -> JoinClaims:
    session_id = payload["sub"]
    if not isinstance(session_id, str) or not session_id:
        raise ValueError("sub must be a session id")
    return JoinClaims(
        session_id=session_id,
        issued_at=_number(payload["iat"], above=0.0),
        expires_at=_number(payload["exp"], above=0.0),
        frames_per_second=_number(payload["fps"], above=0.0),
        audio_window_s=_number(payload["win"], above=0.0),
    )


def _number(value: object, *, above: float) -> float:
    """Return ``value`` as a finite float greater than ``above``; raise ``ValueError`` otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= above:
        raise ValueError(f"not a number above {above}: {value!r}")
    return float(value)
