"""Key-encryption keys: what wraps every key and secret that is stored.

``KEY_ENCRYPTION_KEYS`` lists them, ``id:base64,id:vault…``: the first seals, all of them open. A key is held here, or
by Vault's transit engine, which never gives it away (``accounts.vault``).
"""

from __future__ import annotations

import base64
import binascii
import functools
import re
import secrets
from dataclasses import dataclass
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
IN_VAULT: Final = "vault"
"""What stands in the place of a key that Vault holds."""

_KEY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class SealError(Exception):
    """A sealed value that does not open: truncated, moved, changed, or sealed under a key that is not here."""


class KeyServiceError(Exception):
    """A key-encryption key that cannot be asked. ``temporary``: its service is away, which says nothing of the key."""

    def __init__(self, message: str, *, temporary: bool) -> None:
        super().__init__(message)
        self.temporary = temporary


class KeyEncryptionKey(Protocol):
    """Something that wraps, bound to associated data, and unwraps again."""

    def wrap(self, plaintext: bytes, associated_data: bytes) -> bytes:
        """Return the plaintext wrapped; raise ``KeyServiceError`` when the key cannot be asked."""

    def unwrap(self, wrapped: bytes, associated_data: bytes) -> bytes:
        """Return what ``wrap`` was given; raise ``SealError`` when that is not to be had, ``KeyServiceError`` as it."""


@dataclass(frozen=True, slots=True, repr=False)
class LocalKey:
    """A key of 32 bytes in this process's memory. Wrapped: nonce (12 bytes), AES-256-GCM ciphertext and tag."""

    key: bytes

    def wrap(self, plaintext: bytes, associated_data: bytes) -> bytes:
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + AESGCM(self.key).encrypt(nonce, plaintext, associated_data)

    def unwrap(self, wrapped: bytes, associated_data: bytes) -> bytes:
        if len(wrapped) < NONCE_BYTES + TAG_BYTES:
            raise SealError("The sealed value is truncated.")
        try:
            return AESGCM(self.key).decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], associated_data)
        except InvalidTag:
            raise SealError("The value does not open: changed, moved or a wrong key.") from None


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The key-encryption keys. ``active_id`` names the one that seals."""

    active_id: str
    keys: dict[str, KeyEncryptionKey]

    @classmethod
    def parse(cls, text: str) -> KeyRing:
        """Read ``id:base64(32 bytes)`` and ``id:vault``, separated by commas.

        Raises ``ImproperlyConfigured`` naming the id that is wrong, or the setting that Vault needs.
        """
        keys: dict[str, KeyEncryptionKey] = {}
        for position, entry in enumerate((part.strip() for part in text.split(",") if part.strip()), start=1):
            key_id, separator, encoded = entry.partition(":")
            if not separator or not _KEY_ID.fullmatch(key_id):
                raise ImproperlyConfigured(
                    f"KEY_ENCRYPTION_KEYS: entry {position} must be id:base64, the id of letters, digits and . _ -"
                )
            if key_id in keys:
                raise ImproperlyConfigured(f"KEY_ENCRYPTION_KEYS: the key id '{key_id}' is given twice.")
            keys[key_id] = _vault_key(key_id) if encoded == IN_VAULT else LocalKey(_decode_key(key_id, encoded))
        if not keys:
            raise ImproperlyConfigured("KEY_ENCRYPTION_KEYS is empty. `python -m accounts.generate_keys` makes one.")
        return cls(active_id=next(iter(keys)), keys=keys)

    @property
    def active(self) -> KeyEncryptionKey:
        """Return the key that seals."""
        return self.keys[self.active_id]

    def key(self, key_id: str) -> KeyEncryptionKey:
        """Return the key named ``key_id``; raise ``SealError`` naming it when it is not configured."""
        try:
            return self.keys[key_id]
        except KeyError:
            raise SealError(f"The key-encryption key '{key_id}' is not in KEY_ENCRYPTION_KEYS.") from None


def _decode_key(key_id: str, encoded: str) -> bytes:
    try:
        key = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise ImproperlyConfigured(f"KEY_ENCRYPTION_KEYS: the key '{key_id}' is not valid base64.") from None
    if len(key) != KEY_BYTES:
        raise ImproperlyConfigured(
            f"KEY_ENCRYPTION_KEYS: the key '{key_id}' has {len(key)} bytes; it must have {KEY_BYTES}."
        )
    return key


def _vault_key(key_id: str) -> KeyEncryptionKey:
    from accounts.vault import vault_key  # it is built on what is above

    return vault_key(key_id)


@functools.lru_cache(maxsize=4)
def _parse_cached(text: str, *_vault: str) -> KeyRing:
    return KeyRing.parse(text)


def key_ring() -> KeyRing:
    """Return the configured key-encryption keys; raise ``ImproperlyConfigured`` when they cannot be used."""
    return _parse_cached(settings.KEY_ENCRYPTION_KEYS, settings.VAULT_ADDR, settings.VAULT_TRANSIT_MOUNT)
