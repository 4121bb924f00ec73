"""Answer everything that goes wrong below ``/api/`` as ``application/problem+json`` (RFC 9457) with a ``code``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from django.contrib import admin
from django.core.exceptions import PermissionDenied, RequestDataTooBig, TooManyFilesSent
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt
from kombu.exceptions import OperationalError as BrokerError
from redis.exceptions import RedisError
from rest_framework import exceptions as drf
from rest_framework.response import Response
from rest_framework.views import set_rollback

from accounts.auth import REALM
from accounts.kek import KeyServiceError, SealError
from accounts.problems import CODES, CONTENT_TYPE, Problem
from proctor_site.answers import problem_page

logger = logging.getLogger(__name__)

RETRY_AFTER_S: Final = 5


def problem_handler(error: Exception, context: dict[str, Any]) -> Response:
    """Turn any exception of a view into the answer; Django REST framework calls it.

    What is nobody's expected case is logged with its traceback and answered without it.
    """
    set_rollback()
    return problem_response(as_problem(error))


def problem_response(problem: Problem) -> Response:
    """Return a rendered-later answer for Django REST framework's views."""
    headers = problem.headers
    if problem.status == drf.NotAuthenticated.status_code:
        headers["WWW-Authenticate"] = REALM
    return Response(problem.to_dict(), status=problem.status, headers=headers, content_type=CONTENT_TYPE)


def as_problem(error: Exception) -> Problem:
    """Return the problem an exception amounts to."""
    for kinds, translate in _TRANSLATIONS:
        if isinstance(error, kinds):
            return translate(error)
    logger.error("A request failed in a way nobody expected.", exc_info=error)
    return Problem("internal_error")


def _itself(error: Any) -> Problem:
    problem: Problem = error
    return problem


def _plain(code: str) -> Callable[[Any], Problem]:
    return lambda error: Problem(code)


def _detailed(code: str) -> Callable[[Any], Problem]:
    return lambda error: Problem(code, str(error.detail))


def _throttled(error: Any) -> Problem:
    wait_s = None if error.wait is None else int(error.wait) + 1
    return Problem("too_many_requests", str(error.detail), retry_after_s=wait_s)


def _invalid(error: drf.ValidationError) -> Problem:
    errors = flatten(error.detail)
    named = "; ".join(f"{path or 'body'}: {' '.join(messages).rstrip('.')}" for path, messages in errors.items())
    return Problem("request_invalid", f"{named}.", errors=errors)


def _too_large(error: Exception) -> Problem:
    return Problem("request_too_large")


def _unreadable(error: Exception) -> Problem:
    logger.error("A sealed value does not open: %s", error, exc_info=error)
    return Problem("data_unreadable")


def _away(code: str) -> Callable[[Exception], Problem]:
    def translate(error: Exception) -> Problem:
        logger.warning("%s: %s", code, error)  # expected while a server restarts: a line, not a traceback
        return Problem(code, retry_after_s=RETRY_AFTER_S)

    return translate


_TRANSLATIONS: Final[tuple[tuple[Any, Callable[[Any], Problem]], ...]] = (
    (Problem, _itself),
    (drf.ValidationError, _invalid),
    (drf.ParseError, _detailed("malformed_request")),
    ((RequestDataTooBig, TooManyFilesSent), _too_large),
    (drf.NotAuthenticated, _plain("not_authenticated")),
    (drf.AuthenticationFailed, _detailed("key_invalid")),
    ((drf.PermissionDenied, PermissionDenied), _plain("permission_denied")),
    ((drf.NotFound, Http404), _plain("not_found")),
    (drf.MethodNotAllowed, _detailed("method_not_allowed")),
    (drf.NotAcceptable, _detailed("not_acceptable")),
    (drf.UnsupportedMediaType, _detailed("media_type_unsupported")),
    (drf.Throttled, _throttled),
    ((OperationalError, InterfaceError), _away("database_unavailable")),
    ((RedisError, BrokerError), _away("queue_unavailable")),
    (KeyServiceError, _away("keys_unavailable")),
    (SealError, _unreadable),
)


def flatten(detail: Any, path: str = "") -> dict[str, list[str]]:
    """Turn Django REST framework's nested error details into ``{"rules.NO_FACE.hold_s": ["…"]}``."""
    if isinstance(detail, Mapping):
        pairs = [(f"{path}.{key}" if path else str(key), value) for key, value in detail.items()]
    elif isinstance(detail, list) and any(isinstance(item, Mapping | list) for item in detail):
        pairs = [(f"{path}.{index}" if path else str(index), value) for index, value in enumerate(detail)]
    else:
        messages = detail if isinstance(detail, list) else [detail]
        return {path.removesuffix("non_field_errors").removesuffix("."): [str(message) for message in messages]}
    flat: dict[str, list[str]] = {}
    for below, value in pairs:
        for name, found in flatten(value, below).items():
            flat.setdefault(name, []).extend(found)
    return {name: found for name, found in flat.items() if found}


# --- Outside Django REST framework's views ----------------------------------------------------------------------------
@csrf_exempt
def api_not_found(request: HttpRequest, rest: str = "") -> HttpResponse:
    """Answer every address below ``/api/`` that is none, whatever ``DEBUG`` says."""
    return problem_page(Problem("not_found"))


def problems_table(request: HttpRequest) -> HttpResponse:
    """Show the table of codes: what the ``type`` of a problem points to."""
    return render(request, "accounts/problems.html", {"codes": CODES})


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer what Django refuses before any view runs."""
    return _page(request, Problem("malformed_request"))


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer somebody who may not see a page: in the admin with one that says what to do."""
    if not request.path.startswith("/admin/"):
        return _page(request, Problem("permission_denied"))
    told = {**admin.site.each_context(request), "title": "Not allowed"}
    return render(request, "accounts/forbidden.html", told, status=403)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer an address that is none."""
    return _page(request, Problem("not_found"))


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer an exception outside the API's views; Django has logged it."""
    return _page(request, Problem("internal_error"))


def _page(request: HttpRequest, problem: Problem) -> HttpResponse:
    if request.path.startswith("/api/"):
        return problem_page(problem)
    return HttpResponse(f"{problem.status} {problem.title}\n", status=problem.status, content_type="text/plain")
