"""Sealing: what opens, what must not, and keys that are refused at start."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import sys
import uuid
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.db.transaction import TransactionManagementError

from accounts import keys
from accounts.keys import SealError
from accounts.models import DataKey, KeyCheck
from tests.factories import make_organisation

SECRET = b"an embedding, say"
PURPOSE = keys.PURPOSE_DATA_KEY


def encoded(fill: bytes = b"k") -> str:
    return base64.b64encode(hashlib.sha256(fill).digest()).decode()


@pytest.fixture(autouse=True)
def _fresh_start(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget what this process has verified, as if it had just started."""
    settings.KEY_ENCRYPTION_KEYS = f"first:{encoded(b'1')}"
    monkeypatch.setattr(keys, "_verified", set())


@pytest.fixture
def data_key(db: None) -> DataKey:
    return keys.data_key_create(organisation=make_organisation())


class TestDataKey:
    def test_what_was_sealed_opens(self, data_key: DataKey) -> None:
        sealed = keys.seal(SECRET, data_key=data_key, purpose="p", row="1")
        assert SECRET not in sealed
        assert keys.open_sealed(sealed, data_key=data_key, purpose="p", row="1") == SECRET

    def test_it_opens_after_a_round_trip_through_the_database(self, data_key: DataKey) -> None:
        sealed = keys.seal(SECRET, data_key=data_key, purpose="p", row="1")
        loaded = DataKey.objects.get(pk=data_key.pk)
        assert keys.open_sealed(memoryview(sealed), data_key=loaded, purpose="p", row="1") == SECRET

    def test_sealing_twice_gives_different_ciphertexts(self, data_key: DataKey) -> None:
        assert len({keys.seal(SECRET, data_key=data_key, purpose="p", row="1") for _ in range(10)}) == 10

    @pytest.mark.parametrize(("purpose", "row"), [("q", "1"), ("p", "2"), ("p1", ""), ("", "p1")])
    def test_another_purpose_or_row_does_not_open(self, data_key: DataKey, purpose: str, row: str) -> None:
        sealed = keys.seal(SECRET, data_key=data_key, purpose="p", row="1")
        with pytest.raises(SealError):
            keys.open_sealed(sealed, data_key=data_key, purpose=purpose, row=row)

    def test_no_flipped_bit_opens(self, data_key: DataKey) -> None:
        sealed = keys.seal(SECRET, data_key=data_key, purpose="p", row="1")
        for position in range(len(sealed)):
            changed = bytearray(sealed)
            changed[position] ^= 1
            with pytest.raises(SealError):
                keys.open_sealed(bytes(changed), data_key=data_key, purpose="p", row="1")

    def test_no_truncation_opens(self, data_key: DataKey) -> None:
        sealed = keys.seal(SECRET, data_key=data_key, purpose="p", row="1")
        for length in range(len(sealed)):
            with pytest.raises(SealError):
                keys.open_sealed(sealed[:length], data_key=data_key, purpose="p", row="1")

    def test_another_data_key_does_not_open(self, data_key: DataKey) -> None:
        other = keys.data_key_create(organisation=data_key.organisation)
        sealed = keys.seal(SECRET, data_key=data_key, purpose="p", row="1")
        with pytest.raises(SealError):
            keys.open_sealed(sealed, data_key=other, purpose="p", row="1")

    def test_a_wrapped_key_moved_to_another_row_does_not_open(self, data_key: DataKey) -> None:
        sealed = keys.seal(SECRET, data_key=data_key, purpose="p", row="1")
        data_key.id = uuid.uuid4()
        with pytest.raises(SealError):
            keys.open_sealed(sealed, data_key=data_key, purpose="p", row="1")

    def test_the_ciphertext_names_its_key(self, data_key: DataKey) -> None:
        assert keys.key_id_of(keys.seal(SECRET, data_key=data_key, purpose="p", row="1")) == str(data_key.id)
        assert keys.key_id_of(data_key.wrapped_key) == data_key.kek_id == "first"


@pytest.mark.django_db
class TestKeyEncryptionKeys:
    def test_the_first_key_seals_and_all_open(self, settings: Any) -> None:
        old = keys.seal_secret(SECRET, purpose=PURPOSE, row="1")
        settings.KEY_ENCRYPTION_KEYS = f"second:{encoded(b'2')},first:{encoded(b'1')}"
        new = keys.seal_secret(SECRET, purpose=PURPOSE, row="1")
        assert (keys.key_id_of(old), keys.key_id_of(new)) == ("first", "second")
        assert [keys.open_secret(sealed, purpose=PURPOSE, row="1") for sealed in (old, new)] == [SECRET, SECRET]

    def test_a_key_that_is_gone_is_named(self, settings: Any) -> None:
        sealed = keys.seal_secret(SECRET, purpose=PURPOSE, row="1")
        settings.KEY_ENCRYPTION_KEYS = f"second:{encoded(b'2')}"
        with pytest.raises(SealError, match="'first'"):
            keys.open_secret(sealed, purpose=PURPOSE, row="1")

    def test_a_missing_key_is_refused_by_its_id(self, settings: Any) -> None:
        keys.keys_verify()
        settings.KEY_ENCRYPTION_KEYS = f"second:{encoded(b'2')}"
        with pytest.raises(ImproperlyConfigured, match="lacks the key 'first'"):
            keys.keys_verify()

    def test_a_wrong_key_under_a_known_id_is_refused_by_its_id(self, settings: Any) -> None:
        keys.keys_verify()
        settings.KEY_ENCRYPTION_KEYS = f"first:{encoded(b'2')}"
        with pytest.raises(ImproperlyConfigured, match="'first' is not the one"):
            keys.keys_verify()

    def test_nothing_is_sealed_under_a_wrong_key(self, settings: Any) -> None:
        keys.keys_verify()
        settings.KEY_ENCRYPTION_KEYS = f"first:{encoded(b'2')}"
        with pytest.raises(ImproperlyConfigured, match="'first'"):
            keys.data_key_create(organisation=make_organisation())
        assert not DataKey.objects.exists()

    def test_what_no_app_would_wrap_anew_is_not_sealed(self) -> None:
        with pytest.raises(LookupError, match="sealed_columns"):
            keys.seal_secret(SECRET, purpose="p", row="1")

    def test_a_key_that_never_sealed_may_go(self, settings: Any) -> None:
        settings.KEY_ENCRYPTION_KEYS = f"first:{encoded(b'1')},spare:{encoded(b'2')}"
        keys.keys_verify()
        settings.KEY_ENCRYPTION_KEYS = f"first:{encoded(b'1')}"
        keys.keys_verify()
        assert list(KeyCheck.objects.values_list("kek_id", flat=True)) == ["first"]


@pytest.mark.django_db(transaction=True)
class TestWithoutATransaction:
    def test_nothing_is_sealed_that_rotation_could_overlook(self) -> None:
        with pytest.raises(TransactionManagementError):
            keys.seal_secret(SECRET, purpose=PURPOSE, row="1")

    @pytest.mark.parametrize("command", ["daphne", "celery", "serve_alerts"])
    def test_a_process_with_another_key_does_not_start_and_names_it(self, command: str) -> None:
        keys.keys_verify()
        commands = {
            "daphne": ["-m", "daphne", "-p", "0", "proctor_site.asgi:application"],
            "celery": ["-m", "celery", "-A", "proctor_site", "worker", "-P", "solo", "-Q", "nothing"],
            "serve_alerts": ["manage.py", "serve_alerts"],
        }
        name = connection.settings_dict["NAME"]
        url = urlunsplit(urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}"))
        for configured, told in (
            (f"other:{encoded(b'2')}", "lacks the key 'first'"),
            (f"first:{encoded(b'2')}", "the key 'first' is not the one"),
        ):
            done = subprocess.run(
                [sys.executable, *commands[command]],
                env=os.environ | {"KEY_ENCRYPTION_KEYS": configured, "DATABASE_URL": url},
                capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
            assert done.returncode != 0
            assert told in done.stderr


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "is empty"),
        (" , ", "is empty"),
        ("justtext", "entry 1 must be id:base64"),
        (f"a:{encoded()},:{encoded()}", "entry 2 must be"),
        ("bad:!!!", "'bad' is not valid base64"),
        (f"short:{base64.b64encode(b'k' * 16).decode()}", "'short' has 16 bytes"),
        (f"twice:{encoded()},twice:{encoded()}", "'twice' is given twice"),
    ],
)
def test_a_malformed_setting_is_refused_by_the_id(value: str, message: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=message):
        keys.KeyRing.parse(value)


def test_a_process_does_not_start_with_a_malformed_key() -> None:
    environment = os.environ | {"KEY_ENCRYPTION_KEYS": "broken:AAAA"}
    done = subprocess.run(
        [sys.executable, "manage.py", "check"], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode != 0
    assert "the key 'broken' has 3 bytes" in done.stderr
