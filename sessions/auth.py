"""Let the candidate page in: a join token opens its own session, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from accounts.auth import REALM, HasScope, Principal, bearer_token, is_api_key
from accounts.limits import failed_authentication
from accounts.models import Organisation
from accounts.problems import Problem
from accounts.schema import BEARER
from media_gateway.tokens import JoinClaims, TokenError, verify
from sessions.models import ExamSession, as_uuid


@dataclass(frozen=True, slots=True)
class JoinPrincipal(Principal):
    """Whoever holds a session's link: the candidate, as far as anybody can tell."""

    session: ExamSession

    @property
    def organisation(self) -> Organisation:
        return self.session.organisation

    @property
    def pk(self) -> str:
        """Name the principal apart from users, for throttles and logs."""
        return f"join:{self.session.id}"


class JoinTokenAuthentication(BaseAuthentication):
    """``Authorization: Bearer <join token>``. ``request.auth`` is the token's claims, ``user`` a ``JoinPrincipal``.

    The token of an ended session still authenticates until it expires: the page may learn that the session is over.
    What it may do then is for the view to say.
    """

    def authenticate(self, request: Request) -> tuple[JoinPrincipal, JoinClaims] | None:
        token = bearer_token(request)
        if token is None or is_api_key(token):
            return None
        try:
            claims = verify(token, key=settings.JOIN_TOKEN_KEY)
        except TokenError as error:
            raise failed_authentication(request, Problem(error.code, str(error))) from None
        return JoinPrincipal(_session_of(claims)), claims

    def authenticate_header(self, request: Request) -> str:
        return REALM


def _session_of(claims: JoinClaims) -> ExamSession:
    own_id = as_uuid(claims.session_id)
    session = ExamSession.objects.with_everything().filter(id=own_id).first() if own_id else None
    if session is None:
        raise Problem("token_invalid", "The join token is for a session that is no more.")
    return session


class JoinsOrHasScope(BasePermission):
    """A join token (the view checks of which session), or an API key with the view's ``required_scope``."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        return isinstance(request.user, JoinPrincipal) or HasScope().has_permission(request, view)


class JoinsOnly(BasePermission):
    """A join token; an API key is not what the candidate holds."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        return isinstance(request.user, JoinPrincipal)


class JoinTokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """``Authorization: Bearer <join token>``"""

    target_class = "sessions.auth.JoinTokenAuthentication"
    name = "joinToken"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return BEARER | {"bearerFormat": "JWT", "description": "The join token of one session."}
