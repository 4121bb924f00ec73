"""Signing in by an OpenID provider that runs beside the test: who gets in as whom, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from allauth.socialaccount.models import SocialAccount
from django.test import Client

from accounts.models import AuditEntry, Organisation, User
from accounts.sign_in.claims import Claims, person_of
from tests.access import provider
from tests.access.people import CODE, PASSWORD, code_of, give_second_factor, make_person
from tests.access.provider import CLIENT_ID, CLIENT_SECRET, say_next
from tests.factories import make_organisation, make_user

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_client")]
LOGIN, CALLBACK, SESSIONS = "/admin/oidc/login/", "/admin/oidc/callback/", "/admin/exam_sessions/examsession/"
ADA: dict[str, Any] = {"sub": "ada-1", "preferred_username": "ada", "roles": ["proctor"]}
MAIL = {"email": "ada@example.org", "email_verified": True}


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    with provider.running() as address:
        yield address


@pytest.fixture(autouse=True)
def configured(settings: Any, issuer: str) -> None:
    settings.OIDC_ISSUER, settings.OIDC_CLIENT_ID, settings.OIDC_CLIENT_SECRET = issuer, CLIENT_ID, CLIENT_SECRET
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(autouse=True)
def organisation(db: None) -> Organisation:
    return make_organisation("default")


def at_provider(client: Client) -> str:
    """Begin at the sign-in page, sign in at the provider, and return where that sends the browser."""
    begun = client.post(LOGIN)
    assert begun.status_code == 302, begun.content
    answer = requests.get(begun["Location"], allow_redirects=False, timeout=5)
    assert answer.status_code == 302, answer.text
    parts = urlsplit(answer.headers["Location"])
    assert parts.path == CALLBACK
    return f"{CALLBACK}?{parts.query}"


def sign_in(issuer: str, client: Client | None = None, **claims: Any) -> Any:
    say_next(issuer, **claims)
    client = client or Client()
    answer = client.get(at_provider(client))
    answer.client = client
    return answer


def roles(person: User) -> set[str]:
    return set(person.groups.values_list("name", flat=True))


def test_the_sign_in_page_offers_it_and_begins_with_state_nonce_and_pkce(settings: Any, issuer: str) -> None:
    settings.OIDC_NAME = "the exam office"
    client = Client()
    assert "Sign in with the exam office" in client.get("/admin/login/").content.decode()
    assert client.get(LOGIN).status_code == 405
    query = parse_qs(urlsplit(client.post(f"{LOGIN}?scope=evil&auth_params=nonce%3Dmine")["Location"]).query)
    assert query["response_type"] == ["code"]
    assert query["code_challenge_method"] == ["S256"]
    assert set(query["scope"][0].split()) == {"openid", "profile", "email"}
    assert len(query["state"][0]) >= 16
    assert len(query["nonce"][0]) >= 24
    assert query["redirect_uri"] == [f"{settings.PUBLIC_URL}{CALLBACK}"]


def test_the_first_sign_in_makes_the_person_and_the_next_finds_them(issuer: str, organisation: Organisation) -> None:
    first = sign_in(issuer, **ADA, **MAIL, given_name="Ada", family_name="Example")
    assert (first.status_code, first["Location"]) == (302, "/admin/")
    assert first.client.get(SESSIONS).status_code == 200
    person = User.objects.get(username="ada")
    assert (person.organisation, person.email, person.is_staff) == (organisation, "ada@example.org", True)
    assert (person.is_superuser, person.has_usable_password(), roles(person)) == (False, False, {"proctor"})
    assert SocialAccount.objects.get().extra_data == {}
    assert sign_in(issuer, **ADA).status_code == 302
    assert User.objects.count() == 1
    actions = list(AuditEntry.objects.order_by("sequence").values_list("action", flat=True))
    assert actions == ["person.created", "person.changed", "sign_in.succeeded", "sign_in.succeeded"]
    assert AuditEntry.objects.filter(action="sign_in.succeeded").first().details["by"] == "oidc"  # type: ignore[union-attr]


# --- As whom ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("verified", [True, False, "true", None])
def test_an_address_or_a_name_never_leads_to_an_account_that_is_there(issuer: str, verified: Any) -> None:
    admin = User.objects.create_superuser("ada", MAIL["email"], PASSWORD, organisation=make_organisation("default"))
    answer = sign_in(issuer, **ADA, email=MAIL["email"], email_verified=verified)
    assert answer.status_code == 302
    assert int(answer.client.session["_auth_user_id"]) != admin.pk
    made = User.objects.exclude(pk=admin.pk).get()
    assert made.username.startswith("ada-")
    assert made.email == (MAIL["email"] if verified is True else "")
    assert not made.is_superuser


def test_the_same_subject_of_another_issuer_is_somebody_else(issuer: str) -> None:
    sign_in(issuer, **ADA)
    told = {"iss": "https://other.example", **ADA}
    assert person_of(Claims.read(told)).pk != User.objects.get(username="ada").pk


def test_roles_follow_the_provider_at_every_sign_in(issuer: str, settings: Any) -> None:
    settings.OIDC_ROLES = {"exam-office": "administrator", "invigilators": "proctor", "it": "nonsense"}
    settings.OIDC_ROLES_CLAIM = "groups"
    told = {"sub": "ada-1", "preferred_username": "ada"}
    sign_in(issuer, **told, groups=["exam-office", "invigilators", "it", "reviewer", 7])
    person = User.objects.get(username="ada")
    assert roles(person) == {"administrator", "proctor"}
    sign_in(issuer, **told, groups="invigilators")
    assert roles(person) == {"proctor"}
    refused = sign_in(issuer, **told, groups=[])
    assert (refused.status_code, roles(person)) == (403, set())
    assert refused.client.get(SESSIONS).status_code == 302
    assert AuditEntry.objects.filter(action="sign_in.refused", subject="ada").count() == 1


@pytest.mark.parametrize("claimed", [[], ["superuser"], {"proctor": True}, None, 7, "is_superuser"])
def test_without_a_role_nobody_is_made(issuer: str, claimed: Any) -> None:
    answer = sign_in(issuer, sub="eve", roles=claimed, is_superuser=True, is_staff=True)
    assert answer.status_code == 403
    assert "gives you no role" in answer.content.decode()
    assert not User.objects.exists()


def test_the_claimed_organisation_must_exist_and_does_not_change(issuer: str, settings: Any) -> None:
    settings.OIDC_ORGANISATION_CLAIM = "tenant"
    one = make_organisation()
    make_organisation("two")
    assert sign_in(issuer, **ADA).status_code == 403
    assert sign_in(issuer, **ADA, tenant="nowhere\x00").status_code == 403
    assert sign_in(issuer, **ADA, tenant=one.slug).status_code == 302
    assert User.objects.get().organisation == one
    moved = sign_in(issuer, **ADA, tenant="two")
    assert (moved.status_code, User.objects.get().organisation) == (403, one)


def test_who_was_deactivated_stays_out(issuer: str) -> None:
    sign_in(issuer, **ADA)
    User.objects.update(is_active=False)
    answer = sign_in(issuer, **ADA)
    assert answer.status_code == 403
    assert "_auth_user_id" not in answer.client.session


def test_a_second_factor_that_is_set_up_here_is_asked_for(issuer: str) -> None:
    sign_in(issuer, **ADA)
    secret, _ = give_second_factor(User.objects.get())
    answer = sign_in(issuer, **ADA)
    assert answer["Location"] == CODE
    assert answer.client.get(SESSIONS).status_code == 302
    assert answer.client.post(CODE, {"code": code_of(secret)}).status_code == 302
    assert answer.client.get(SESSIONS).status_code == 200


# --- What is refused --------------------------------------------------------------------------------------------------
SPOILT = [
    "expired", "audience", "azp", "issuer", "nonce", "no-subject", "kid", "none", "hs256", "forged", "changed",
    "garbage", "absent", "keys",
]  # fmt: skip


@pytest.mark.parametrize("spoil", SPOILT)
def test_a_token_that_does_not_hold_signs_nobody_in(issuer: str, spoil: str) -> None:
    answer = sign_in(issuer, **ADA, spoil=spoil)
    assert answer.status_code == 401
    assert "_auth_user_id" not in answer.client.session
    assert not User.objects.exists()


def test_an_answer_that_this_browser_did_not_ask_for_is_refused(issuer: str) -> None:
    """Somebody else's answer, one without or with a made up state, and one that was used."""
    say_next(issuer, **ADA)
    mine, theirs = Client(), Client()
    address = at_provider(theirs)
    assert mine.get(address).status_code == 401
    assert mine.get(f"{CALLBACK}?code=x").status_code == 401
    assert mine.get(f"{CALLBACK}?code=x&state=y").status_code == 401
    assert mine.get(f"{address.partition('&state')[0]}&state=%00").status_code == 401
    assert theirs.get(address).status_code == 302
    assert Client().get(address).status_code == 401
    again = theirs.get(address)
    assert again.status_code == 401
    assert User.objects.count() == 1


def test_a_code_of_another_sign_in_is_refused_by_pkce(issuer: str) -> None:
    say_next(issuer, **ADA)
    victim, thief = Client(), Client()
    stolen = parse_qs(urlsplit(at_provider(victim)).query)["code"][0]
    own = parse_qs(urlsplit(at_provider(thief)).query)["state"][0]
    assert thief.get(f"{CALLBACK}?code={stolen}&state={own}").status_code == 401
    assert not User.objects.exists()


def test_who_changes_their_mind_at_the_provider_is_back_at_the_sign_in(issuer: str) -> None:
    client = Client()
    state = parse_qs(urlsplit(client.post(LOGIN)["Location"]).query)["state"][0]
    answer = client.get(f"{CALLBACK}?error=access_denied&state={state}", follow=True)
    assert answer.redirect_chain[-1][0] == "/admin/login/"


def test_a_provider_that_is_away_is_said(settings: Any) -> None:
    settings.OIDC_ISSUER = "http://127.0.0.1:1"
    answer = Client().post(LOGIN)
    assert answer.status_code == 503
    assert "cannot be asked at the moment" in answer.content.decode()


def test_a_provider_that_does_not_describe_itself_is_said(settings: Any, issuer: str) -> None:
    settings.OIDC_ISSUER = f"{issuer}/odd"
    assert Client().post(LOGIN).status_code == 503


def test_without_a_provider_there_is_no_such_page(settings: Any) -> None:
    settings.OIDC_ISSUER = ""
    assert Client().post(LOGIN).status_code == 404
    assert Client().get(CALLBACK).status_code == 404
    assert "oidc" not in Client().get("/admin/login/").content.decode()


def test_a_password_person_is_not_touched_by_it(issuer: str) -> None:
    person = make_person()
    make_user()
    sign_in(issuer, **ADA)
    assert SocialAccount.objects.filter(user=person).count() == 0
