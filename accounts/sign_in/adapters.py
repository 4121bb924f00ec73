"""What of django-allauth is used here, and how: nobody signs up, no mail is sent, secrets are sealed."""

from __future__ import annotations

import time
from typing import Any, Final

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core import context
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.crypto import constant_time_compare

from accounts.models import User
from accounts.sign_in.lifetime import SIGNED_IN_AT
from accounts.sign_in.second_factor import open_text, seal_text, second_factor_required

_HASH_OF_THEN: Final = "hash_of_then"
FRESH_S: Final = 300.0
"""Who signed in within this time is not asked for the password again."""


def password_is_of_then(request: HttpRequest, person: User) -> bool:
    """Tell whether somebody who has yet to give a code still has the password that they began to sign in with."""
    return constant_time_compare(request.session.get(_HASH_OF_THEN, ""), person.get_session_auth_hash())


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """Signs in people whom an administrator or the OpenID provider has made."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def pre_login(self, request: HttpRequest, user: User, **kwargs: Any) -> HttpResponse | None:
        request.session[_HASH_OF_THEN] = user.get_session_auth_hash()
        answer: HttpResponse | None = super().pre_login(request, user, **kwargs)
        return answer

    def get_login_stages(self) -> list[str]:
        return ["allauth.mfa.stages.AuthenticateStage"]

    def get_login_redirect_url(self, request: HttpRequest) -> str:
        return reverse("admin:index")

    def is_reauthentication_required(self, *, app: str, **kwargs: Any) -> bool:
        signed_in_at = context.request.session.get(SIGNED_IN_AT, 0.0)
        stale = time.time() - signed_in_at >= FRESH_S
        return stale and bool(super().is_reauthentication_required(app=app, **kwargs))

    def get_client_ip(self, request: HttpRequest) -> str:
        return str(request.META.get("REMOTE_ADDR", ""))

    def add_message(
        self, request: HttpRequest, level: int, message_template: Any = None, *args: Any, **kw: Any
    ) -> None:
        """Say what became of the second factor; that somebody has signed in they see."""
        if str(message_template or "").startswith("account/messages/"):
            return
        super().add_message(request, level, message_template, *args, **kw)

    def send_notification_mail(self, *args: Any, **kwargs: Any) -> None:
        """Send nothing: the audit log tells."""


class SecondFactorAdapter(DefaultMFAAdapter):  # type: ignore[misc]
    """Time-based codes, whose secrets are sealed under the key-encryption key."""

    def get_totp_issuer(self) -> str:
        return "SD Proctor"

    def get_totp_label(self, user: User) -> str:
        return str(user.get_username())

    def encrypt(self, text: str) -> str:
        return seal_text(text)

    def decrypt(self, encrypted_text: str) -> str:
        return open_text(encrypted_text)

    def can_delete_authenticator(self, authenticator: Authenticator) -> bool:
        return not second_factor_required(authenticator.user)
