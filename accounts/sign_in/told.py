"""Tell the audit log who signed in, who could not, who was locked out, and what became of second factors.

A wrong password for a name that nobody has belongs to no organisation: only the limits count it.
"""

from __future__ import annotations

from typing import Any, Final

from allauth.mfa import signals as mfa
from allauth.mfa.models import Authenticator
from axes.signals import user_locked_out
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.http import HttpRequest

from accounts.audit import Actor, audit_write
from accounts.models import AuditEntry, User
from accounts.sign_in import lifetime, lockout

_TOLD: Final = "_sign_in_failure_told"


def connect() -> None:
    """Listen."""
    for signal, receiver in (
        (user_logged_in, _signed_in),
        (user_logged_out, _signed_out),
        (user_login_failed, _failed),
        (user_locked_out, _locked_out),
        (mfa.authenticator_added, _factor("second_factor.added")),
        (mfa.authenticator_removed, _factor("second_factor.removed")),
        (mfa.authenticator_reset, _factor("second_factor.reset")),
        (mfa.authentication_failed, _factor("sign_in.code_failed")),
    ):
        signal.connect(receiver, weak=False)


def tell(person: User, action: str, request: HttpRequest | None = None, **details: Any) -> None:
    """Write an entry that a person did something to their own sign-in."""
    if request is not None and (address := lockout.address_of(request)):
        details["address"] = address
    audit_write(
        organisation=person.organisation,
        actor=Actor(AuditEntry.ActorKind.PERSON, person.get_username()),
        action=action,
        subject_type="person",
        subject=person.get_username(),
        details=details,
    )


def _signed_in(sender: Any, request: HttpRequest, user: User, **_: Any) -> None:
    lifetime.begin(request.session)
    records = request.session.get("account_authentication_methods", [])
    by_provider = any(record.get("method") == "socialaccount" for record in records)
    with_code = any(record.get("method") == "mfa" for record in records)
    tell(user, "sign_in.succeeded", request, by="oidc" if by_provider else "password", second_factor=with_code)


def _signed_out(sender: Any, request: HttpRequest, user: User | None, **_: Any) -> None:
    if user is not None:
        tell(user, "sign_in.ended", request)


def _failed(sender: Any, credentials: dict[str, Any], request: HttpRequest | None = None, **_: Any) -> None:
    if request is not None:
        _tell_failure(request, credentials.get("username"))


def _locked_out(sender: Any, request: HttpRequest, username: str | None = None, **_: Any) -> None:
    """Tell of the failure first, whose signal may be on its way still; of tries while locked out tell nothing."""
    if lockout.was_locked_out(request):
        return
    _tell_failure(request, username)
    if person := _named(username):
        tell(person, "sign_in.locked_out", request)


def _tell_failure(request: HttpRequest, username: object) -> None:
    if lockout.was_locked_out(request) or getattr(request, _TOLD, False):
        return
    setattr(request, _TOLD, True)
    if person := _named(username):
        tell(person, "sign_in.failed", request)


def _named(username: object) -> User | None:
    if not isinstance(username, str) or "\x00" in username:
        return None
    return User.objects.select_related("organisation").filter(username=username).first()


def _factor(action: str) -> Any:
    def told(sender: Any, request: HttpRequest, user: User, authenticator: Authenticator, **_: Any) -> None:
        tell(user, action, request, kind=str(authenticator.type))

    return told
