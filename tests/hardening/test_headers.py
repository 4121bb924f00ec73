"""Headers of every kind of answer, and cookies."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import User
from proctor_site import headers
from tests.alerts import builders
from tests.factories import make_api_key, make_organisation, make_user

pytestmark = pytest.mark.django_db

ANYWHERE = [
    "/", "/admin/login/", "/api/docs/", "/api/problems", "/api/schema/", "/api/v1/subscriptions", "/api/v1/nowhere",
    "/api/asyncapi/", "/nowhere", "/.well-known/live", "/metrics", "/static/accounts/admin.css", "/favicon.ico",
    "/candidate/00000000-0000-4000-8000-000000000009",
]  # fmt: skip


def directives(policy: str) -> dict[str, str]:
    parts = (part.strip().partition(" ") for part in policy.split(";") if part.strip())
    return {name: value for name, _, value in parts}


@pytest.mark.parametrize("path", ANYWHERE)
def test_every_answer_has_them(client: Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code < 500
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Referrer-Policy"] in ("same-origin", "no-referrer")
    assert answer["Cross-Origin-Opener-Policy"] == "same-origin"
    assert answer["Cross-Origin-Resource-Policy"] == "same-origin"
    policy = directives(answer["Content-Security-Policy"])
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == "'none'"
    assert "'unsafe-inline'" not in policy.get("script-src", "")
    assert ("'unsafe-eval'" in policy.get("script-src", "")) == path.startswith("/admin/")
    assert "*" not in answer["Content-Security-Policy"]


@pytest.mark.parametrize("path", ANYWHERE)
def test_only_the_candidates_page_may_use_camera_and_microphone(client: Client, path: str) -> None:
    permissions = client.get(path)["Permissions-Policy"]
    wanted = "(self)" if path.startswith("/candidate/") else "()"
    assert f"camera={wanted}" in permissions
    assert f"microphone={wanted}" in permissions
    assert "geolocation=()" in permissions


def test_what_could_say_something_of_somebody_is_kept_by_no_cache() -> None:
    organisation = make_organisation()
    _, raw = make_api_key(organisation)
    platform = Client(HTTP_AUTHORIZATION=f"Bearer {raw}")
    staff = Client()
    staff.force_login(make_user(organisation, superuser=True))
    answers = [
        platform.get(f"/api/v1/{path}") for path in ("subscriptions", "admin/sessions", "incidents", "enroll/ada")
    ]
    answers += [staff.get(path, follow=True) for path in ("/admin/", "/admin/live/", "/admin/enrollment/candidate/")]
    answers.append(Client().get("/.well-known/health"))
    assert len(answers) == 8
    for answer in answers:
        assert "no-store" in answer["Cache-Control"]
    assert "no-store" not in Client().get("/static/accounts/admin.css").headers.get("Cache-Control", "")


def test_cookies_are_out_of_reach_of_scripts_and_of_other_sites() -> None:
    user = User.objects.create_user("ann", password="a good password", is_staff=True, organisation=make_organisation())
    client = Client()
    client.get(reverse("admin:login"))
    answer = client.post(reverse("admin:login"), {"username": user.username, "password": "a good password"})
    assert answer.status_code == 302
    assert set(client.cookies) == {"csrftoken", "sessionid"}
    for cookie in client.cookies.values():
        assert cookie["httponly"]
        assert cookie["samesite"] == "Lax"


def test_a_form_of_another_site_is_refused() -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(builders.staff(builders.organisation(), superuser=True))
    assert client.post("/admin/accounts/organisation/add/", {"name": "x", "slug": "x"}).status_code == 403


@pytest.mark.parametrize(
    ("origin", "let_in"), [("https://platform.example.org", True), ("https://evil.example", False)]
)
def test_only_named_origins_may_read_answers(client: Client, settings: object, origin: str, let_in: bool) -> None:
    settings.CORS_ALLOWED_ORIGINS = ["https://platform.example.org"]  # type: ignore[attr-defined]
    answer = client.get("/api/v1/subscriptions", HTTP_ORIGIN=origin)
    assert answer.headers.get("Access-Control-Allow-Origin") == (origin if let_in else None)
    assert "Access-Control-Allow-Credentials" not in answer.headers


def test_the_table_in_the_documentation_knows_every_policy() -> None:
    text = (Path(headers.__file__).parents[1] / "docs" / "hardening.md").read_text()
    assert "`default-src 'none'; sandbox`" in text
    assert {prefix for prefix, _ in headers.POLICIES} <= {"/admin/", "/accounts/", "/api/docs", "/api/problems"}
