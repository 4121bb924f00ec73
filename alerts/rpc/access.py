"""Who may follow the stream, from where on, and with which words a call is refused."""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import grpc

from accounts.api_keys import api_key_find
from accounts.limits import wait_s
from accounts.models import Organisation, Scope
from accounts.problems import Problem
from alerts import stream
from alerts.rpc import alerts_pb2
from alerts.stream import EventUnknownError, Filters
from alerts.subscriptions import ALERT_TYPES, event_types_check
from sessions.selectors import session_find

CODE_KEY: Final = "sdproctor-code"
"""Trailing metadata: the code of the refusal, which does not change from one release to the next."""
OLDEST_KEY: Final = "sdproctor-oldest-event-id"
RETRY_KEY: Final = "sdproctor-retry-after-s"
LIST_LENGTH: Final = 100
"""Names in one filter."""

STATUS: Final[Mapping[str, grpc.StatusCode]] = {
    "not_authenticated": grpc.StatusCode.UNAUTHENTICATED,
    "key_invalid": grpc.StatusCode.UNAUTHENTICATED,
    "key_expired": grpc.StatusCode.UNAUTHENTICATED,
    "key_revoked": grpc.StatusCode.UNAUTHENTICATED,
    "scope_missing": grpc.StatusCode.PERMISSION_DENIED,
    "too_many_requests": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "request_invalid": grpc.StatusCode.INVALID_ARGUMENT,
    "event_type_unknown": grpc.StatusCode.INVALID_ARGUMENT,
    "session_unknown": grpc.StatusCode.NOT_FOUND,
    "event_unknown": grpc.StatusCode.OUT_OF_RANGE,
    "database_unavailable": grpc.StatusCode.UNAVAILABLE,
    "server_stopping": grpc.StatusCode.UNAVAILABLE,
}
"""What a call can end with, by code; docs/grpc.md tells what each means."""


DETAIL_LENGTH: Final = 300
"""Characters of a refusal's text: it repeats what was asked for, which may be long."""


class RefusalError(Exception):
    """A call that is not answered, or not any longer. ``more`` goes into the trailing metadata beside the code."""

    def __init__(self, code: str, detail: str, more: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.status = STATUS[code]
        self.detail = detail[:DETAIL_LENGTH]
        self.trailers = ((CODE_KEY, code), *(more or {}).items())


@dataclass(frozen=True, slots=True)
class Caller:
    """What comes with a call: its metadata, and the address it comes from in gRPC's form."""

    metadata: Mapping[str, str | bytes]
    peer: str


@dataclass(frozen=True, slots=True)
class Start:
    """Whose alerts a client gets, which of them, and after which position; ``newest`` is that of the last there is."""

    organisation: Organisation
    filters: Filters
    position: int
    newest: int


def organisation_of(caller: Caller) -> Organisation:
    """Return the organisation whose API key came along; raise ``RefusalError``. Wrong keys are counted by address."""
    token = _bearer(caller.metadata)
    if token is None:
        raise RefusalError("not_authenticated", "Send an API key as metadata: authorization: Bearer sdp_…")
    try:
        key = api_key_find(token)
    except Problem as problem:
        raise _failed(problem, caller.peer) from None
    if Scope.SESSIONS not in key.scopes:
        raise RefusalError("scope_missing", f"The API key lacks the scope '{Scope.SESSIONS.value}'.")
    return key.organisation


def _bearer(metadata: Mapping[str, str | bytes]) -> str | None:
    given = metadata.get("authorization", "")
    scheme, _, token = (given if isinstance(given, str) else "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _failed(problem: Problem, peer: str) -> RefusalError:
    wait = wait_s("failed_authentication", _address(peer))
    if wait is None:
        return RefusalError(problem.code, problem.detail)
    return RefusalError("too_many_requests", "Too many wrong keys from this address.", {RETRY_KEY: str(wait)})


def _address(peer: str) -> str:
    """Return the address in gRPC's ``ipv4:127.0.0.1:5000`` or ``ipv6:%5B::1%5D:5000``."""
    host, _, _ = urllib.parse.unquote(peer).partition(":")[2].rpartition(":")
    return host.strip("[]")


def start_of(request: alerts_pb2.SubscribeRequest, caller: Caller) -> Start:
    """Return what a client is to get; raise ``RefusalError`` when it may not have it or asks for what there is not."""
    organisation = organisation_of(caller)
    filters = _filters(organisation, request)
    newest = stream.newest(organisation)
    return Start(organisation, filters, _position(organisation, request, filters, newest), newest)


def _filters(organisation: Organisation, request: alerts_pb2.SubscribeRequest) -> Filters:
    if max(len(request.exam_ids), len(request.event_types)) > LIST_LENGTH:
        raise RefusalError("request_invalid", f"A filter has at most {LIST_LENGTH} names.")
    if any("\x00" in name for name in (request.session_id, *request.exam_ids)):
        raise RefusalError("request_invalid", "Names hold no null characters.")
    try:
        event_types_check(request.event_types, known=ALERT_TYPES)
        session = session_find(organisation=organisation, session_id=request.session_id) if request.session_id else None
    except Problem as problem:
        raise RefusalError(problem.code, problem.detail) from None
    return Filters(session.pk if session else None, tuple(request.exam_ids), tuple(request.event_types))


def _position(organisation: Organisation, request: alerts_pb2.SubscribeRequest, filters: Filters, newest: int) -> int:
    if request.WhichOneof("start") != "after_event_id":
        return stream.BEGINNING if request.from_beginning else newest
    try:
        return stream.cursor_of(organisation, request.after_event_id, filters)
    except EventUnknownError as error:
        oldest = {OLDEST_KEY: str(error.oldest_event_id)} if error.oldest_event_id else {}
        raise RefusalError("event_unknown", str(error), oldest) from None
