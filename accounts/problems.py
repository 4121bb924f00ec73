"""What a request can go wrong with: one error class, and the table of its codes.

A service raises ``Problem``; ``proctor_site.exceptions`` answers it as ``application/problem+json`` (RFC 9457). The
table below is what docs/api.md documents: a code that is not in it cannot be raised.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

CONTENT_TYPE: Final = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Code:
    """One kind of problem: its HTTP status, and a title that does not change from one occurrence to the next."""

    status: int
    title: str


CODES: Final[Mapping[str, Code]] = {
    # The request itself
    "malformed_request": Code(400, "The body cannot be read"),
    "request_invalid": Code(400, "Fields are missing or wrong; the member errors names them"),
    "not_authenticated": Code(401, "No credentials were given"),
    "key_invalid": Code(401, "The API key is not known"),
    "key_expired": Code(401, "The API key has expired"),
    "key_revoked": Code(401, "The API key was revoked"),
    "token_invalid": Code(401, "The join token is not valid"),
    "token_expired": Code(401, "The join token has expired"),
    "token_revoked": Code(401, "The join token is void: its session has ended"),
    "token_wrong_session": Code(403, "The join token belongs to another session"),
    "scope_missing": Code(403, "The credentials do not allow this"),
    "permission_denied": Code(403, "This is not allowed"),
    "not_found": Code(404, "There is nothing at this address"),
    "method_not_allowed": Code(405, "The address does not answer this method"),
    "not_acceptable": Code(406, "No answer in an accepted format"),
    "request_too_large": Code(413, "The body is too large"),
    "media_type_unsupported": Code(415, "The body has a type that is not read here"),
    "too_many_requests": Code(429, "Too many requests"),
    # Candidates and their pictures
    "candidate_unknown": Code(404, "There is no such candidate"),
    "not_enrolled": Code(404, "The candidate has no template"),
    "candidate_not_enrolled": Code(409, "The candidate has not enrolled"),
    "already_enrolled": Code(409, "The candidate has enrolled already"),
    "consent_missing": Code(409, "The candidate has not agreed to biometrics, or has withdrawn it"),
    "legal_hold": Code(409, "A legal hold forbids removing this"),
    "erasure_running": Code(409, "The candidate is being erased"),
    "receipt_key_unknown": Code(404, "There is no such key for receipts"),
    "consent_invalid": Code(422, "Consent is missing or not valid"),
    "image_invalid": Code(422, "The file is not an image that can be read"),
    "image_too_large": Code(413, "The image is too large"),
    "face_missing": Code(422, "No face in the image"),
    "faces_several": Code(422, "Several faces in the image"),
    "face_too_small": Code(422, "The face is too small"),
    "face_turned": Code(422, "The face is turned away"),
    "image_blurred": Code(422, "The image is blurred"),
    "image_dark": Code(422, "The face is too dark"),
    "image_bright": Code(422, "The face is too bright"),
    "verification_paused": Code(429, "Too often in a row the candidate was not recognised: verification pauses"),
    "faces_differ": Code(422, "The images show different people"),
    "duplicate_suspected": Code(409, "The face resembles another candidate's: a person has to decide"),
    # Sessions
    "session_unknown": Code(404, "There is no such session"),
    "session_exists": Code(409, "There is a session of that name already"),
    "session_ended": Code(409, "The session has ended"),
    "enrollment_closed": Code(409, "The session was not started for enrolling on joining"),
    "challenge_closed": Code(409, "There is no challenge to begin, or none any more"),
    "event_time_invalid": Code(422, "An event lies too far back or ahead; the member events names them"),
    "policy_invalid": Code(422, "The policy cannot be used; the member errors names the fields by path"),
    # Alerts
    "subscription_unknown": Code(404, "There is no such subscription"),
    "incident_unknown": Code(404, "There is no such incident"),
    "incident_open": Code(409, "The incident is still open: it can be decided on when it has ended"),
    "incident_decided": Code(409, "Somebody has decided on the incident: reopen it first"),
    "incident_undecided": Code(409, "Nobody has decided on the incident: there is nothing to reopen"),
    "incident_changed": Code(409, "The incident is not any more what it was when it was read"),
    "evidence_unknown": Code(404, "There is no such evidence"),
    "evidence_removed": Code(410, "The picture's retention time is over"),
    "evidence_erased": Code(410, "The candidate was erased, and the picture with it"),
    "link_invalid": Code(403, "The link is not one of ours"),
    "link_expired": Code(403, "The link has expired"),
    "address_refused": Code(422, "Alerts are not delivered to this address"),
    "transport_unavailable": Code(422, "This deployment does not deliver alerts in this way"),
    "secret_invalid": Code(422, "The secret does not have a form that the transport takes"),
    "delivery_unknown": Code(404, "There is no such delivery"),
    "delivery_under_way": Code(409, "The delivery is being made at this moment"),
    "range_missing": Code(422, "Nothing says which deliveries are meant"),
    "event_type_unknown": Code(422, "There is no such event type"),
    # Our own parts
    "internal_error": Code(500, "Something broke on our side"),
    "data_unreadable": Code(500, "What is stored does not open: it was changed, or its key is not here"),
    "database_unavailable": Code(503, "The database does not answer"),
    "queue_unavailable": Code(503, "The queue does not answer"),
    "workers_unavailable": Code(503, "No worker answered in time"),
    "storage_unavailable": Code(503, "The storage of evidence does not answer"),
    "keys_unavailable": Code(503, "The service that holds the keys does not answer"),
}


class Problem(Exception):  # noqa: N818  # the word of RFC 9457
    """A request that cannot be served, for a reason the caller can act on.

    ``detail`` is a sentence about this occurrence; ``members`` are further machine-readable fields of the answer, for
    example the measured value and the threshold it missed. ``retry_after_s`` becomes the header of that name.
    """

    def __init__(self, code: str, detail: str = "", *, retry_after_s: int | None = None, **members: Any) -> None:
        self.code = code
        self.status = CODES[code].status
        self.title = CODES[code].title
        self.detail = detail or f"{self.title}."
        self.members = members
        self.retry_after_s = retry_after_s
        super().__init__(f"{code}: {self.detail}")

    def to_dict(self) -> dict[str, Any]:
        """Return the body of the answer."""
        return {
            "type": f"/api/problems#{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            **self.members,
        }

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers of the answer besides its content type."""
        return {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}
