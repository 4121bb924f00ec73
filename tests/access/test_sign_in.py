"""Signing in with a password: lockout, limits, how long it lasts, and what the audit log is told."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.contrib.sessions.models import Session
from django.core.exceptions import ImproperlyConfigured
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from redis import Redis

from accounts.models import AuditEntry, User
from accounts.sign_in import lifetime
from accounts.sign_in.config import oidc_check, positive, roles_check
from tests.access.people import PASSWORD, SIGN_IN, make_person, sign_in

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_client")]
ELSEWHERE = {"REMOTE_ADDR": "10.1.2.3"}
NEW = "another-Long-2-one"
CHANGE = "/admin/password_change/"


@pytest.fixture(autouse=True)
def fast(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.AXES_FAILURE_LIMIT = 3


@pytest.fixture
def person() -> User:
    return make_person(permissions=["view_examsession"])


def told(person: User) -> list[str]:
    rows = AuditEntry.objects.filter(organisation=person.organisation, subject=person.username).order_by("sequence")
    return list(rows.values_list("action", flat=True))


def inside(client: Client) -> bool:
    """Tell whether the admin opens."""
    return client.get(reverse("admin:exam_sessions_examsession_changelist")).status_code == 200


def test_who_knows_the_password_signs_in_and_it_is_told(person: User) -> None:
    answer = sign_in(person)
    assert (answer.status_code, answer["Location"]) == (302, "/admin/")
    assert inside(answer.client)
    entry = AuditEntry.objects.get(action="sign_in.succeeded")
    assert (entry.actor, entry.organisation) == (person.username, person.organisation)
    assert entry.details == {"address": "127.0.0.1", "by": "password", "second_factor": False}


def test_one_goes_on_to_the_page_that_was_asked_for_and_nowhere_else(person: User) -> None:
    wanted = reverse("admin:exam_sessions_examsession_changelist")
    for asked, reached in ((wanted, wanted), ("https://evil.example/", "/admin/"), ("//evil.example", "/admin/")):
        answer = Client().post(f"{SIGN_IN}?next={asked}", {"username": person.username, "password": PASSWORD})
        assert answer["Location"] == reached


@pytest.mark.parametrize("fields", [{"staff": False}, {"is_active": False}])
def test_who_may_not_sign_in_is_told_nothing_more(fields: dict[str, Any]) -> None:
    active = fields.pop("is_active", True)
    person = make_person(**fields)
    User.objects.filter(pk=person.pk).update(is_active=active)
    right, wrong = sign_in(person), sign_in(person, "wrong")
    assert (right.status_code, wrong.status_code) == (200, 200)
    assert right.context["form"].non_field_errors() == wrong.context["form"].non_field_errors()
    assert not inside(right.client)


# --- Guessing ---------------------------------------------------------------------------------------------------------
def test_wrong_passwords_lock_the_person_out_at_this_address_alone(person: User) -> None:
    assert [sign_in(person, "wrong").status_code for _ in range(3)] == [200, 200, 429]
    refused = sign_in(person)  # the right one: it is not even looked at
    assert (refused.status_code, refused["Retry-After"]) == (429, "900")
    assert "Try again in 15 minutes" in refused.content.decode()
    assert not inside(refused.client)
    assert sign_in(make_person()).status_code == 302
    assert sign_in(person, **ELSEWHERE).status_code == 302


def test_a_lockout_ends_with_its_time_and_is_not_prolonged_by_trying(person: User) -> None:
    for _ in range(6):
        sign_in(person, "wrong")
    AccessAttempt.objects.update(attempt_time=timezone.now() - timedelta(minutes=15, seconds=1))
    assert sign_in(person).status_code == 302


def test_a_right_password_begins_the_count_anew(person: User) -> None:
    for _ in range(2):
        assert [sign_in(person, "wrong").status_code for _ in range(2)] == [200, 200]
        assert sign_in(person).status_code == 302


def test_failures_and_the_lockout_are_told_once_each(person: User) -> None:
    for _ in range(6):
        sign_in(person, "wrong")
    assert told(person) == ["sign_in.failed"] * 3 + ["sign_in.locked_out"]
    assert not AuditEntry.objects.filter(details__icontains="wrong").exists()


def test_guessing_names_from_one_address_is_stopped(settings: Any) -> None:
    settings.RATE_LIMITS = settings.RATE_LIMITS | {"login_address": "5/h"}
    assert [sign_in(f"user-{n}", "wrong").status_code for n in range(6)] == [200] * 5 + [429]


def test_guessing_from_many_addresses_is_stopped_and_no_name_is_kept(
    settings: Any, person: User, redis_client: Redis
) -> None:
    settings.RATE_LIMITS = settings.RATE_LIMITS | {"login": "4/h"}
    tried = [sign_in(person, "wrong", REMOTE_ADDR=f"10.0.0.{n}").status_code for n in range(6)]
    assert tried == [200] * 4 + [429] * 2
    assert Client().get(SIGN_IN).status_code == 200
    assert not any(person.username.encode() in key for key in redis_client.keys("limit:*"))


def test_a_name_written_in_another_way_is_the_same_persons(settings: Any, person: User) -> None:
    settings.RATE_LIMITS = settings.RATE_LIMITS | {"login": "3/h"}
    wide = "".join(chr(ord(letter) + 0xFEE0) for letter in person.username)
    ways = [person.username, f"  {person.username}", f"{person.username}\t", wide, f" {wide}"]
    assert sign_in(wide).status_code == 302  # the form takes it for the same
    tried = [sign_in(name, "wrong", REMOTE_ADDR=f"10.0.0.{n}").status_code for n, name in enumerate(ways)]
    assert tried == [200] * 2 + [429] * 3


def test_all_addresses_of_one_machine_by_ipv6_count_as_one(settings: Any, person: User) -> None:
    assert [sign_in(person, "wrong", REMOTE_ADDR=f"2001:db8::{n}").status_code for n in range(3)] == [200, 200, 429]
    assert sign_in(person, REMOTE_ADDR="2001:db8:0:1::1").status_code == 302
    assert AuditEntry.objects.filter(action="sign_in.failed").first().details == {"address": "2001:db8::0"}  # type: ignore[union-attr]


@pytest.mark.parametrize("claimed", ["10.9.9.9", "::ffff:127.0.0.1", "nonsense"])
def test_a_header_that_anybody_can_send_is_no_address(person: User, claimed: str) -> None:
    forged = {"HTTP_X_FORWARDED_FOR": claimed, "HTTP_X_REAL_IP": claimed, "HTTP_FORWARDED": f"for={claimed}"}
    assert [sign_in(person, "wrong").status_code for _ in range(3)] == [200, 200, 429]
    assert sign_in(person, **forged).status_code == 429


# --- Passwords --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("chosen", ["short-but-Odd1", "1q2w3e4r5t6y7u8i9o0p", "{name}-1"])
def test_a_password_that_is_soon_guessed_is_not_taken(person: User, chosen: str) -> None:
    User.objects.filter(pk=person.pk).update(username="ada.of.example")
    client = sign_in("ada.of.example").client
    new = chosen.format(name="ada.of.example")
    answer = client.post(CHANGE, {"old_password": PASSWORD, "new_password1": new, "new_password2": new})
    assert answer.context["form"].errors.keys() == {"new_password2"}
    assert User.objects.get(pk=person.pk).check_password(PASSWORD)


def test_guessing_the_old_password_locks_out_as_at_the_sign_in(person: User) -> None:
    client = sign_in(person).client
    new = {"new_password1": NEW, "new_password2": NEW}
    tried = [client.post(CHANGE, new | {"old_password": f"guess-{n}"}).status_code for n in range(3)]
    assert tried == [200, 200, 429]
    assert client.post(CHANGE, new | {"old_password": PASSWORD}).status_code == 429
    assert User.objects.get(pk=person.pk).check_password(PASSWORD)


def test_a_new_password_is_told(person: User) -> None:
    client = sign_in(person).client
    new = {"old_password": PASSWORD, "new_password1": NEW, "new_password2": NEW}
    assert client.post(CHANGE, new).status_code == 302
    assert told(person) == ["sign_in.succeeded", "person.password_set"]
    assert not AuditEntry.objects.filter(details__icontains=NEW).exists()


@pytest.mark.parametrize("name", ["", "nobody", "x\x00y", "é" * 200])
def test_names_that_nobody_has_are_refused_like_any_other(name: str) -> None:
    assert sign_in(name, "wrong").status_code == 200


# --- How long it lasts ------------------------------------------------------------------------------------------------
def set_back(client: Client, **seconds: float) -> None:
    session = client.session
    for name, ago_s in seconds.items():
        session[name] = time.time() - ago_s
    session.save()


def test_it_ends_when_nothing_was_asked_for_long(person: User, settings: Any) -> None:
    client = sign_in(person).client
    set_back(client, seen_at=settings.SESSION_IDLE_MINUTES * 60 - 5)
    assert inside(client)
    assert time.time() - client.session[lifetime.SEEN_AT] < 5  # asking begins it anew
    set_back(client, seen_at=settings.SESSION_IDLE_MINUTES * 60)
    assert not inside(client)
    assert "sign_in.ended" in told(person)


def test_it_ends_however_often_something_is_asked(person: User, settings: Any) -> None:
    client = sign_in(person).client
    set_back(client, signed_in_at=settings.SESSION_HOURS * 3600)
    assert not inside(client)
    assert client.get("/api/v1/admin/sessions").status_code == 401


def test_a_session_is_a_new_one_after_signing_in(person: User) -> None:
    client = Client()
    client.force_login(make_person())  # a session that somebody may have planted
    planted = client.session.session_key
    sign_in(person, client=client)
    assert client.session.session_key != planted
    assert not Session.objects.filter(session_key=planted).exists()


def test_a_new_password_ends_all_other_sessions(person: User) -> None:
    here, there = sign_in(person).client, sign_in(person).client
    new = {"old_password": PASSWORD, "new_password1": NEW, "new_password2": NEW}
    assert here.post(reverse("admin:password_change"), new).status_code == 302
    assert inside(here)
    assert lifetime.person_of(there.session.session_key) is None
    assert not inside(there)


def test_deactivating_ends_every_session(person: User) -> None:
    client = sign_in(person).client
    User.objects.filter(pk=person.pk).update(is_active=False)
    assert lifetime.person_of(client.session.session_key) is None
    assert not inside(client)


def test_cookies_are_out_of_scripts_reach(person: User, settings: Any) -> None:
    settings.SESSION_COOKIE_SECURE = True
    cookie = sign_in(person).client.cookies["sessionid"]
    assert (cookie["httponly"], cookie["secure"], cookie["samesite"]) == (True, True, "Lax")
    assert cookie["max-age"] == settings.SESSION_HOURS * 3600


# --- Settings ---------------------------------------------------------------------------------------------------------
def test_settings_that_cannot_be_are_named() -> None:
    for given in (("https://id.example", "", "s"), ("", "client", ""), ("https://id.example", "c", "")):
        with pytest.raises(ImproperlyConfigured, match="is not set"):
            oidc_check(*given)
    with pytest.raises(ImproperlyConfigured, match="https"):
        oidc_check("http://id.example", "c", "s")
    with pytest.raises(ImproperlyConfigured, match="OIDC_ROLES"):
        roles_check(["proctor"])
    with pytest.raises(ImproperlyConfigured, match="SESSION_HOURS"):
        positive("SESSION_HOURS", 0)
    assert oidc_check("", "", "") == ""
