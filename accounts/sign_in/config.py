"""What of OpenID Connect is configured, all from the environment; read by settings, so it imports no models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


def oidc_check(issuer: str, client_id: str, secret: str) -> str:
    """Return the issuer as it names itself; raise ``ImproperlyConfigured`` when something of the three is missing."""
    given = {"OIDC_ISSUER": issuer, "OIDC_CLIENT_ID": client_id, "OIDC_CLIENT_SECRET": secret}
    missing = [name for name, value in given.items() if not value]
    if missing and len(missing) < len(given):
        raise ImproperlyConfigured(f"{', '.join(missing)} is not set: OpenID Connect needs {', '.join(given)}.")
    parts = urlsplit(issuer)
    if issuer and parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise ImproperlyConfigured("OIDC_ISSUER must begin with https://.")
    return issuer


def roles_check(given: Any) -> Mapping[str, str]:
    """Return which role a value of the claim means; raise ``ImproperlyConfigured`` for what is no such table."""
    table = isinstance(given, dict) and all(isinstance(x, str) for pair in given.items() for x in pair)
    if not table:
        raise ImproperlyConfigured('OIDC_ROLES must be a JSON object of names, like {"exam-office": "proctor"}.')
    return dict(given)


def positive(name: str, value: int) -> int:
    """Return a number above zero; raise ``ImproperlyConfigured`` naming the setting."""
    if value < 1:
        raise ImproperlyConfigured(f"{name} is {value}: it must be 1 or more.")
    return value
