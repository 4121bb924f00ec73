"""Keys and a login for the demo, made new each time; those of earlier demos are withdrawn."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "proctor_site.settings")
django.setup()  # models can be imported only after this

from django.utils import timezone  # noqa: E402

from accounts.models import APIKey, User  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
SCOPES = ("enroll", "verify", "sessions", "admin", "subscriptions")
KEY_PREFIX = "Demo "
USERNAME = "proctor"


@dataclass(frozen=True, slots=True)
class Login:
    username: str
    password: str


def make_api_key() -> str:
    """Make an API key the way an operator does; return it."""
    name = KEY_PREFIX + secrets.token_hex(4)
    scopes = [word for scope in SCOPES for word in ("--scope", scope)]
    command = [sys.executable, "manage.py", "create_api_key", name, *scopes]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603  # our own
    return done.stdout.strip()


def withdraw_old_keys() -> None:
    """Revoke the API keys of earlier demos."""
    APIKey.objects.filter(name__startswith=KEY_PREFIX, revoked_at=None).update(revoked_at=timezone.now())


def make_login() -> Login:
    """Give the user ``proctor`` a new random password and every right; make the user if need be."""
    login = Login(USERNAME, secrets.token_urlsafe(9))
    user, _ = User.objects.get_or_create(username=login.username)
    user.is_staff = user.is_superuser = user.is_active = True
    user.set_password(login.password)
    user.save()
    return login
