"""Secrets and signatures as Standard Webhooks 1.0 has them.

A secret is symmetric (``whsec_``, HMAC-SHA256, signatures ``v1``) or an ed25519 private key (``whsk_``, signatures
``v1a``), whose public key (``whpk_``) is all that the receiver needs.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Iterable
from enum import StrEnum
from functools import lru_cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SYMMETRIC_PREFIX = "whsec_"
PRIVATE_PREFIX = "whsk_"
PUBLIC_PREFIX = "whpk_"
SYMMETRIC_BYTES = (24, 64)
"""Fewest and most random bytes of a symmetric secret."""
SEED_BYTES = 32
"""Of an ed25519 private key. Some tools write the public key behind it: then it must be the right one."""


class Kind(StrEnum):
    """How alerts are signed."""

    HMAC = "hmac-sha256"
    ED25519 = "ed25519"


class SecretInvalidError(ValueError):
    """A secret that has not the form of either kind."""


def secret_create(kind: Kind = Kind.HMAC) -> str:
    """Return a fresh secret of 32 random bytes."""
    prefix = SYMMETRIC_PREFIX if kind is Kind.HMAC else PRIVATE_PREFIX
    return prefix + base64.b64encode(secrets.token_bytes(32)).decode()


def kind_of(secret: str) -> Kind:
    """Return how a secret of the right form signs."""
    return Kind.ED25519 if secret.startswith(PRIVATE_PREFIX) else Kind.HMAC


def secret_check(secret: str) -> None:
    """Raise ``SecretInvalidError`` unless the secret has the form of one of the kinds."""
    _private_key(secret) if secret.startswith(PRIVATE_PREFIX) else _symmetric_key(secret)


def public_key(secret: str) -> str:
    """Return the ``whpk_`` that belongs to an ed25519 private key; empty for a symmetric secret."""
    if not secret.startswith(PRIVATE_PREFIX):
        return ""
    raw = _private_key(secret).public_key().public_bytes_raw()
    return PUBLIC_PREFIX + base64.b64encode(raw).decode()


def signatures(secrets_valid: Iterable[str], *, event_id: str, timestamp: int, body: bytes) -> str:
    """Return the ``webhook-signature`` of ``id.timestamp.body``: one signature for each secret, spaces between."""
    signed = b".".join((event_id.encode(), str(timestamp).encode(), body))
    return " ".join(_sign(secret, signed) for secret in secrets_valid)


def _sign(secret: str, signed: bytes) -> str:
    if secret.startswith(PRIVATE_PREFIX):
        return "v1a," + base64.b64encode(_private_key(secret).sign(signed)).decode()
    return "v1," + base64.b64encode(hmac.digest(_symmetric_key(secret), signed, hashlib.sha256)).decode()


def _symmetric_key(secret: str) -> bytes:
    key = _decoded(secret, SYMMETRIC_PREFIX)
    fewest, most = SYMMETRIC_BYTES
    if not fewest <= len(key) <= most:
        raise SecretInvalidError(f"A secret holds {fewest} to {most} bytes; this one holds {len(key)}.")
    return key


@lru_cache(maxsize=64)
def _private_key(secret: str) -> Ed25519PrivateKey:
    raw = _decoded(secret, PRIVATE_PREFIX)
    if len(raw) not in (SEED_BYTES, 2 * SEED_BYTES):
        raise SecretInvalidError(f"An ed25519 private key holds {SEED_BYTES} bytes; this one holds {len(raw)}.")
    key = Ed25519PrivateKey.from_private_bytes(raw[:SEED_BYTES])
    if raw[SEED_BYTES:] and raw[SEED_BYTES:] != key.public_key().public_bytes_raw():
        raise SecretInvalidError("The public key behind the private one does not belong to it.")
    return key


def _decoded(secret: str, prefix: str) -> bytes:
    if not secret.startswith(prefix):
        raise SecretInvalidError(f"A secret starts with {SYMMETRIC_PREFIX}, an ed25519 private key {PRIVATE_PREFIX}.")
    try:
        return base64.b64decode(secret.removeprefix(prefix), validate=True)
    except (binascii.Error, ValueError):
        raise SecretInvalidError(f"What follows {prefix} must be base64.") from None
