"""Who may listen to a live socket, and what they get to hear.

Credentials come in the Authorization header, in a subprotocol ``bearer.<token>`` (browsers can set no header), or as
the admin's own login cookie together with an Origin of ours. Never in the address: addresses end up in logs.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from django.conf import settings
from django.http.request import split_domain_port, validate_host

from accounts.auth import authenticate_key, is_api_key, is_staff_with
from accounts.models import Organisation, Scope, User
from accounts.sign_in.lifetime import person_of
from enrollment.models import is_external_id
from media_gateway.tokens import TokenError, verify
from sessions.models import ExamSession, as_uuid

PROTOCOL = "sd-proctor.v1"
"""The subprotocol of the messages. A client that offers it besides its token gets this one back, not the token."""
BEARER = "bearer."
_SECRETS_IN_QUERY = frozenset({"token", "access_token", "key", "api_key", "authorization", "bearer"})


class Close(enum.IntEnum):
    """Why the server closes a socket."""

    NORMAL = 1000
    TRY_AGAIN = 1013
    """The database does not answer."""
    BAD_REQUEST = 4400
    UNAUTHENTICATED = 4401
    FORBIDDEN = 4403
    UNKNOWN_SESSION = 4404
    TOO_SLOW = 4408
    """The client does not take what it is sent."""
    UNKNOWN_EVENT = 4410
    """The event to resume after was never issued, or is not kept any more."""


class RefusalError(Exception):
    """A socket that is not opened, or not kept open."""

    def __init__(self, close: Close, code: str, detail: str, **members: Any) -> None:
        super().__init__(detail)
        self.close = close
        self.data = {"code": code, "detail": detail, **members}


class Hears(enum.Enum):
    """Which incidents, with their alerts, somebody is told about."""

    ALL = enum.auto()
    TECHNICAL = enum.auto()
    """Those about connection and equipment: what a candidate may know."""
    NONE = enum.auto()


@dataclass(frozen=True, slots=True)
class Viewer:
    """Somebody who listens. ``sees_pictures``: links to evidence are given, which open it without any login."""

    session: ExamSession
    is_candidate: bool = False
    hears: Hears = Hears.ALL
    sees_pictures: bool = True


@dataclass(frozen=True, slots=True)
class Knock:
    """What a client brings when it connects."""

    name: str
    """Of the session that is meant; empty where all are."""
    token: str | None
    user_id: Any
    """Of the signed-in person, if the page that opens the socket is ours."""
    session_key: str | None
    foreign_origin: bool
    """Somebody is signed in, but the page is not ours."""
    protocol: str | None
    after: str | None


def read(scope: Mapping[str, Any]) -> Knock:
    """Take a connection's credentials and wishes."""
    query = _query(scope)
    offered = list(scope.get("subprotocols", ()))
    bearers = [name for name in offered if name.startswith(BEARER)]
    user = scope.get("user")
    is_known = user is not None and user.is_authenticated
    ours = is_known and _is_same_origin(scope)
    return Knock(
        name=scope["url_route"]["kwargs"].get("session_id", ""),
        token=_header_token(scope) or (bearers[0].removeprefix(BEARER) if bearers else None),
        user_id=user.pk if user is not None and ours else None,
        session_key=getattr(scope.get("session"), "session_key", None),
        foreign_origin=is_known and not ours,
        protocol=PROTOCOL if PROTOCOL in offered else (bearers[0] if bearers else None),
        after=query.get("after", [None])[0],
    )


def refuse_query_secrets(scope: Mapping[str, Any]) -> None:
    """Raise ``RefusalError`` when the address carries a token."""
    if any(name.lower() in _SECRETS_IN_QUERY for name in _query(scope)):
        raise bad_request(
            "token_in_query",
            "A token does not belong into the address. Send it as header or as subprotocol bearer.<token>.",
        )


def parameters(
    scope: Mapping[str, Any], *, known: Sequence[str], repeatable: Sequence[str] = ()
) -> dict[str, list[str]]:
    """Return what the address asks for; raise ``RefusalError`` for what is not known, or given twice and means one.

    A misspelt ``after`` that nobody minds would cost the client its alerts.
    """
    query = _query(scope)
    if unknown := sorted(query.keys() - set(known)):
        said = f"Not a parameter: {', '.join(unknown)}."
        raise bad_request("parameter_unknown", said, unknown=unknown, known=list(known))
    if repeated := sorted(name for name, values in query.items() if len(values) > 1 and name not in repeatable):
        raise bad_request("parameter_invalid", f"Give {repeated[0]} once.")
    return query


def _query(scope: Mapping[str, Any]) -> dict[str, list[str]]:
    return parse_qs(scope["query_string"].decode("ascii", "replace"), keep_blank_values=True)


def bad_request(code: str, detail: str, **members: Any) -> RefusalError:
    """Word the refusal of an address that cannot be meant."""
    return RefusalError(Close.BAD_REQUEST, code, detail, **members)


def _header(scope: Mapping[str, Any], name: bytes) -> str | None:
    found = [value for key, value in scope["headers"] if key == name]
    return found[0].decode("latin-1") if found else None


def _header_token(scope: Mapping[str, Any]) -> str | None:
    scheme, _, token = (_header(scope, b"authorization") or "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _is_same_origin(scope: Mapping[str, Any]) -> bool:
    """Tell whether the page that opens the socket is ours: a cookie alone would let any page listen."""
    origin, host = _header(scope, b"origin"), _header(scope, b"host")
    if origin is None or host is None:
        return False
    public = urlsplit(settings.PUBLIC_URL)
    if origin in (f"{public.scheme}://{public.netloc}", *settings.CSRF_TRUSTED_ORIGINS):
        return True
    return urlsplit(origin).netloc == host and validate_host(split_domain_port(host)[0], settings.ALLOWED_HOSTS)


# --- Checking, in the database ----------------------------------------------------------------------------------------
def admit(knock: Knock) -> Viewer:
    """Return who is listening; raise ``RefusalError``. Asked again from time to time while the socket is open."""
    if knock.token is not None:
        return _admit_key(knock) if is_api_key(knock.token) else _admit_candidate(knock)
    if knock.user_id is not None:
        return _admit_staff(knock)
    raise nobody(knock)


def nobody(knock: Knock) -> RefusalError:
    """Return the refusal of somebody who brings neither token nor login."""
    if knock.foreign_origin:
        return RefusalError(Close.FORBIDDEN, "origin_refused", "A login opens a socket from our own pages only.")
    return RefusalError(Close.UNAUTHENTICATED, "not_authenticated", "Give an API key, a join token, or sign in.")


def key_organisation(token: str) -> Organisation:
    """Return whose API key the token is; raise ``RefusalError`` unless it is one that may listen."""
    key = authenticate_key(token)
    if key is None:
        raise RefusalError(Close.UNAUTHENTICATED, "key_invalid", "The API key is unknown, expired or revoked.")
    if Scope.SESSIONS not in key.scopes:
        raise RefusalError(Close.FORBIDDEN, "scope_missing", "The API key lacks the scope 'sessions'.")
    return key.organisation


def _admit_key(knock: Knock) -> Viewer:
    assert knock.token is not None
    return Viewer(_find(key_organisation(knock.token), knock.name))


def _admit_candidate(knock: Knock) -> Viewer:
    assert knock.token is not None
    try:
        claims = verify(knock.token, key=settings.JOIN_TOKEN_KEY)
    except TokenError as error:
        raise RefusalError(Close.UNAUTHENTICATED, error.code, str(error)) from None
    own_id = as_uuid(claims.session_id)
    session = ExamSession.objects.told_apart().filter(id=own_id).first() if own_id else None
    if session is None or (knock.name != session.session_id and as_uuid(knock.name) != session.id):
        raise RefusalError(Close.FORBIDDEN, "token_wrong_session", "The join token belongs to another session.")
    if session.state == ExamSession.State.ENDED:
        raise RefusalError(Close.UNAUTHENTICATED, "token_revoked", "The join token is void: its session has ended.")
    return Viewer(session, is_candidate=True, hears=Hears.TECHNICAL, sees_pictures=False)


def signed_in(knock: Knock) -> User:
    """Return the person who is signed in on our page; raise ``RefusalError`` unless they may view sessions."""
    user = person_of(knock.session_key)
    if user is None or user.pk != knock.user_id:
        raise RefusalError(Close.UNAUTHENTICATED, "not_authenticated", "You have signed out.")
    if not is_staff_with(user, "exam_sessions.view_examsession"):
        raise RefusalError(Close.FORBIDDEN, "permission_denied", "Only staff who may view sessions may listen.")
    return user


def _admit_staff(knock: Knock) -> Viewer:
    user = signed_in(knock)
    return Viewer(
        _find_for(user, knock.name),
        hears=Hears.ALL if user.has_perm("alerts.view_incident") else Hears.NONE,
        sees_pictures=user.has_perm("alerts.view_evidence"),
    )


def _find_for(user: User, name: str) -> ExamSession:
    """Return a session of the user's organisation; superusers get others' too, by our id: names are not unique."""
    own_id = as_uuid(name) if user.is_superuser else None
    found = ExamSession.objects.told_apart().filter(id=own_id).first() if own_id else None
    return found or _find(user.organisation, name)


def _find(organisation: Organisation, name: str) -> ExamSession:
    """Return the session of that name or id; what belongs to another organisation is as unknown as what is not."""
    found = ExamSession.objects.of(organisation).told_apart().named(name) if is_external_id(name) else None
    if found is None:
        raise RefusalError(Close.UNKNOWN_SESSION, "session_unknown", f"There is no session '{name}'.")
    return found
