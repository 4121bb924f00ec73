"""Addresses of signing in, below ``/admin/``. The names are those that django-allauth looks up."""

from django.contrib import admin
from django.urls import path

from accounts.sign_in import oidc, views

_inside = admin.site.admin_view

urlpatterns = [
    path("login/", views.SignInView.as_view(), name="account_login"),
    path("password_change/", _inside(views.password_change)),
    path("oidc/login/", oidc.login, name="oidc-login"),
    path("oidc/callback/", oidc.callback, name="oidc-callback"),
    path("oidc/cancelled/", oidc.cancelled, name="socialaccount_login_cancelled"),
    path("second-factor/code/", views.authenticate, name="mfa_authenticate"),
    path("second-factor/", _inside(views.SecondFactorView.as_view()), name="mfa_index"),
    path("second-factor/password/", _inside(views.PasswordAgainView.as_view()), name="account_reauthenticate"),
    path("second-factor/again/", _inside(views.reauthenticate), name="mfa_reauthenticate"),
    path("second-factor/set-up/", _inside(views.SetUpView.as_view()), name="mfa_activate_totp"),
    path("second-factor/remove/", _inside(views.RemoveView.as_view()), name="mfa_deactivate_totp"),
    path("second-factor/recovery/", _inside(views.RecoveryView.as_view()), name="mfa_view_recovery_codes"),
    path("second-factor/recovery/new/", _inside(views.NewRecoveryView.as_view()), name="mfa_generate_recovery_codes"),
]
