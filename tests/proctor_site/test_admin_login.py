from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from redis import Redis

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_client")]


@pytest.fixture(autouse=True)
def rates(settings: Any) -> None:
    settings.RATE_LIMITS = settings.RATE_LIMITS | {"login": "3/h", "login_address": "5/h"}
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


def attempt(username: str, password: str = "wrong") -> Any:
    return Client().post("/admin/login/", {"username": username, "password": password})


def test_guessing_one_persons_password_is_stopped(admin_user: Any) -> None:
    assert [attempt("admin").status_code for _ in range(3)] == [200, 200, 200]
    refused = attempt("admin", "password")  # the right one: it is not even looked at
    assert refused.status_code == 429
    assert int(refused["Retry-After"]) > 0
    assert "Try again in" in refused.content.decode()
    assert attempt("somebody else").status_code == 200


def test_guessing_names_from_one_address_is_stopped() -> None:
    assert [attempt(f"user-{number}").status_code for number in range(6)] == [200] * 5 + [429]


def test_the_form_is_shown_whatever_was_tried_and_no_name_is_kept(redis_client: Redis, admin_user: Any) -> None:
    for _ in range(6):
        attempt("admin")
    assert Client().get("/admin/login/").status_code == 200
    assert not any(b"admin" in key for key in redis_client.keys("limit:*"))


def test_who_knows_the_password_signs_in(admin_user: Any) -> None:
    assert attempt("admin", "password").status_code == 302
