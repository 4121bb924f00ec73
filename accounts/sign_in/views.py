"""The pages on which people sign in with a password and a code."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from allauth.account import views as account
from allauth.account.internal.stagekit import clear_login, unstash_login
from allauth.account.utils import perform_login
from allauth.mfa.base import views as mfa
from allauth.mfa.recovery_codes import views as recovery
from allauth.mfa.totp import views as totp
from django.conf import settings
from django.contrib import admin
from django.contrib.auth import authenticate as password_check
from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from redis.exceptions import RedisError
from unfold.forms import AuthenticationForm

from accounts.models import User
from accounts.sign_in import lockout
from accounts.sign_in.adapters import password_is_of_then
from accounts.sign_in.second_factor import second_factor_required
from accounts.sign_in.told import tell


class SignInView(LoginView):
    """The admin's sign-in. What comes after the password is the second factor's page, for who has one."""

    template_name = "accounts/sign_in.html"
    authentication_form = AuthenticationForm

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if request.method == "GET" and admin.site.has_permission(request):
            return redirect("admin:index")
        if request.method == "POST":
            wait_s = lockout.attempt_wait_s(request, request.POST.get("username", ""))
            if wait_s is not None:
                return lockout.refused(request, wait_s)
        return super().dispatch(request, *args, **kwargs)

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        person = form.get_user()
        assert isinstance(person, User)
        answer: HttpResponse = perform_login(self.request, person, redirect_url=self.get_success_url())
        return answer

    def get_default_redirect_url(self) -> str:
        return reverse("admin:index")

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        own = {
            **admin.site.each_context(self.request),
            "title": "Sign in",
            "app_path": self.request.get_full_path(),
            "oidc_name": settings.OIDC_NAME if settings.OIDC_ISSUER else "",
        }
        return super().get_context_data(**own, **kwargs)


class _InAdmin:
    """A page of django-allauth's that looks like one of the admin's."""

    title = ""

    def get_context_data(self: Any, **kwargs: Any) -> dict[str, Any]:
        own = admin.site.each_context(self.request)
        return {**own, "title": self.title, **super().get_context_data(**kwargs)}  # type: ignore[misc]


class SecondFactorView(_InAdmin, mfa.IndexView):  # type: ignore[misc]
    """Whether one has a second factor."""

    title = "Second factor"


class SetUpView(_InAdmin, totp.ActivateTOTPView):  # type: ignore[misc]
    """Set one up: the secret as a picture and as text, and a first code."""

    title = "Set up a second factor"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        assert isinstance(self.request.user, User)
        return {**super().get_context_data(**kwargs), "required": second_factor_required(self.request.user)}


class RemoveView(_InAdmin, totp.DeactivateTOTPView):  # type: ignore[misc]
    """Do without one, where that is allowed."""

    title = "Remove the second factor"


class RecoveryView(_InAdmin, recovery.ViewRecoveryCodesView):  # type: ignore[misc]
    """Codes for a telephone that is lost, shown once."""

    title = "Recovery codes"


class NewRecoveryView(_InAdmin, recovery.GenerateRecoveryCodesView):  # type: ignore[misc]
    """Make new ones; the old ones are void."""

    title = "New recovery codes"


class PasswordAgainView(_InAdmin, account.ReauthenticateView):  # type: ignore[misc]
    """Ask for the password again before the second factor is changed."""

    title = "Your password, please"


class _CodeView(_InAdmin, mfa.AuthenticateView):  # type: ignore[misc]
    title = "Second factor"


class _CodeAgainView(_InAdmin, mfa.ReauthenticateView):  # type: ignore[misc]
    title = "A code, please"


def authenticate(request: HttpRequest) -> HttpResponse:
    """Take the code of the second factor: so often per person, and not without the store of used codes."""
    if request.method == "POST":
        pending = unstash_login(request, peek=True)
        if pending is not None and not password_is_of_then(request, pending.user):
            clear_login(request)
            return redirect("account_login")
        wait_s = lockout.code_wait_s(pending.user.pk) if pending is not None and pending.user else None
        if wait_s is not None:
            return lockout.refused(request, wait_s)
    return _with_codes(_CodeView.as_view(), request)


def reauthenticate(request: HttpRequest) -> HttpResponse:
    """Take a code of somebody who is signed in, under the same limits."""
    if request.method == "POST" and request.user.is_authenticated:
        wait_s = lockout.code_wait_s(request.user.pk)
        if wait_s is not None:
            return lockout.refused(request, wait_s)
    return _with_codes(_CodeAgainView.as_view(), request)


def password_change(request: HttpRequest) -> HttpResponseBase:
    """Take a new password from who knows the old one; wrong guesses at that count as those at the sign-in do."""
    if request.method != "POST":
        return admin.site.password_change(request)
    person = request.user
    assert isinstance(person, User)
    password_check(request, username=person.get_username(), password=request.POST.get("old_password", ""))
    if lockout.was_locked_out(request):
        return lockout.locked_out(request)
    answer = admin.site.password_change(request)
    if answer.status_code == HTTPStatus.FOUND:
        tell(person, "person.password_set", request)
    return answer


def _with_codes(view: Any, request: HttpRequest) -> HttpResponse:
    try:
        answer: HttpResponse = view(request)
    except RedisError:  # which codes were used is kept there: without it one could be used twice
        return HttpResponse("Codes cannot be checked at the moment. Try again in a minute.\n", status=503)
    return answer
