"""The admin's sign-in, with a limit: whoever guesses passwords is stopped before a password is hashed."""

from __future__ import annotations

import hashlib

from django.contrib import admin
from django.http import HttpRequest, HttpResponse

from accounts import limits


def login(request: HttpRequest) -> HttpResponse:
    """Show the form, or take it in: so often per address, and per address and user name."""
    if request.method == "POST":
        address = request.META.get("REMOTE_ADDR", "")
        # A name is a person's: Redis gets no more of it than is needed to tell names apart.
        name = hashlib.sha256(request.POST.get("username", "").encode()).hexdigest()[:16]
        counted = [limits.wait_s("login", f"{address}:{name}"), limits.wait_s("login_address", address)]
        waits = [wait for wait in counted if wait is not None]
        if waits:
            told = f"Too many attempts to sign in. Try again in {max(waits)} seconds.\n"
            headers = {"Retry-After": str(max(waits))}
            return HttpResponse(told, status=429, content_type="text/plain; charset=utf-8", headers=headers)
    return admin.site.login(request)
