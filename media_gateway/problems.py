"""Refusals of a WHIP request, answered as problem+json (RFC 9457) with a member ``code``."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

CODES: Mapping[str, HTTPStatus] = {
    "token_missing": HTTPStatus.UNAUTHORIZED,
    "token_invalid": HTTPStatus.UNAUTHORIZED,
    "token_expired": HTTPStatus.UNAUTHORIZED,
    "token_wrong_session": HTTPStatus.FORBIDDEN,
    "session_ended": HTTPStatus.CONFLICT,
    "peer_replaced": HTTPStatus.CONFLICT,
    "peer_unknown": HTTPStatus.NOT_FOUND,
    "not_found": HTTPStatus.NOT_FOUND,
    "method_not_allowed": HTTPStatus.METHOD_NOT_ALLOWED,
    "content_type_unsupported": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "body_too_large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "sdp_invalid": HTTPStatus.BAD_REQUEST,
    "tracks_unsupported": HTTPStatus.NOT_ACCEPTABLE,  # RFC 9725, 4.4.2
    "video_missing": HTTPStatus.UNPROCESSABLE_ENTITY,
    "codec_unsupported": HTTPStatus.UNPROCESSABLE_ENTITY,
    "etag_missing": HTTPStatus.PRECONDITION_REQUIRED,
    "etag_mismatch": HTTPStatus.PRECONDITION_FAILED,
    "ice_restart_unsupported": HTTPStatus.UNPROCESSABLE_ENTITY,  # RFC 9725, 4.3.1
    "gateway_full": HTTPStatus.SERVICE_UNAVAILABLE,
    "gateway_stopping": HTTPStatus.SERVICE_UNAVAILABLE,
    "bad_request": HTTPStatus.BAD_REQUEST,
    "internal_error": HTTPStatus.INTERNAL_SERVER_ERROR,
}


class ProblemError(Exception):
    """A request that is refused. ``code`` is one of ``CODES``, which gives the status."""

    def __init__(self, code: str, detail: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.headers = dict(headers or {})

    @property
    def status(self) -> HTTPStatus:
        return CODES[self.code]

    def document(self) -> dict[str, str | int]:
        """Return the body."""
        status = self.status
        return {
            "type": "about:blank",
            "title": status.phrase,
            "status": int(status),
            "detail": self.detail,
            "code": self.code,
        }
