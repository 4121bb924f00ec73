"""The candidate's page: static markup and scripts. Who may do what is decided by the API, with the join token.

The token comes in the link's fragment, which browsers never send: neither this view nor any log sees it.
"""

from __future__ import annotations

import uuid
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe


@require_safe
def candidate_page(request: HttpRequest, session_pk: uuid.UUID) -> HttpResponse:
    """Serve the page for a session. It is the same for every session, whether there is one of that id or not."""
    response = render(request, "exam_sessions/candidate.html", {"session_pk": session_pk})
    response["Content-Security-Policy"] = _content_security_policy()
    response["Referrer-Policy"] = "no-referrer"
    response["Cache-Control"] = "no-store"
    return response


def _content_security_policy() -> str:
    """Allow this site's own files, its API and socket, and the gateway; nothing inline and nothing from elsewhere."""
    gateway, public = urlsplit(settings.GATEWAY_PUBLIC_URL), urlsplit(settings.PUBLIC_URL)
    socket = f"{'wss' if public.scheme == 'https' else 'ws'}://{public.netloc}"
    rules = {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "media-src": "'self' blob: mediastream:",
        "connect-src": f"'self' {socket} {gateway.scheme}://{gateway.netloc}",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())
