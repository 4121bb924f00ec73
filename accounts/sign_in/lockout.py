"""Who may try how often. All limits of signing in are here; ``docs/access.md`` lists them.

- django-axes counts wrong passwords per person and address in the database, and locks that pair out for a while.
- Redis counts attempts per address and per person over all addresses, and wrong codes of the second factor per person.
  These come first, before a password is hashed. A Redis that is away limits nobody; the lockout stays.
"""

from __future__ import annotations

import hashlib
import unicodedata
from datetime import timedelta
from typing import Any, Final

from axes.backends import AxesStandaloneBackend
from axes.exceptions import AxesBackendPermissionDenied
from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from accounts import limits

TOO_MANY: Final = 429
_LOCKED: Final = "_was_locked_out"


class LockoutBackend(AxesStandaloneBackend):  # type: ignore[misc]
    """Refuses who is locked out before a password is looked at, and notes that on the request."""

    def authenticate(self, request: HttpRequest, *args: Any, **credentials: Any) -> None:
        try:
            super().authenticate(request, *args, **credentials)
        except AxesBackendPermissionDenied:
            setattr(request, _LOCKED, True)
            raise


def was_locked_out(request: HttpRequest) -> bool:
    """Tell whether somebody was locked out when they tried, rather than by this try."""
    return bool(getattr(request, _LOCKED, False))


def address_of(request: HttpRequest) -> str | None:
    """Return the connection's address: a proxy's header says nothing that could not be made up."""
    return request.META.get("REMOTE_ADDR") or None


def address_counted(request: HttpRequest) -> str | None:
    """Return the address as which somebody counts, see ``accounts.limits.address_counted``; django-axes asks too."""
    return limits.address_counted(address_of(request) or "") or None


def attempt_wait_s(request: HttpRequest, username: str) -> int | None:
    """Count an attempt to sign in; return in how many seconds to come back if there were too many, or None."""
    # As the form reads it, or the same person had as many counts as there are ways to write the name.
    read = unicodedata.normalize("NFKC", username.strip())
    # A name is a person's: Redis gets no more of it than is needed to tell names apart.
    name = hashlib.sha256(read.encode(errors="replace")).hexdigest()[:16]
    waits = [limits.wait_s("login_address", address_counted(request) or ""), limits.wait_s("login", name)]
    return max((wait for wait in waits if wait is not None), default=None)


def code_wait_s(person_pk: object) -> int | None:
    """Count an attempt with a code of the second factor, as ``attempt_wait_s`` does."""
    return limits.wait_s("login_code", str(person_pk))


def locked_out(request: HttpRequest, original: Any = None, credentials: Any = None) -> HttpResponse:
    """Answer somebody whom django-axes has locked out."""
    return refused(request, int(cool_off().total_seconds()))


def cool_off(request: HttpRequest | None = None) -> timedelta:
    """Return how long a lockout lasts; django-axes asks with the request."""
    return timedelta(minutes=settings.LOCKOUT_MINUTES)


def refused(request: HttpRequest, wait_s: int) -> HttpResponse:
    """Answer with a page that says when to come back."""
    minutes = -(-wait_s // 60)
    told = {**admin.site.each_context(request), "title": "Too many attempts", "wait_s": wait_s, "minutes": minutes}
    answer = render(request, "accounts/locked_out.html", told, status=TOO_MANY)
    answer["Retry-After"] = str(wait_s)
    return answer
