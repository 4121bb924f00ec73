"""Secrets and signatures of both kinds."""

from __future__ import annotations

import base64
import datetime

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks import Webhook

from alerts import signing

BODY = b'{"name": "Zo\xc3\xab"}'
SIGNED = b"evt_1.1790000000." + BODY


def sign(*secrets: str) -> list[str]:
    return signing.signatures(secrets, event_id="evt_1", timestamp=1_790_000_000, body=BODY).split(" ")


def verify(public_key: str, signature: str, signed: bytes = SIGNED) -> None:
    raw = base64.b64decode(public_key.removeprefix("whpk_"))
    Ed25519PublicKey.from_public_bytes(raw).verify(base64.b64decode(signature.removeprefix("v1a,")), signed)


def test_a_symmetric_signature_is_the_stock_librarys() -> None:
    secret = signing.secret_create()
    moment = datetime.datetime.fromtimestamp(1_790_000_000, datetime.UTC)
    assert sign(secret) == [Webhook(secret).sign("evt_1", moment, BODY.decode())]


def test_an_ed25519_signature_is_checked_with_the_public_key_alone() -> None:
    secret = signing.secret_create(signing.Kind.ED25519)
    assert secret.startswith("whsk_")
    (signature,) = sign(secret)
    assert signature.startswith("v1a,")
    public_key = signing.public_key(secret)
    assert public_key.startswith("whpk_")
    verify(public_key, signature)
    with pytest.raises(InvalidSignature):
        verify(public_key, signature, SIGNED + b" ")
    with pytest.raises(InvalidSignature):
        verify(signing.public_key(signing.secret_create(signing.Kind.ED25519)), signature)


def test_each_valid_secret_signs_the_newest_first() -> None:
    new, old = signing.secret_create(signing.Kind.ED25519), signing.secret_create()
    assert sign(new, old) == sign(new) + sign(old)


def test_a_symmetric_secret_has_no_public_key() -> None:
    assert signing.public_key(signing.secret_create()) == ""


def test_a_private_key_may_carry_its_own_public_key_and_no_other() -> None:
    secret = signing.secret_create(signing.Kind.ED25519)
    seed = base64.b64decode(secret.removeprefix("whsk_"))
    public = base64.b64decode(signing.public_key(secret).removeprefix("whpk_"))
    longer = "whsk_" + base64.b64encode(seed + public).decode()
    signing.secret_check(longer)
    assert sign(longer) == sign(secret)
    with pytest.raises(signing.SecretInvalidError, match="does not belong"):
        signing.secret_check("whsk_" + base64.b64encode(seed + bytes(32)).decode())


@pytest.mark.parametrize("secret", ["whsk_", "whsk_!", "whsk_" + base64.b64encode(bytes(31)).decode(), "whpk_AAAA"])
def test_private_keys_of_another_shape_are_refused(secret: str) -> None:
    with pytest.raises(signing.SecretInvalidError):
        signing.secret_check(secret)
