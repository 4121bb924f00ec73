"""``manage.py keys``: everything under the newest key, while values are sealed, killed in between, told afterwards."""

from __future__ import annotations

import base64
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from io import StringIO
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection, transaction

from accounts import keys, rewrap
from accounts.models import DataKey, KeyCheck, Organisation, OrganisationKey
from accounts.own_keys import own_key, own_key_bytes
from alerts.models import Subscription
from alerts.subscriptions import secret_open, subscription_create, subscription_update
from tests.factories import make_organisation


def ring(*names: str) -> str:
    return ",".join(f"{name}:{base64.b64encode(hashlib.sha256(name.encode()).digest()).decode()}" for name in names)


@pytest.fixture(autouse=True)
def _fresh_start(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.KEY_ENCRYPTION_KEYS = ring("old")
    monkeypatch.setattr(keys, "_verified", set())


def told(*arguments: str) -> str:
    output = StringIO()
    call_command("keys", *arguments, stdout=output)
    return output.getvalue()


def subscribed(organisation: Organisation) -> tuple[Subscription, str]:
    return subscription_create(organisation=organisation, transport="webhook", url="https://93.184.216.34/")


def data_keys_open() -> int:
    """Return how many data keys there are, after opening each."""
    rows = list(DataKey.objects.all())
    for row in rows:
        keys.seal(b"x", data_key=row, purpose="p", row="1")
    return len(rows)


@pytest.mark.django_db
class TestRotate:
    def test_every_sealed_value_is_under_the_new_key_and_opens_without_the_old(self, settings: Any) -> None:
        organisation = make_organisation()
        for _ in range(3):
            keys.data_key_create(organisation=organisation)
        own = own_key(organisation=organisation, purpose=OrganisationKey.Purpose.AUDIT)
        before = own_key_bytes(own)
        subscription, secret = subscribed(organisation)
        settings.KEY_ENCRYPTION_KEYS = ring("new", "old")
        assert "Wrapped 5 values anew under the key 'new'." in told("rotate")
        settings.KEY_ENCRYPTION_KEYS = ring("new")
        keys.keys_verify()
        assert data_keys_open() == 3
        assert own_key_bytes(OrganisationKey.objects.get(pk=own.pk)) == before
        assert secret_open(Subscription.objects.get(pk=subscription.pk)) == secret
        assert set(DataKey.objects.values_list("kek_id", flat=True)) == {"new"}

    def test_until_then_the_old_key_is_missed_and_afterwards_not(self, settings: Any) -> None:
        keys.data_key_create(organisation=make_organisation())
        settings.KEY_ENCRYPTION_KEYS = ring("new")
        with pytest.raises(ImproperlyConfigured, match="'old'"):
            keys.keys_verify()
        settings.KEY_ENCRYPTION_KEYS = ring("new", "old")
        assert "The key 'old' seals nothing any more" in told("rotate")
        assert [check.kek_id for check in KeyCheck.objects.all()] == ["new"]
        settings.KEY_ENCRYPTION_KEYS = ring("new")
        keys.keys_verify()

    def test_a_process_that_still_seals_under_the_old_key_has_it_missed_again(self, settings: Any) -> None:
        organisation = make_organisation()
        keys.data_key_create(organisation=organisation)
        settings.KEY_ENCRYPTION_KEYS = ring("new", "old")
        told("rotate")
        settings.KEY_ENCRYPTION_KEYS = ring("old", "new")  # of a process that nobody has restarted
        keys.data_key_create(organisation=organisation)
        settings.KEY_ENCRYPTION_KEYS = ring("new")
        keys._verified.clear()
        with pytest.raises(ImproperlyConfigured, match="'old'"):
            keys.keys_verify()

    def test_a_value_that_does_not_open_stays_is_named_and_keeps_the_old_key(self, settings: Any) -> None:
        good, bad = (keys.data_key_create(organisation=make_organisation()) for _ in range(2))
        DataKey.objects.filter(pk=bad.pk).update(wrapped_key=bytes(good.wrapped_key))
        settings.KEY_ENCRYPTION_KEYS = ring("new", "old")
        with pytest.raises(CommandError, match=str(bad.pk)):
            told("rotate")
        assert DataKey.objects.get(pk=good.pk).kek_id == "new"
        assert KeyCheck.objects.filter(kek_id="old").exists()

    def test_a_subscription_read_before_does_not_bring_the_old_secret_back(self, settings: Any) -> None:
        subscription, secret = subscribed(make_organisation())
        read_before = Subscription.objects.get(pk=subscription.pk)
        settings.KEY_ENCRYPTION_KEYS = ring("new", "old")
        told("rotate")
        subscription_update(subscription=read_before, enabled=False)
        stored = Subscription.objects.get(pk=subscription.pk)
        assert (keys.key_id_of(stored.sealed_secret), secret_open(stored)) == ("new", secret)


@pytest.mark.django_db
class TestStatus:
    def test_it_tells_what_each_key_seals_and_which_may_go(self, settings: Any) -> None:
        organisation = make_organisation()
        keys.data_key_create(organisation=organisation)
        subscribed(organisation)
        settings.KEY_ENCRYPTION_KEYS = ring("new", "old", "spare")
        lines = told("status").splitlines()
        assert lines[0] == "key 'new' (seals): nothing"
        old = "key 'old' (opens): 1 accounts.DataKey.wrapped_key, 1 alerts.Subscription.sealed_secret"
        assert lines[1] == f"{old}; run `keys rotate`"
        assert lines[2] == "key 'spare' (opens): nothing; may be removed from KEY_ENCRYPTION_KEYS"

    def test_a_value_that_is_no_sealed_value_breaks_nothing(self) -> None:
        keys.data_key_create(organisation=make_organisation())
        DataKey.objects.update(wrapped_key=b"\x01\xff\x00\xff")
        assert "accounts.DataKey.wrapped_key" in told("status")

    def test_a_missing_key_is_named(self, settings: Any) -> None:
        keys.data_key_create(organisation=make_organisation())
        settings.KEY_ENCRYPTION_KEYS = ring("new")
        with pytest.raises(CommandError, match="lacks the key 'old'"):
            told("status")


def killed_within_a_batch(environment: dict[str, str]) -> None:
    """Wrap keys anew in a process that is killed with one batch behind it and the second begun."""
    old = DataKey.objects.filter(kek_id="old").order_by("pk")
    before = old.count()
    with transaction.atomic():
        DataKey.objects.select_for_update(no_key=True).get(pk=old[rewrap.BATCH * 3 // 2].pk)  # there the process waits
        process = subprocess.Popen([sys.executable, "manage.py", "keys", "rotate"], env=environment)
        while process.poll() is None and old.count() == before:
            time.sleep(0.02)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert before - old.count() == rewrap.BATCH


@pytest.mark.django_db(transaction=True)
def test_while_values_are_sealed_and_the_process_is_killed_again_and_again_none_is_lost(settings: Any) -> None:
    organisation = make_organisation()
    for _ in range(700):
        keys.data_key_create(organisation=organisation)
    settings.KEY_ENCRYPTION_KEYS = ring("new", "old")
    stop, made = threading.Event(), []

    def enrol() -> None:
        try:
            while not stop.is_set():
                made.append(keys.data_key_create(organisation=organisation))
                time.sleep(0.01)
        finally:
            connection.close()

    name = connection.settings_dict["NAME"]
    url = urlunsplit(urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}"))
    environment = os.environ | {"KEY_ENCRYPTION_KEYS": ring("new", "old"), "DATABASE_URL": url}
    thread = threading.Thread(target=enrol)
    thread.start()
    try:
        for _ in range(2):
            killed_within_a_batch(environment)
        subprocess.run([sys.executable, "manage.py", "keys", "rotate"], env=environment, check=True)
    finally:
        stop.set()
        thread.join()
    assert len(made) > 10
    settings.KEY_ENCRYPTION_KEYS = ring("new")
    keys.keys_verify()
    assert data_keys_open() == 700 + len(made)


@pytest.mark.django_db(transaction=True)
def test_a_key_is_not_forgotten_while_somebody_is_sealing_under_it(settings: Any) -> None:
    keys.data_key_create(organisation=make_organisation())
    settings.KEY_ENCRYPTION_KEYS = ring("new", "old")
    retired: list[bool] = []

    def retire() -> None:
        retired.append(rewrap._retire("old"))
        connection.close()

    DataKey.objects.all().delete()
    with transaction.atomic():
        settings.KEY_ENCRYPTION_KEYS = ring("old", "new")
        keys.data_key_create(organisation=make_organisation())
        settings.KEY_ENCRYPTION_KEYS = ring("new", "old")
        thread = threading.Thread(target=retire)
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
    thread.join()
    assert retired == [False]
