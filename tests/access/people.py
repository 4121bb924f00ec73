"""Somebody with a password at a browser, and the codes of their authenticator app."""

from __future__ import annotations

import time
from typing import Any

from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, generate_totp_secret, hotp_value
from django.test import Client

from accounts.models import User
from tests.factories import make_user

PASSWORD = "a-Long-1-password"
SIGN_IN = "/admin/login/"
CODE = "/admin/second-factor/code/"


def make_person(**fields: Any) -> User:
    """Return somebody with ``PASSWORD``."""
    return make_user(password=PASSWORD, **fields)


def sign_in(person: User | str, password: str = PASSWORD, client: Client | None = None, **extra: Any) -> Any:
    """Post the form of the sign-in page; the answer's ``client`` is the browser."""
    client = client or Client()
    name = person if isinstance(person, str) else person.username
    answer = client.post(SIGN_IN, {"username": name, "password": password}, **extra)
    answer.client = client
    return answer


def give_second_factor(person: User) -> tuple[str, list[str]]:
    """Set up a second factor; return the secret of the app, and the recovery codes."""
    secret = generate_totp_secret()
    TOTP.activate(person, secret)
    return secret, RecoveryCodes.activate(person).get_unused_codes()


def code_of(secret: str, steps: int = 0) -> str:
    """Return the code that the app shows now, or ``steps`` of 30 s later."""
    return format_hotp_value(hotp_value(secret, int(time.time()) // 30 + steps))


def has_second_factor(person: User) -> bool:
    return Authenticator.objects.filter(user=person, type=Authenticator.Type.TOTP).exists()
