"""What a candidate joins with: the token, and the addresses of gateway, socket and page."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings

from detection.engine.policy import Policy
from media_gateway.tokens import JoinClaims, mint
from sessions.models import ExamSession


def join_expires_at(session: ExamSession) -> datetime:
    """Return until when the session's join token is valid: the planned end plus grace."""
    return session.planned_end_at + timedelta(seconds=settings.JOIN_GRACE_S)


def join_token_mint(session: ExamSession) -> str:
    """Make a join token for ``session``. It carries the sampling rates, so that the gateway needs no database."""
    sampling = Policy.from_dict(session.policy_document).sampling
    claims = JoinClaims(
        session_id=str(session.id),
        issued_at=session.created_at.timestamp(),
        expires_at=join_expires_at(session).timestamp(),
        frames_per_second=sampling.frames_per_second,
        audio_window_s=sampling.audio_window_s,
    )
    return mint(claims, key=settings.JOIN_TOKEN_KEY)


def whip_url(session: ExamSession) -> str:
    """Return where the session's media is published to."""
    return f"{settings.GATEWAY_PUBLIC_URL}/whip/{session.id}"


def ws_url(session: ExamSession) -> str:
    """Return the session's live socket."""
    scheme, _, rest = settings.PUBLIC_URL.partition("://")
    return f"{'wss' if scheme == 'https' else 'ws'}://{rest}/api/v1/session/ws/{session.id}"


def candidate_url(session: ExamSession) -> str:
    """Return the link for the candidate. The join token is in the fragment, which browsers send to nobody."""
    return f"{settings.PUBLIC_URL}/candidate/{session.id}#{join_token_mint(session)}"


def ice_servers() -> list[dict[str, Any]]:
    """Return the STUN and TURN servers, in the form of ``RTCConfiguration.iceServers``."""
    return list(settings.ICE_SERVERS)
