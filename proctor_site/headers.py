"""What every answer tells the browser to refuse: scripts and frames from elsewhere, devices, copies in caches.

The policy of an address is the strictest with which its page works; docs/hardening.md says why each is what it is. A
view that sets a header itself (the candidate's page, pictures) knows better and keeps it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from csp.constants import NONE, SELF, UNSAFE_EVAL, UNSAFE_INLINE
from csp.middleware import CSPMiddleware, PolicyParts
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.deprecation import MiddlewareMixin

Directives = Mapping[str, Any]

DATA: Final[Directives] = {
    "default-src": [NONE],
    "base-uri": [NONE],
    "form-action": [NONE],
    "frame-ancestors": [NONE],
    "sandbox": True,
}
"""Of answers that are no pages: opened as one, they can do nothing."""
_PAGE: Final[Directives] = {
    **DATA,
    "sandbox": None,
    "script-src": [SELF],
    "style-src": [SELF],
    "img-src": [SELF, "data:"],
    "font-src": [SELF],
    "connect-src": [SELF],
}
ADMIN: Final[Directives] = {
    **_PAGE,
    "script-src": [SELF, UNSAFE_EVAL],  # Alpine, which django-unfold is made with, evaluates what its attributes say
    "style-src": [SELF, UNSAFE_INLINE],  # Alpine and htmx write style elements and attributes
    "form-action": [SELF],
}
PLAIN_PAGE: Final[Directives] = {**DATA, "sandbox": None, "style-src": [SELF], "img-src": [SELF]}

POLICIES: Final[tuple[tuple[str, Directives], ...]] = (
    ("/admin/", ADMIN),
    ("/api/docs", _PAGE),
    ("/api/problems", PLAIN_PAGE),
)
"""The first prefix that fits decides; ``DATA`` where none does."""

_DENIED: Final = (
    "accelerometer", "autoplay", "camera", "display-capture", "encrypted-media", "geolocation", "gyroscope", "hid",
    "magnetometer", "microphone", "midi", "payment", "picture-in-picture", "publickey-credentials-create",
    "publickey-credentials-get", "screen-wake-lock", "serial", "usb", "xr-spatial-tracking",
)  # fmt: skip
CANDIDATE_MAY: Final = ("camera", "microphone", "screen-wake-lock", "autoplay")
"""What the candidate's page needs of them: it is for nothing else."""
ALWAYS: Final[Mapping[str, str]] = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # with "no-referrer", forms would come with Origin: null and be refused
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_PUBLIC: Final = (
    "/static/",
    "/favicon.ico",
    "/api/docs",
    "/api/schema",
    "/api/asyncapi",
    "/api/proto/",
    "/api/problems",
    "/api/v1/schemas/",
)
"""What says nothing of anybody, and may be kept by browsers and proxies."""


def permissions_policy(*allowed: str) -> str:
    """Return the Permissions-Policy that gives a page these features and denies it the others."""
    return ", ".join(f"{name}=({'self' if name in allowed else ''})" for name in _DENIED)


def policy_of(path: str) -> Directives:
    """Return the directives of the Content-Security-Policy for an address."""
    return next((policy for prefix, policy in POLICIES if path.startswith(prefix)), DATA)


class ContentSecurityPolicy(CSPMiddleware):
    """django-csp with a policy for each part of the site."""

    def get_policy_parts(
        self, request: HttpRequest, response: HttpResponseBase, report_only: bool = False
    ) -> PolicyParts:
        """Return the policy of the address; a decorator of django-csp on the view wins."""
        parts: PolicyParts = super().get_policy_parts(request, response, report_only)
        if not report_only and parts.config is None:
            parts.config = dict(policy_of(request.path))
        return parts


class SecurityHeaders(MiddlewareMixin):
    """Sets the other headers where the view has not."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Return the view's answer with the headers."""
        for name, value in ALWAYS.items():
            response.headers.setdefault(name, value)
        allowed = CANDIDATE_MAY if request.path.startswith("/candidate/") else ()
        response.headers.setdefault("Permissions-Policy", permissions_policy(*allowed))
        if not request.path.startswith(_PUBLIC):
            response.headers.setdefault("Cache-Control", "no-store")
        return response
