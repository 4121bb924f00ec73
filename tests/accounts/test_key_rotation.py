"""A new secret for a key: the old one opens for the overlap and no longer; every change is told."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.api_keys import MOST_OVERLAP, api_key_find, api_key_revoke, api_key_rotate
from accounts.audit import audit_verify
from accounts.models import APIKey, AuditEntry
from accounts.problems import Problem
from tests.factories import make_api_key, make_organisation, make_user

pytestmark = pytest.mark.django_db


def refused(raw: str) -> str:
    with pytest.raises(Problem) as caught:
        api_key_find(raw)
    return caught.value.code


def test_both_secrets_open_until_the_overlap_is_over() -> None:
    key, old = make_api_key()
    new = api_key_rotate(key=key, overlap=timedelta(hours=1))
    assert new != old
    assert api_key_find(old).pk == api_key_find(new).pk == key.pk
    APIKey.objects.filter(pk=key.pk).update(previous_secret_until=timezone.now())
    assert refused(old) == "key_expired"
    assert api_key_find(new).pk == key.pk


def test_without_overlap_the_old_secret_opens_nothing_at_once() -> None:
    key, old = make_api_key()
    api_key_rotate(key=key, overlap=timedelta())
    assert refused(old) == "key_expired"


def test_a_second_rotation_ends_the_first_secret() -> None:
    key, first = make_api_key()
    second = api_key_rotate(key=key, overlap=timedelta(hours=1))
    third = api_key_rotate(key=key, overlap=timedelta(hours=1))
    assert refused(first) == "key_invalid"
    assert api_key_find(second).pk == api_key_find(third).pk == key.pk


def test_a_revoked_or_expired_key_gets_no_new_secret_and_an_overlap_has_an_end() -> None:
    key, old = make_api_key()
    for wrong in (timedelta(seconds=-1), MOST_OVERLAP + timedelta(seconds=1)):
        with pytest.raises(ValueError, match="overlap"):
            api_key_rotate(key=key, overlap=wrong)
    api_key_rotate(key=key, overlap=timedelta(hours=1))
    assert api_key_revoke(key=key)
    assert not api_key_revoke(key=key)
    assert refused(old) == "key_revoked"
    with pytest.raises(Problem, match="key_revoked"):
        api_key_rotate(key=key)
    expired, _ = make_api_key(expires_at=timezone.now())
    with pytest.raises(Problem, match="key_expired"):
        api_key_rotate(key=expired)


def test_no_secret_nor_digest_of_an_older_one_is_readable() -> None:
    key, old = make_api_key()
    new = api_key_rotate(key=key)
    row = APIKey.objects.filter(pk=key.pk).values().get()
    for raw in (old, new):
        assert raw.rpartition("_")[2] not in str(row)


def test_every_change_is_told_with_who_and_without_the_secret() -> None:
    key, old = make_api_key()
    new = api_key_rotate(key=key)
    api_key_revoke(key=key)
    entries = AuditEntry.objects.filter(organisation=key.organisation, subject=key.prefix).order_by("sequence")
    assert [entry.action for entry in entries] == ["api_key.created", "api_key.rotated", "api_key.revoked"]
    assert not any(raw.rpartition("_")[2] in str(entry.details) for entry in entries for raw in (old, new))
    assert list(audit_verify(key.organisation)) == []


class TestAdmin:
    @pytest.fixture
    def key(self) -> APIKey:
        return make_api_key(make_organisation("default"))[0]

    @pytest.fixture
    def client(self, key: APIKey) -> Client:
        client = Client()
        client.force_login(make_user(key.organisation, superuser=True))
        return client

    def test_a_new_secret_is_asked_for_and_shown_once(self, client: Client, key: APIKey) -> None:
        url = reverse("admin:accounts_apikey_rotate", args=[key.pk])
        assert "Hours for which the old key opens too" in client.get(url).content.decode()
        assert AuditEntry.objects.filter(action="api_key.rotated").count() == 0
        answer = client.post(url, {"overlap_hours": "2"})
        assert "no-store" in answer["Cache-Control"]
        (shown,) = set(re.findall(r"sdp_\w+", answer.content.decode()))
        assert api_key_find(shown).pk == key.pk
        page = client.get(reverse("admin:accounts_apikey_change", args=[key.pk])).content.decode()
        assert shown not in page
        entry = AuditEntry.objects.get(action="api_key.rotated")
        assert (entry.actor_kind, entry.subject) == ("person", key.prefix)

    @pytest.mark.parametrize("hours", ["", "-1", "721", "soon"])
    def test_an_overlap_that_cannot_be_changes_nothing(self, client: Client, key: APIKey, hours: str) -> None:
        answer = client.post(reverse("admin:accounts_apikey_rotate", args=[key.pk]), {"overlap_hours": hours})
        assert answer.context["form"].errors
        assert APIKey.objects.get(pk=key.pk).secret_sha256 == key.secret_sha256


class TestCommand:
    def run(self, *arguments: str) -> str:
        out = StringIO()
        call_command("api_keys", *arguments, stdout=out)
        return out.getvalue()

    def test_it_lists_rotates_and_revokes(self) -> None:
        key, old = make_api_key()
        make_api_key()
        listed = self.run("list", "--organisation", key.organisation.slug)
        assert listed.count("\n") == 1
        assert key.prefix in listed
        assert "used never" in listed
        new = self.run("rotate", key.prefix, "--overlap-hours", "0").strip()
        assert api_key_find(new).pk == key.pk
        assert refused(old) == "key_expired"
        self.run("revoke", key.prefix)
        assert refused(new) == "key_revoked"
        assert "revoked" in self.run("list")

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (lambda prefix: ("rotate", "nobody"), "no key of prefix"),
            (lambda prefix: ("rotate", prefix, "--overlap-hours", "9999"), "overlap"),
            (lambda prefix: ("rotate", prefix, "--overlap-hours", "1e300"), "overlap hours"),
            (lambda prefix: ("rotate", prefix, "--overlap-hours", "nan"), "overlap hours"),
        ],
    )
    def test_what_cannot_be_done_is_said(self, arguments: Callable[[str], tuple[str, ...]], message: str) -> None:
        key, _ = make_api_key()
        with pytest.raises(CommandError, match=message):
            self.run(*arguments(key.prefix))
