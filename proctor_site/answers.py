"""Problems as answers of plain views. No REST framework here: the logging of the settings imports this by health."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from accounts.problems import CONTENT_TYPE, Problem


def problem_page(problem: Problem) -> JsonResponse:
    """Return the answer as a plain Django response."""
    return JsonResponse(problem.to_dict(), status=problem.status, headers=problem.headers, content_type=CONTENT_TYPE)


def reads_only(view: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Answer everything but GET and HEAD as a problem; there is nothing to forge, so no CSRF token is asked for."""

    @csrf_exempt
    @wraps(view)
    def wrapped(request: HttpRequest) -> HttpResponse:
        if request.method in ("GET", "HEAD"):
            return view(request)
        response = problem_page(Problem("method_not_allowed", f'Method "{request.method}" not allowed.'))
        response["Allow"] = "GET, HEAD"
        return response

    return wrapped
