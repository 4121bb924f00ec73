"""Signing in by an OpenID provider: authorization code with PKCE, state and nonce, and an ID token that is verified.

django-allauth leaves a token's signature unchecked when it came straight from the provider; here it is always checked.
"""

from __future__ import annotations

import logging
import secrets
from typing import Any, Final

import jwt
from allauth.account.internal.flows.login import record_authentication
from allauth.account.utils import perform_login
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter, get_adapter
from allauth.socialaccount.models import SocialApp, SocialToken
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.oauth2.views import OAuth2CallbackView, OAuth2LoginView
from allauth.socialaccount.providers.openid_connect.provider import OpenIDConnectProvider
from allauth.socialaccount.providers.openid_connect.views import OpenIDConnectOAuth2Adapter
from django.conf import settings
from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST
from requests import RequestException

from accounts.sign_in.claims import PROVIDER_ID, Claims, SignInRefusedError, person_of
from accounts.sign_in.told import tell

logger = logging.getLogger(__name__)

ALGORITHMS: Final = ("RS256", "PS256", "ES256")
"""Signatures that are taken. None of them can be made with what everybody knows, as ``none`` and HS256 could."""
LEEWAY_S: Final = 30.0
"""How far the provider's clock may be off."""
_NONCE: Final = "oidc_nonce"
_NEEDED: Final = ("issuer", "authorization_endpoint", "token_endpoint", "jwks_uri")


class Provider(OpenIDConnectProvider):  # type: ignore[misc]
    """The one provider that the environment names."""

    @property
    def oauth2_adapter_class(self) -> Any:
        return Adapter

    def get_pkce_params(self) -> dict[str, str]:
        params: dict[str, str] = super().get_pkce_params()
        assert params, "PKCE is on"
        return params

    def get_auth_params_from_request(self, request: HttpRequest, action: Any) -> dict[str, str]:
        """Add a nonce, which the token must repeat. What the browser would like to add is not asked."""
        nonce = secrets.token_urlsafe(24)
        request.session[_NONCE] = nonce
        return {"nonce": nonce}

    def get_scope_from_request(self, request: HttpRequest) -> list[str]:
        return list(self.get_scope())


class SocialAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]
    """Knows the provider of the environment and no other: none can be added in the database."""

    def get_provider(self, request: HttpRequest, provider: str, client_id: str | None = None) -> Provider:
        if provider != PROVIDER_ID or not settings.OIDC_ISSUER:
            raise SocialApp.DoesNotExist
        return Provider(request, app=_app())

    def is_open_for_signup(self, request: HttpRequest, sociallogin: Any) -> bool:
        return False

    def on_authentication_error(self, request: HttpRequest, provider: Any, **told: Any) -> None:
        logger.warning("A sign-in by OpenID Connect failed: %s", type(told.get("exception")).__name__)


def _app() -> SocialApp:
    return SocialApp(
        provider=OpenIDConnectProvider.id,
        provider_id=PROVIDER_ID,
        name=settings.OIDC_NAME,
        client_id=settings.OIDC_CLIENT_ID,
        secret=settings.OIDC_CLIENT_SECRET,
        settings={"server_url": settings.OIDC_ISSUER, "oauth_pkce_enabled": True, "fetch_userinfo": False},
    )


class Adapter(OpenIDConnectOAuth2Adapter):  # type: ignore[misc]
    """Exchanges the code and signs the person in."""

    @property
    def openid_config(self) -> dict[str, Any]:
        try:
            config: dict[str, Any] = super().openid_config
        except AttributeError:  # what it sends is JSON, but no object
            config = {}
        if any(not isinstance(config.get(name), str) for name in _NEEDED):
            raise OAuth2Error("The provider does not describe itself as OpenID Connect asks.")
        if config["issuer"] != settings.OIDC_ISSUER:
            raise OAuth2Error("The provider names another issuer than OIDC_ISSUER.")
        return config

    def get_callback_url(self, request: HttpRequest, app: SocialApp) -> str:
        return f"{settings.PUBLIC_URL}{reverse('oidc-callback')}"

    def complete_login(self, request: HttpRequest, app: SocialApp, token: SocialToken, **kwargs: Any) -> Any:
        """Verify the ID token and go on with the sign-in of the person that it names."""
        told = self._verified(str(kwargs["response"].get("id_token") or ""), request.session.pop(_NONCE, None))
        claims = Claims.read(told)
        try:
            person = person_of(claims)
        except SignInRefusedError as refusal:
            if refusal.person is not None:
                tell(refusal.person, "sign_in.refused", request, by="oidc")
            raise ImmediateHttpResponse(failed(request, str(refusal), 403)) from None
        record_authentication(request, person, "socialaccount", provider=PROVIDER_ID, uid=claims.uid)
        raise ImmediateHttpResponse(perform_login(request, person, redirect_url=reverse("admin:index")))

    def _verified(self, token: str, nonce: str | None) -> dict[str, Any]:
        """Return a token's claims; raise ``OAuth2Error`` unless the provider signed it for us, now, for this try."""
        try:
            told: dict[str, Any] = jwt.decode(
                token,
                self._key(token),
                algorithms=list(ALGORITHMS),
                issuer=settings.OIDC_ISSUER,
                audience=settings.OIDC_CLIENT_ID,
                leeway=LEEWAY_S,
                options={"require": ["iss", "sub", "aud", "exp", "iat"]},
            )
        except (jwt.PyJWTError, ValueError) as error:
            raise OAuth2Error(f"The ID token does not hold: {type(error).__name__}") from None
        if not nonce or not secrets.compare_digest(str(told.get("nonce", "")).encode(), nonce.encode()):
            raise OAuth2Error("The ID token is for another sign-in.")
        if told.get("azp", settings.OIDC_CLIENT_ID) != settings.OIDC_CLIENT_ID or not told["sub"]:
            raise OAuth2Error("The ID token is for another client.")
        return told

    def _key(self, token: str) -> Any:
        """Return the provider's key that the token says it was signed with."""
        header = jwt.get_unverified_header(token)
        with get_adapter().get_requests_session() as session:
            answer = session.get(self.openid_config["jwks_uri"])
            answer.raise_for_status()
            told = answer.json()
        keys = jwt.PyJWKSet.from_dict(told if isinstance(told, dict) else {}).keys
        usable = [key for key in keys if key.public_key_use in (None, "sig") and key.algorithm_name in ALGORITHMS]
        found = [key for key in usable if key.key_id == header.get("kid")]
        if len(found) != 1:
            raise jwt.InvalidKeyError("The token names no key of the provider's.")
        if header.get("alg") != found[0].algorithm_name:
            raise jwt.InvalidAlgorithmError("The token is signed in another way than the key is for.")
        return found[0].key


def failed(request: HttpRequest, told: str, status: int) -> HttpResponse:
    """Answer with a page that says why nobody was signed in."""
    return render(
        request,
        "socialaccount/authentication_error.html",
        {**admin.site.each_context(request), "title": "Not signed in", "told": told},
        status=status,
    )


@never_cache
@require_POST
def login(request: HttpRequest) -> HttpResponse:
    """Send the browser to the provider."""
    return _with_provider(OAuth2LoginView, request)


@never_cache
@require_GET
def callback(request: HttpRequest) -> HttpResponse:
    """Take what the provider sends the browser back with."""
    return _with_provider(OAuth2CallbackView, request)


def cancelled(request: HttpRequest) -> HttpResponse:
    """Show the sign-in again to who has changed their mind at the provider."""
    return redirect("account_login")


def _with_provider(view: Any, request: HttpRequest) -> HttpResponse:
    if not settings.OIDC_ISSUER:
        raise Http404
    try:
        answer: HttpResponse = view.adapter_view(Adapter(request, PROVIDER_ID))(request)
    except (RequestException, OAuth2Error) as error:
        logger.warning("The OpenID provider does not answer as it should: %s", type(error).__name__)
        return failed(request, "The provider cannot be asked at the moment. Try again in a minute.", 503)
    return answer
