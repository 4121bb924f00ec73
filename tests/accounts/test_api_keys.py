"""API keys: made once, kept as a digest, refused for a stated reason."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.api_keys import api_key_find
from accounts.auth import authenticate_key
from accounts.models import APIKey, Scope
from accounts.problems import Problem
from tests.factories import make_api_key, make_organisation

pytestmark = pytest.mark.django_db


def get(raw: str | None, path: str = "/api/v1/admin/sessions") -> tuple[int, str | None]:
    """Ask with a key; return status and code."""
    client = APIClient()
    if raw is not None:
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {raw}")
    response = client.get(path)
    return response.status_code, response.json().get("code")


def test_a_key_opens_what_its_scope_allows() -> None:
    _, raw = make_api_key(scopes=[Scope.ADMIN])
    assert get(raw) == (200, None)


def test_only_a_digest_is_stored() -> None:
    key, raw = make_api_key()
    secret = raw.rpartition("_")[2]
    assert len(secret) == 64
    row = APIKey.objects.filter(pk=key.pk).values().get()
    assert not any(secret in str(value) for value in row.values())


@pytest.mark.parametrize(
    "wrong",
    [
        lambda raw: raw[:-1] + ("0" if raw[-1] != "0" else "1"),
        lambda raw: raw.upper(),
        lambda raw: "sdp_" + "0" * 12 + "_" + raw.rpartition("_")[2],
        lambda raw: raw.removeprefix("sdp_"),
        lambda raw: "sdp_",
        lambda raw: "sdp__",
        lambda raw: "sdp_é_x",
        lambda raw: "a.b.c",
        lambda raw: raw + "\x00",
    ],
)
def test_anything_else_is_refused(wrong: object) -> None:
    _, raw = make_api_key()
    assert callable(wrong)
    assert get(wrong(raw)) == (401, "key_invalid")


def test_no_credentials_are_answered_with_how_to_give_them() -> None:
    response = APIClient().get("/api/v1/admin/sessions")
    assert (response.status_code, response.json()["code"]) == (401, "not_authenticated")
    assert response["WWW-Authenticate"].startswith("Bearer")
    assert response["Content-Type"] == "application/problem+json"


def test_an_expired_key_is_refused_as_expired() -> None:
    _, raw = make_api_key(expires_at=timezone.now() - timedelta(seconds=1))
    assert get(raw) == (401, "key_expired")


def test_a_revoked_key_is_refused_as_revoked() -> None:
    _, raw = make_api_key(revoked_at=timezone.now())
    assert get(raw) == (401, "key_revoked")


def test_a_key_without_the_scope_is_refused_naming_it() -> None:
    _, raw = make_api_key(scopes=[Scope.ENROLL])
    client = APIClient(HTTP_AUTHORIZATION=f"Bearer {raw}")
    body = client.get("/api/v1/admin/sessions").json()
    assert (body["status"], body["code"], body["scope"]) == (403, "scope_missing", "admin")


def test_the_plain_function_returns_the_key_or_none() -> None:
    key, raw = make_api_key()
    found = authenticate_key(raw)
    assert found is not None
    assert found.pk == key.pk
    assert authenticate_key(raw + "0") is None
    key.revoked_at = timezone.now()
    key.save()
    assert authenticate_key(raw) is None


def test_last_use_is_written_at_most_once_a_minute(django_assert_num_queries: object) -> None:
    key, raw = make_api_key()
    api_key_find(raw)
    key.refresh_from_db()
    first = key.last_used_at
    assert first is not None
    with django_assert_num_queries(1):  # type: ignore[operator]
        api_key_find(raw)
    key.refresh_from_db()
    assert key.last_used_at == first
    APIKey.objects.update(last_used_at=first - timedelta(minutes=2))
    api_key_find(raw)
    key.refresh_from_db()
    assert key.last_used_at is not None
    assert key.last_used_at >= first


class TestCommand:
    def run(self, *arguments: str) -> str:
        out = StringIO()
        call_command("create_api_key", *arguments, stdout=out)
        return out.getvalue()

    def test_it_prints_the_key_alone(self) -> None:
        make_organisation("default")
        printed = self.run("platform", "--all-scopes")
        assert printed.endswith("\n")
        assert printed.count("\n") == 1
        found = api_key_find(printed.strip())
        assert (found.name, set(found.scopes), found.expires_at) == ("platform", set(Scope.values), None)

    def test_scopes_organisation_and_expiry_are_as_asked(self) -> None:
        organisation = make_organisation()
        printed = self.run(
            "p", "--scope", "enroll", "--scope", "verify", "--organisation", organisation.slug, "--expires-days", "7"
        )
        found = api_key_find(printed.strip())
        assert (found.organisation, found.scopes) == (organisation, ["enroll", "verify"])
        assert found.expires_at is not None
        assert abs(found.expires_at - timezone.now() - timedelta(days=7)) < timedelta(minutes=1)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("p",), "one of the arguments --scope --all-scopes is required"),
            (("p", "--all-scopes", "--scope", "enroll"), "not allowed with"),
            (("p", "--all-scopes", "--organisation", "nobody"), "no organisation 'nobody'"),
            (("p", "--all-scopes", "--expires-days", "0"), "must be 1 to 36500"),
            (("p", "--all-scopes", "--expires-days", "99999999"), "must be 1 to 36500"),
            (("p", "--scope", "everything"), "invalid choice"),
            (("", "--all-scopes"), "1 to 100 characters"),
        ],
    )
    def test_what_cannot_be_made_is_said(self, arguments: tuple[str, ...], message: str) -> None:
        make_organisation("default")
        with pytest.raises(CommandError, match=message):
            self.run(*arguments)
        assert not APIKey.objects.exists()

    def test_a_second_key_of_a_name_is_refused(self) -> None:
        make_organisation("default")
        self.run("platform", "--all-scopes")
        with pytest.raises(CommandError, match="has a key named 'platform' already"):
            self.run("platform", "--all-scopes")


def test_lookup_says_why() -> None:
    with pytest.raises(Problem) as caught:
        api_key_find("nonsense")
    assert caught.value.code == "key_invalid"
