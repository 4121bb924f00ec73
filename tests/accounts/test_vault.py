"""A key-encryption key in Vault: over HTTP, with a peer that speaks its transit API."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from rest_framework.test import APIClient

from accounts import kek, keys
from accounts.apps import keys_verify_at_start
from accounts.keys import KeyServiceError, SealError
from accounts.models import DataKey, KeyCheck
from alerts.models import Incident
from detection import commit
from detection.contexts import SessionContexts
from enrollment.templates import template_load
from tests.accounts.vault_peer import RefusalError, Vault, vault
from tests.alerts import builders
from tests.alerts.certificates import Authority
from tests.factories import make_api_key, make_embedding, make_enrolled_candidate, make_organisation, make_session
from tests.hardening.tls_world import tls_before

SECRET = b"an embedding, say"
LOCAL = base64.b64encode(b"1" * 32).decode()
pytestmark = pytest.mark.django_db


@pytest.fixture
def peer(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Vault]:
    """Serve a Vault with the key ``exam``, which is the only configured one."""
    with vault() as state:
        state.key_create("exam")
        settings.KEY_ENCRYPTION_KEYS = "exam:vault"
        settings.VAULT_ADDR, settings.VAULT_TOKEN = state.address, state.token
        monkeypatch.setattr(keys, "_verified", set())
        kek._parse_cached.cache_clear()
        yield state
    kek._parse_cached.cache_clear()


class TestSealing:
    def test_what_was_sealed_opens_and_names_the_key(self, peer: Vault) -> None:
        sealed = keys.seal_transit(SECRET, purpose="p", row="1")
        assert keys.key_id_of(sealed) == "exam"
        assert SECRET not in sealed
        assert keys.open_secret(sealed, purpose="p", row="1") == SECRET

    def test_vault_sees_32_bytes_and_never_what_they_seal(self, peer: Vault) -> None:
        keys.seal_transit(SECRET * 1000, purpose="p", row="1")
        ((_, _, body),) = peer.asked
        assert len(base64.b64decode(body["plaintext"])) == 32

    @pytest.mark.parametrize(("purpose", "row"), [("q", "1"), ("p", "2")])
    def test_another_purpose_or_row_does_not_open(self, peer: Vault, purpose: str, row: str) -> None:
        sealed = keys.seal_transit(SECRET, purpose="p", row="1")
        with pytest.raises(SealError, match="'exam'"):
            keys.open_secret(sealed, purpose=purpose, row=row)

    def test_nothing_truncated_or_changed_opens(self, peer: Vault) -> None:
        sealed = keys.seal_transit(SECRET, purpose="p", row="1")
        broken = [sealed[:length] for length in range(0, len(sealed), 7)]
        for position in range(0, len(sealed), 5):
            changed = bytearray(sealed)
            changed[position] ^= 1
            broken.append(bytes(changed))
        assert len(broken) > 40
        for value in broken:
            with pytest.raises(SealError):
                keys.open_secret(value, purpose="p", row="1")

    def test_a_template_is_enrolled_and_read(self, peer: Vault) -> None:
        candidate = make_enrolled_candidate(embedding=make_embedding(7))
        assert DataKey.objects.get().kek_id == "exam"
        template = template_load(candidate)
        assert template is not None
        assert template.tobytes() == make_embedding(7).tobytes()

    def test_a_token_that_was_renewed_in_its_file_is_read_again(
        self, peer: Vault, settings: Any, tmp_path: Path
    ) -> None:
        file = tmp_path / "token"
        settings.VAULT_TOKEN_FILE = str(file)
        kek._parse_cached.cache_clear()
        for token in ("one", "two"):
            peer.token = token
            file.write_text(f"{token}\n")
            keys.open_secret(keys.seal_transit(SECRET, purpose="p", row="1"), purpose="p", row="1")


class TestStart:
    def test_a_key_that_vault_does_not_have_is_refused_by_its_id(self, peer: Vault) -> None:
        peer.keys.clear()
        with pytest.raises(ImproperlyConfigured, match=r"'exam'.*encryption key not found"):
            keys_verify_at_start()

    def test_another_key_of_that_name_is_refused_by_its_id(self, peer: Vault) -> None:
        keys.keys_verify()
        peer.key_create("exam")
        keys._verified.clear()
        with pytest.raises(ImproperlyConfigured, match="'exam' is not the one"):
            keys_verify_at_start()

    def test_a_token_that_may_not_is_refused_with_the_keys_id(self, peer: Vault, settings: Any) -> None:
        peer.token = "another"
        with pytest.raises(ImproperlyConfigured, match="'exam': 403 permission denied"):
            keys_verify_at_start()

    @pytest.mark.parametrize("status", [503, 500, 429])
    def test_while_vault_is_away_or_sealed_the_keys_are_checked_later(self, peer: Vault, status: int) -> None:
        peer.refuse = RefusalError(status, "Vault is sealed")
        keys_verify_at_start()
        assert not KeyCheck.objects.exists()
        with pytest.raises(KeyServiceError, match="Vault is sealed"):
            keys.data_key_create(organisation=make_organisation())
        peer.refuse = None
        keys.data_key_create(organisation=make_organisation())

    def test_no_redirect_is_followed_with_the_token(self, peer: Vault) -> None:
        peer.refuse = RefusalError(307)
        with pytest.raises(KeyServiceError, match="307"):
            keys.seal_transit(SECRET, purpose="p", row="1")

    @pytest.mark.parametrize(
        ("address", "told"),
        [("", "VAULT_ADDR must be its URL"), ("vault:8200", "VAULT_ADDR"), ("http://vault.example:8200", "https://")],
    )
    def test_an_address_that_cannot_be_is_named(self, settings: Any, address: str, told: str) -> None:
        settings.VAULT_ADDR = address
        with pytest.raises(ImproperlyConfigured, match=told):
            kek.KeyRing.parse("exam:vault")


@pytest.mark.parametrize("trusted", ["authority", "stranger", "system"])
def test_a_vault_is_asked_by_tls_and_no_stranger_gets_the_token(
    peer: Vault, settings: Any, tmp_path: Path, trusted: str
) -> None:
    authorities = {name: Authority(tmp_path, name) for name in ("authority", "stranger")}
    signed = authorities["authority"].sign("vault", "127.0.0.1")
    with tls_before(signed, host="127.0.0.1", port=urlsplit(peer.address).port or 0) as front:
        settings.VAULT_ADDR = f"https://127.0.0.1:{front.server_address[1]}"
        settings.VAULT_CACERT = str(authorities[trusted].path) if trusted in authorities else ""
        kek._parse_cached.cache_clear()
        if trusted == "authority":
            assert keys.open_secret(keys.seal_transit(SECRET, purpose="p", row="1"), purpose="p", row="1") == SECRET
            return
        with pytest.raises(KeyServiceError, match="SSLError"):
            keys.seal_transit(SECRET, purpose="p", row="1")
    assert peer.asked == []


def test_a_request_while_vault_is_away_is_answered_and_may_be_repeated(peer: Vault, settings: Any) -> None:
    organisation = make_organisation()
    _, raw = make_api_key(organisation)
    client = APIClient(HTTP_AUTHORIZATION=f"Bearer {raw}")
    body = {"transport": "webhook", "url": "https://93.184.216.34/"}
    peer.refuse = RefusalError(503, "Vault is sealed")
    refused = client.post("/api/v1/subscriptions", body, format="json")
    assert (refused.status_code, refused.json()["code"]) == (503, "keys_unavailable")
    assert int(refused["Retry-After"]) > 0
    peer.refuse = None
    assert client.post("/api/v1/subscriptions", body, format="json").status_code == 201


def test_a_worker_goes_on_without_comparing_faces_while_vault_is_away(peer: Vault) -> None:
    session = make_session(candidate=make_enrolled_candidate(embedding=make_embedding(7)))
    peer.refuse = RefusalError(503, "Vault is sealed")
    (context,) = SessionContexts().get([str(session.id)]).values()
    assert context.template is None
    peer.refuse = None
    (context,) = SessionContexts().get([str(session.id)]).values()
    assert context.template is not None


def test_an_incident_is_recorded_without_its_picture_while_vault_is_away(
    peer: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = make_session(candidate=make_enrolled_candidate())
    row: Any = SimpleNamespace(session_id=session.id)
    monkeypatch.setattr(commit, "frames_of", lambda *_: {"f-1": (0.0, builders.jpeg())})
    peer.refuse = RefusalError(503, "Vault is sealed")
    commit._apply(row, session, builders.change())
    assert not Incident.objects.get(session=session).evidence.exists()


def test_keys_move_from_this_machine_to_vault(peer: Vault, settings: Any) -> None:
    settings.KEY_ENCRYPTION_KEYS = f"local:{LOCAL}"
    candidate = make_enrolled_candidate(embedding=make_embedding(7))
    settings.KEY_ENCRYPTION_KEYS = f"exam:vault,local:{LOCAL}"
    call_command("keys", "rotate")
    settings.KEY_ENCRYPTION_KEYS = "exam:vault"
    keys.keys_verify()
    assert {row.kek_id for row in DataKey.objects.all()} == {"exam"}
    candidate.data_key = DataKey.objects.get()
    template = template_load(candidate)
    assert template is not None
    assert template.tobytes() == make_embedding(7).tobytes()
