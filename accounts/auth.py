"""Who is asking, and what they may do: API keys for platforms, the admin's own login for staff."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from accounts.api_keys import MARK, api_key_find
from accounts.limits import failed_authentication
from accounts.models import APIKey, Organisation, Scope, User
from accounts.problems import Problem
from accounts.sign_in.second_factor import second_factor_missing

if TYPE_CHECKING:  # the framework imports this module by name while its views are being imported
    from rest_framework.views import APIView

REALM: Final = 'Bearer realm="sd-proctor"'


class Principal:
    """What Django and its REST framework ask about a user, of somebody who is none."""

    is_authenticated = True
    is_active = True
    is_anonymous = False
    is_staff = False
    is_superuser = False


@dataclass(frozen=True, slots=True)
class KeyPrincipal(Principal):
    """The platform behind an API key, where Django expects a user."""

    key: APIKey

    @property
    def organisation(self) -> Organisation:
        return self.key.organisation

    @property
    def pk(self) -> str:
        """Name the principal apart from users, for throttles and logs."""
        return f"key:{self.key.prefix}"


def bearer_token(request: Request) -> str | None:
    """Return what follows ``Bearer`` in the Authorization header, or None when there is no such header."""
    scheme, _, token = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def is_api_key(token: str) -> bool:
    """Tell whether a bearer token claims to be an API key rather than a join token."""
    return token.startswith(f"{MARK}_")


def authenticate_key(raw: str) -> APIKey | None:
    """Return the valid API key that ``raw`` is, or None: for callers that answer without a reason (WebSocket)."""
    try:
        return api_key_find(raw)
    except Problem:
        return None


class ApiKeyAuthentication(BaseAuthentication):
    """``Authorization: Bearer sdp_…``. ``request.auth`` is the ``APIKey``, ``request.user`` its ``KeyPrincipal``."""

    def authenticate(self, request: Request) -> tuple[KeyPrincipal, APIKey] | None:
        token = bearer_token(request)
        if token is None:
            return None
        if not is_api_key(token):
            raise Problem("key_invalid", f"This address takes API keys. They begin with {MARK}_; a join token is none.")
        try:
            key = api_key_find(token)
        except Problem as problem:
            raise failed_authentication(request, problem) from None
        return KeyPrincipal(key), key

    def authenticate_header(self, request: Request) -> str:
        return REALM


class HasScope(BasePermission):
    """The API key must have the view's ``required_scope``."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        if not isinstance(request.auth, APIKey):
            return False
        return _scope_present(request.auth, view)


class HasScopeOrStaffReads(BasePermission):
    """An API key with the view's ``required_scope``, or staff with its ``required_permission`` who only read."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        if isinstance(request.auth, APIKey):
            return _scope_present(request.auth, view)
        permission: str = view.required_permission  # type: ignore[attr-defined]  # without it: fail, not pass
        return request.method in SAFE_METHODS and is_staff_with(request.user, permission)


class HasScopeOrStaff(BasePermission):
    """An API key with the view's ``required_scope``, or staff with its ``required_permission``, whatever they do."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        if isinstance(request.auth, APIKey):
            return _scope_present(request.auth, view)
        permission: str = view.required_permission  # type: ignore[attr-defined]  # without it: fail, not pass
        return is_staff_with(request.user, permission)


def is_staff_with(user: object, permission: str) -> bool:
    """Tell whether somebody may sign in to the admin and has a permission there (``app.view_model``).

    Who has yet to set up the second factor that is asked of them has none.
    """
    if not isinstance(user, User) or not user.is_staff or not user.is_active:
        return False
    return user.has_perm(permission) and not second_factor_missing(user)


def _scope_present(key: APIKey, view: APIView) -> bool:
    scope: str = view.required_scope  # type: ignore[attr-defined]  # a view without it must fail, not pass
    if scope not in key.scopes:
        raise Problem("scope_missing", f"The API key lacks the scope '{scope}'.", scope=str(scope))
    return True


def scope_require(request: Request, scope: Scope) -> None:
    """Raise ``Problem`` (``scope_missing``) unless the request's API key has ``scope`` besides the view's own."""
    if not isinstance(request.auth, APIKey) or scope not in request.auth.scopes:
        raise Problem("scope_missing", f"The API key lacks the scope '{scope}'.", scope=str(scope))


def organisation_of(request: Request) -> Organisation:
    """Return the organisation on whose rows the request acts."""
    principal: Any = request.user
    organisation: Organisation = principal.organisation
    return organisation


API_KEY_ONLY: Final = [ApiKeyAuthentication]
API_KEY_OR_STAFF: Final = [ApiKeyAuthentication, SessionAuthentication]
