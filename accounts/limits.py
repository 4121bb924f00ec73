"""How often somebody may do something, counted in Redis for all processes together.

A Redis that is away limits nobody: what needs it says so by itself.
"""

from __future__ import annotations

import functools
import ipaddress
import logging
import re
import time
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from redis.exceptions import RedisError
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from accounts.models import APIKey
from accounts.problems import Problem
from accounts.redis_client import new_redis

if TYPE_CHECKING:  # the framework imports its settings' classes while its views are being imported
    from rest_framework.views import APIView

logger = logging.getLogger(__name__)

ANSWER_TIMEOUT_S: Final = 0.5
"""A Redis that hangs must not hang whoever is only to be counted."""
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_client = functools.lru_cache(maxsize=2)(new_redis)


def rate_parse(name: str) -> tuple[int, int]:
    """Return the limit ``name`` as times and seconds; raise ``ImproperlyConfigured`` when it cannot be used."""
    written = settings.RATE_LIMITS[name]
    found = re.fullmatch(r"(\d+)/(s|m|h|d)[a-z]*", written.strip())
    if found is None or int(found[1]) == 0:
        variable = f"RATE_{name.upper()}"
        raise ImproperlyConfigured(f"{variable} is {written!r}: write a number above zero and a time, like 600/min.")
    return int(found[1]), _SECONDS[found[2]]


def wait_s(name: str, who: str) -> int | None:
    """Count once for ``who``; return in how many seconds to come back if that was too often, or None."""
    times, seconds = rate_parse(name)
    window, over_s = divmod(int(time.time()), seconds)
    try:
        with _client(settings.REDIS_URL, answer_timeout_s=ANSWER_TIMEOUT_S).pipeline() as pipe:
            pipe.incr(key := f"limit:{name}:{who}:{window}")
            pipe.expire(key, seconds)
            count = int(pipe.execute()[0])
    except RedisError as error:
        logger.warning("%s is not limited, Redis is away: %s", name, error)
        return None
    return seconds - over_s if count > times else None


def address_counted(address: str) -> str:
    """Return as whom an address counts: an IPv6 one as its /64, all of which a single machine has; no address as "".

    Raises nothing: behind a proxy that says anything, what counts may be no address.
    """
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    return str(found.ipv4_mapped or ipaddress.ip_network((found, 64), strict=False).network_address)


def failed_authentication(request: HttpRequest | Request, problem: Problem) -> Problem:
    """Count credentials that were wrong; return the problem to answer with.

    Right ones are never refused: behind a proxy, everybody may come from the address that somebody guesses from.
    """
    wait = wait_s("failed_authentication", address_counted(request.META.get("REMOTE_ADDR", "")))
    if wait is None:
        return problem
    return Problem("too_many_requests", "Too many wrong credentials from this address.", retry_after_s=wait)


class _Limit(BaseThrottle):
    """Counts requests under a name."""

    def __init__(self) -> None:
        self._wait_s: int | None = None

    def allow_request(self, request: Request, view: APIView) -> bool:
        """Tell whether the request may pass."""
        self._wait_s = wait_s(*self.counted(request, view))
        return self._wait_s is None

    def counted(self, request: Request, view: APIView) -> tuple[str, str]:
        """Return the limit's name, and for whom the request counts."""
        raise NotImplementedError

    def wait(self) -> float | None:
        """Return the seconds until the next one may."""
        return self._wait_s


class RequestLimit(_Limit):
    """Limits what has no limit of its own: per API key, join token or person, and per address for who is nobody.

    The framework asks after it has found out who it is, so this bounds work that is done, not guesses at credentials.
    """

    def counted(self, request: Request, view: APIView) -> tuple[str, str]:
        if request.user is None or not request.user.is_authenticated:
            return "anonymous", address_counted(request.META.get("REMOTE_ADDR", ""))
        return "requests", str(request.user.pk)


class PictureLimit(_Limit):
    """Limits requests with pictures, each of which costs a worker's time: per API key, or per join token."""

    def counted(self, request: Request, view: APIView) -> tuple[str, str]:
        return ("pictures" if isinstance(request.auth, APIKey) else "join_pictures"), str(request.user.pk)


class SampleLimit(_Limit):
    """Limits samples to subscribers, each of which keeps a request waiting for somebody else's server: per API key."""

    def counted(self, request: Request, view: APIView) -> tuple[str, str]:
        return "samples", str(request.user.pk)


class EventsLimit(_Limit):
    """Limits what pages tell of themselves: per session, since one API key may speak for all of them.

    A join token is for one session and counts as that, whichever the address names.
    """

    def counted(self, request: Request, view: APIView) -> tuple[str, str]:
        if not isinstance(request.auth, APIKey):
            return "events", str(request.user.pk)
        return "events", f"{request.user.pk}:{view.kwargs['session_id'][:128]}"
