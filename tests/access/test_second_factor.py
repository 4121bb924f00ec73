"""The second factor: set up, asked for, asked of whom it must be asked, and no way around it."""

from __future__ import annotations

import base64
import re
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.contrib.auth.models import Group
from django.core.exceptions import ImproperlyConfigured
from django.test import Client
from django.urls import reverse

from accounts.keys import key_ring
from accounts.models import AuditEntry, User
from accounts.rewrap import rewrap_all
from accounts.sign_in.second_factor import required_parse
from tests.access.people import CODE, PASSWORD, code_of, give_second_factor, has_second_factor, make_person, sign_in
from tests.factories import make_user

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_client")]
SET_UP = "/admin/second-factor/set-up/"
REMOVE = "/admin/second-factor/remove/"
SESSIONS = "/admin/exam_sessions/examsession/"


@pytest.fixture(autouse=True)
def fast(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def person() -> User:
    return make_person(permissions=["view_examsession"])


def told(person: User) -> list[str]:
    rows = AuditEntry.objects.filter(organisation=person.organisation, subject=person.username).order_by("sequence")
    return list(rows.values_list("action", flat=True))


def set_up(client: Client) -> list[str]:
    """Set up a second factor as a person would; return the recovery codes that were shown."""
    (secret,) = re.findall(r'id="totp-secret"[^>]*>(\w+)<', client.get(SET_UP).content.decode())
    answer = client.post(SET_UP, {"code": code_of(secret)}, follow=True)
    assert answer.status_code == 200
    shown = answer.content.decode().partition('id="recovery-codes"')[2].partition("</pre>")[0]
    return re.findall(r"\b\d{8}\b", shown)


def test_it_is_set_up_with_a_first_code_and_recovery_codes_are_shown_once(
    person: User, django_capture_on_commit_callbacks: Any
) -> None:
    client = sign_in(person).client
    with django_capture_on_commit_callbacks(execute=True):
        codes = set_up(client)
    assert len(codes) == 10
    assert has_second_factor(person)
    again = client.get("/admin/second-factor/recovery/").content.decode()
    assert not any(code in again for code in codes)
    assert "second_factor.added" in told(person)


def test_a_wrong_first_code_sets_up_nothing(person: User) -> None:
    client = sign_in(person).client
    client.get(SET_UP)
    assert "Incorrect code" in client.post(SET_UP, {"code": "000000"}).content.decode()
    assert not has_second_factor(person)


def test_the_password_alone_opens_nothing(person: User) -> None:
    secret, _ = give_second_factor(person)
    answer = sign_in(person)
    assert (answer.status_code, answer["Location"]) == (302, CODE)
    client = answer.client
    assert client.get(SESSIONS).status_code == 302
    assert client.get("/api/v1/admin/sessions").status_code == 401
    wrong = client.post(CODE, {"code": "000000"})
    assert (wrong.status_code, client.get(SESSIONS).status_code) == (200, 302)
    assert client.post(CODE, {"code": code_of(secret)})["Location"] == "/admin/"
    assert client.get(SESSIONS).status_code == 200
    assert told(person) == ["sign_in.code_failed", "sign_in.succeeded"]
    assert AuditEntry.objects.get(action="sign_in.succeeded").details["second_factor"] is True


def test_a_code_opens_once(person: User) -> None:
    secret, recovery = give_second_factor(person)
    code = code_of(secret)
    first, second = sign_in(person).client, sign_in(person).client
    assert first.post(CODE, {"code": code}).status_code == 302
    assert second.post(CODE, {"code": code}).status_code == 200
    assert second.post(CODE, {"code": recovery[0]}).status_code == 302
    third = sign_in(person).client
    assert third.post(CODE, {"code": recovery[0]}).status_code == 200


def test_codes_of_another_time_open_nothing(person: User) -> None:
    secret, _ = give_second_factor(person)
    client = sign_in(person).client
    for steps in (-2, -1, 2, 3):
        assert client.post(CODE, {"code": code_of(secret, steps)}).status_code == 200


def test_guessing_codes_is_stopped_whatever_the_browser(person: User, settings: Any) -> None:
    settings.RATE_LIMITS = settings.RATE_LIMITS | {"login_code": "3/h"}
    secret, _ = give_second_factor(person)
    tried = [sign_in(person).client.post(CODE, {"code": "000000"}).status_code for _ in range(4)]
    assert tried == [200, 200, 200, 429]
    assert sign_in(person).client.post(CODE, {"code": code_of(secret)}).status_code == 429


def test_without_the_store_of_used_codes_none_is_taken(person: User, settings: Any) -> None:
    secret, _ = give_second_factor(person)
    client = sign_in(person).client
    away = settings.CACHES["default"] | {"LOCATION": "redis://127.0.0.1:1/0"}
    settings.CACHES = {"default": away}
    assert client.post(CODE, {"code": code_of(secret)}).status_code == 503
    assert client.get(SESSIONS).status_code == 302


def test_a_sign_in_that_waits_for_a_code_ends_with_a_new_password_too(person: User) -> None:
    secret, _ = give_second_factor(person)
    client = sign_in(person).client
    changed = User.objects.get(pk=person.pk)
    changed.set_password("another-Long-2-one")
    changed.save()
    answer = client.post(CODE, {"code": code_of(secret)})
    assert (answer.status_code, answer["Location"]) == (302, "/admin/login/")
    assert client.get(SESSIONS).status_code == 302
    assert client.post(CODE, {"code": code_of(secret)})["Location"] == "/admin/login/"


def test_nothing_is_asked_without_the_password_before(person: User) -> None:
    secret, _ = give_second_factor(person)
    answer = Client().post(CODE, {"code": code_of(secret)})
    assert (answer.status_code, answer["Location"]) == (302, "/admin/login/")


def test_secrets_are_sealed_in_the_database_and_sealed_anew_under_a_new_key(person: User, settings: Any) -> None:
    secret, recovery = give_second_factor(person)
    stored = str(list(Authenticator.objects.values_list("data", flat=True)))
    assert not any(plain in stored for plain in (secret, *recovery))
    fresh = "second:" + base64.b64encode(bytes(range(32))).decode()
    settings.KEY_ENCRYPTION_KEYS = f"{fresh},{settings.KEY_ENCRYPTION_KEYS}"
    assert key_ring().active_id == "second"
    assert rewrap_all().count == 2
    assert rewrap_all().count == 0
    assert sign_in(person).client.post(CODE, {"code": code_of(secret)}).status_code == 302


# --- Of whom it is asked ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("asked", [["all"], ["administrator"]])
def test_who_must_have_one_sets_it_up_before_anything_else(settings: Any, asked: list[str]) -> None:
    person = make_person()
    person.groups.add(Group.objects.get(name="administrator"))
    settings.REQUIRE_SECOND_FACTOR = asked
    client = sign_in(person).client
    answer = client.get(SESSIONS)
    assert (answer.status_code, answer["Location"].partition("?")[0]) == (302, SET_UP)
    assert client.get("/api/v1/admin/sessions").status_code == 403
    assert "Your role needs a second factor" in client.get(SET_UP).content.decode()
    set_up(client)
    assert client.get(SESSIONS).status_code == 200
    assert client.get("/api/v1/admin/sessions").status_code == 200
    assert "cannot be removed" in client.get(REMOVE).content.decode()
    client.post(REMOVE, {})
    assert has_second_factor(person)


def test_it_is_not_asked_of_other_roles_nor_of_who_has_no_password(settings: Any, person: User) -> None:
    settings.REQUIRE_SECOND_FACTOR = ["administrator"]
    assert sign_in(person).client.get(SESSIONS).status_code == 200
    settings.REQUIRE_SECOND_FACTOR = ["all"]
    by_provider = make_user(permissions=["view_examsession"])
    by_provider.set_unusable_password()
    by_provider.save()
    client = Client()
    client.force_login(by_provider)
    assert client.get(SESSIONS).status_code == 200


def test_a_superuser_must_have_one_where_anybody_must(settings: Any) -> None:
    settings.REQUIRE_SECOND_FACTOR = ["proctor"]
    assert sign_in(make_person(superuser=True)).client.get(SESSIONS).status_code == 302


def test_one_removes_ones_own_where_it_is_not_asked_for(person: User) -> None:
    secret, _ = give_second_factor(person)
    client = sign_in(person).client
    client.post(CODE, {"code": code_of(secret)})
    assert client.post(REMOVE, {}).status_code == 302
    assert not Authenticator.objects.filter(user=person).exists()
    assert "second_factor.removed" in told(person)


def test_a_sign_in_of_long_ago_does_not_change_the_second_factor(person: User) -> None:
    client = sign_in(person).client
    session = client.session
    session["signed_in_at"] -= 600
    session.save()
    answer = client.get(SET_UP)
    assert answer["Location"].startswith("/admin/second-factor/password/")
    wrong = client.post(answer["Location"], {"password": "wrong"})
    assert wrong.status_code == 200
    assert client.get(SET_UP).status_code == 302
    right = client.post(answer["Location"], {"password": PASSWORD, "next": SET_UP})
    assert (right.status_code, right["Location"]) == (302, SET_UP)
    assert client.get(SET_UP).status_code == 200


def test_an_administrator_resets_that_of_people_who_may_no_more_than_they(person: User) -> None:
    boss = make_user(person.organisation)
    boss.groups.add(Group.objects.get(name="administrator"))
    stronger = make_user(person.organisation, permissions=["delete_candidate"])
    client = Client()
    client.force_login(boss)
    for each in (person, stronger):
        give_second_factor(each)
    chosen = {"action": "reset_second_factor", "_selected_action": [person.pk, stronger.pk]}
    client.post(reverse("admin:accounts_user_changelist"), chosen)
    assert (has_second_factor(person), has_second_factor(stronger)) == (False, True)
    assert "second_factor.reset" in told(person)


def test_a_role_that_is_none_is_named() -> None:
    with pytest.raises(ImproperlyConfigured, match="everybody"):
        required_parse(["everybody"])
