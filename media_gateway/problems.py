"""Refusals of a WHIP request, answered as problem+json (RFC 9457) with a member ``code``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from http import HTTPStatus


@dataclass(frozen=True, slots=True)
class Code:
    """One kind of refusal: its HTTP status, and a title that does not change from one occurrence to the next."""

    status: HTTPStatus
    title: str


CODES: Mapping[str, Code] = {
    "token_missing": Code(HTTPStatus.UNAUTHORIZED, "No bearer token was sent"),
    "token_invalid": Code(HTTPStatus.UNAUTHORIZED, "The join token is not one of ours, or was altered"),
    "token_expired": Code(HTTPStatus.UNAUTHORIZED, "The join token has expired"),
    "token_wrong_session": Code(HTTPStatus.FORBIDDEN, "The join token belongs to another session"),
    "session_ended": Code(HTTPStatus.CONFLICT, "The session has ended"),
    "peer_replaced": Code(HTTPStatus.CONFLICT, "A newer peer publishes to this session now"),
    "peer_unknown": Code(HTTPStatus.NOT_FOUND, "There is no such peer, or it is gone"),
    "not_found": Code(HTTPStatus.NOT_FOUND, "There is nothing at this address"),
    "method_not_allowed": Code(HTTPStatus.METHOD_NOT_ALLOWED, "The address does not answer this method"),
    "content_type_unsupported": Code(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "The body has a type that is not read here"),
    "body_too_large": Code(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The body is longer than any SDP"),
    "sdp_invalid": Code(HTTPStatus.BAD_REQUEST, "The SDP cannot be read"),
    "tracks_unsupported": Code(
        HTTPStatus.NOT_ACCEPTABLE, "The offer has more than one camera and one microphone"
    ),  # RFC 9725, 4.4.2
    "video_missing": Code(HTTPStatus.UNPROCESSABLE_ENTITY, "The offer has no camera"),
    "codec_unsupported": Code(HTTPStatus.UNPROCESSABLE_ENTITY, "The offer has neither VP8 nor H.264, or no Opus"),
    "etag_missing": Code(HTTPStatus.PRECONDITION_REQUIRED, "A PATCH needs If-Match"),
    "etag_mismatch": Code(HTTPStatus.PRECONDITION_FAILED, "The ICE session is another by now"),
    "ice_restart_unsupported": Code(
        HTTPStatus.UNPROCESSABLE_ENTITY, "ICE cannot be restarted: publish anew"
    ),  # RFC 9725, 4.3.1
    "gateway_full": Code(HTTPStatus.SERVICE_UNAVAILABLE, "The gateway has no room for another peer"),
    "gateway_stopping": Code(HTTPStatus.SERVICE_UNAVAILABLE, "The gateway is going down"),
    "bad_request": Code(HTTPStatus.BAD_REQUEST, "The HTTP request cannot be read"),
    "internal_error": Code(HTTPStatus.INTERNAL_SERVER_ERROR, "Something broke on our side"),
}


TABLE_PATH = "/problems"
"""Where this gateway serves the table; the ``type`` of a problem points into it."""


def table() -> str:
    """Return the codes as an HTML page, for whoever follows a ``type``."""
    rows = "\n".join(
        f'<tr id="{name}"><td>{name}</td><td>{int(code.status)}</td><td>{escape(code.title)}</td></tr>'
        for name, code in CODES.items()
    )
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Problems of the gateway</title></head>\n'
        f"<body><h1>Problems of the gateway</h1><table>\n{rows}\n</table></body></html>\n"
    )


class ProblemError(Exception):
    """A request that is refused. ``code`` is one of ``CODES``, which gives status and title."""

    def __init__(self, code: str, detail: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.headers = dict(headers or {})

    @property
    def status(self) -> HTTPStatus:
        return CODES[self.code].status

    def document(self) -> dict[str, str | int]:
        """Return the body."""
        return {
            "type": f"{TABLE_PATH}#{self.code}",
            "title": CODES[self.code].title,
            "status": int(self.status),
            "detail": self.detail,
            "code": self.code,
        }
