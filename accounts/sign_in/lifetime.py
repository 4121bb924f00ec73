"""How long a sign-in lasts: so long after the last request, and so long in all; and which pages wait for more."""

from __future__ import annotations

import time
from importlib import import_module
from typing import Any, Final
from urllib.parse import urlencode

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, logout
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.crypto import constant_time_compare
from django.utils.deprecation import MiddlewareMixin

from accounts.models import User
from accounts.sign_in.second_factor import second_factor_missing

SIGNED_IN_AT: Final = "signed_in_at"
SEEN_AT: Final = "seen_at"
SEEN_EVERY_S: Final = 60.0
"""``SEEN_AT`` is written at most this often."""
_ADMIN: Final = "/admin/"
_OPEN: Final = ("/admin/second-factor/", "/admin/logout/", "/admin/login/", "/admin/jsi18n/", "/admin/password_change/")
"""Pages of the admin for somebody who has yet to set up a second factor."""


def begin(session: SessionBase, now: float | None = None) -> None:
    """Note that somebody has just signed in."""
    session[SIGNED_IN_AT] = session[SEEN_AT] = time.time() if now is None else now


def is_over(session: SessionBase, now: float) -> bool:
    """Tell whether a sign-in has lasted too long, or was left alone for too long. One without times is over."""
    signed_in_at, seen_at = session.get(SIGNED_IN_AT), session.get(SEEN_AT)
    if signed_in_at is None or seen_at is None:
        return True
    return bool(
        now - signed_in_at >= settings.SESSION_HOURS * 3600 or now - seen_at >= settings.SESSION_IDLE_MINUTES * 60
    )


def person_of(session_key: str | None) -> User | None:
    """Return who is signed in by a session: still, with the password of then, and not for too long. Else None."""
    if session_key is None:
        return None
    session: SessionBase = import_module(settings.SESSION_ENGINE).SessionStore(session_key)
    if SESSION_KEY not in session or is_over(session, time.time()):
        return None
    people = User.objects.select_related("organisation").filter(pk=session[SESSION_KEY], is_active=True)
    person = people.first()
    same = person is not None and constant_time_compare(
        session.get(HASH_SESSION_KEY, ""), person.get_session_auth_hash()
    )
    return person if same and session.get(BACKEND_SESSION_KEY) in settings.AUTHENTICATION_BACKENDS else None


class SessionPolicy(MiddlewareMixin):
    """Ends sign-ins that are over, and leads to the second factor who must set one up."""

    def process_request(self, request: HttpRequest) -> HttpResponse | None:
        """Return what to answer instead of the page, or None."""
        if settings.SESSION_COOKIE_NAME not in request.COOKIES:
            return None  # nobody is signed in: API keys come without a cookie
        return _require(request)


def _require(request: HttpRequest) -> HttpResponse | None:
    session: Any = request.session
    if SESSION_KEY not in session:
        return None
    now = time.time()
    if is_over(session, now):
        logout(request)
        return None
    if now - session[SEEN_AT] >= SEEN_EVERY_S:
        session[SEEN_AT] = now
    path = request.path_info
    if not path.startswith(_ADMIN) or path.startswith(_OPEN):
        return None
    if isinstance(request.user, User) and second_factor_missing(request.user):
        return redirect(f"{reverse('mfa_activate_totp')}?{urlencode({'next': request.get_full_path()})}")
    return None
