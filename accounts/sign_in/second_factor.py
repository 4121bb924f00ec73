"""Who must have a second factor, and whether they have one."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Final

from allauth.mfa.models import Authenticator
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction

from accounts.keys import open_secret, seal_secret
from accounts.models import User
from accounts.roles import Role

ALL: Final = "all"
PURPOSE_SECOND_FACTOR: Final = "mfa.Authenticator.data"
_KNOWN: Final = "_needs_second_factor"


def required_parse(names: Iterable[str]) -> frozenset[str]:
    """Return of whom a second factor is asked; raise ``ImproperlyConfigured`` for what is no role and not ``all``."""
    asked = frozenset(names)
    if unknown := sorted(asked - {ALL, *Role}):
        known = ", ".join([ALL, *Role])
        raise ImproperlyConfigured(f"REQUIRE_SECOND_FACTOR names {', '.join(unknown)}: use {known}.")
    return asked


def second_factor_required(person: User) -> bool:
    """Tell whether this person must have a second factor. Superusers must where anybody must.

    Who has no password comes by OpenID Connect alone, and the provider asks for what it asks.
    """
    asked = required_parse(settings.REQUIRE_SECOND_FACTOR)
    if not asked or not person.has_usable_password():
        return False
    return ALL in asked or person.is_superuser or person.groups.filter(name__in=asked).exists()


def second_factor_missing(person: User) -> bool:
    """Tell whether this person must set up a second factor before anything else. Asked once per object."""
    known: bool | None = getattr(person, _KNOWN, None)
    if known is None:
        known = second_factor_required(person) and not has_second_factor(person)
        setattr(person, _KNOWN, known)
    return known


def has_second_factor(person: User) -> bool:
    """Tell whether this person has set one up."""
    return bool(Authenticator.objects.filter(user=person, type=Authenticator.Type.TOTP).exists())


def second_factor_reset(person: User) -> bool:
    """Remove what a person has set up, recovery codes too; return whether there was anything."""
    removed, _ = Authenticator.objects.filter(user=person).delete()
    return bool(removed)


def seal_text(text: str) -> str:
    """Seal an authenticator's secret under the active key-encryption key."""
    with transaction.atomic():  # allauth stores it right afterwards, in a transaction of its own
        return base64.b64encode(seal_secret(text.encode(), purpose=PURPOSE_SECOND_FACTOR, row="")).decode()


def open_text(sealed: str) -> str:
    """Open what ``seal_text`` sealed; raise ``accounts.keys.SealError`` when it does not open."""
    return open_secret(base64.b64decode(sealed), purpose=PURPOSE_SECOND_FACTOR, row="").decode()
