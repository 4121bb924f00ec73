"""Envelope encryption with AES-256-GCM: data keys seal a candidate's data, key-encryption keys seal the data keys.

Key-encryption keys come from ``KEY_ENCRYPTION_KEYS`` (``id:base64,id:base64…``): the first seals, all of them open. A
sealed value is::

    version (1 byte) | length of the key's id (1 byte) | key's id | nonce (12 bytes) | ciphertext and tag

The associated data binds the whole header, the purpose and the row, so a value moved to another row, another column or
under another key's name does not open.
"""

from __future__ import annotations

import base64
import binascii
import functools
import re
import secrets
import uuid
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction

from accounts.models import DataKey, KeyCheck, Organisation

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
VERSION: Final = 1

_KEY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PURPOSE_DATA_KEY: Final = "accounts.DataKey.wrapped_key"
_PURPOSE_CHECK: Final = "accounts.KeyCheck.sealed"
_CHECK_TEXT: Final = b"sd-proctor key check"


class SealError(Exception):
    """A sealed value that does not open: truncated, moved, changed, or sealed under a key that is not here."""


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The key-encryption keys. ``active_id`` names the one that seals."""

    active_id: str
    keys: dict[str, bytes]

    @classmethod
    def parse(cls, text: str) -> KeyRing:
        """Read ``id:base64(32 bytes)[,id:base64…]``; raise ``ImproperlyConfigured`` naming the id that is wrong."""
        keys: dict[str, bytes] = {}
        for position, entry in enumerate((part.strip() for part in text.split(",") if part.strip()), start=1):
            key_id, separator, encoded = entry.partition(":")
            if not separator or not _KEY_ID.fullmatch(key_id):
                raise ImproperlyConfigured(
                    f"KEY_ENCRYPTION_KEYS: entry {position} must be id:base64, the id of letters, digits and . _ -"
                )
            if key_id in keys:
                raise ImproperlyConfigured(f"KEY_ENCRYPTION_KEYS: the key id '{key_id}' is given twice.")
            keys[key_id] = _decode_key(key_id, encoded)
        if not keys:
            raise ImproperlyConfigured("KEY_ENCRYPTION_KEYS is empty. `python -m accounts.generate_keys` makes one.")
        return cls(active_id=next(iter(keys)), keys=keys)

    def key(self, key_id: str) -> bytes:
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


_parse_cached = functools.lru_cache(maxsize=4)(KeyRing.parse)


def key_ring() -> KeyRing:
    """Return the configured key-encryption keys; raise ``ImproperlyConfigured`` when they cannot be used."""
    return _parse_cached(settings.KEY_ENCRYPTION_KEYS)


# --- The sealed format ------------------------------------------------------------------------------------------------
def _associated_data(header: bytes, purpose: str, row: str) -> bytes:
    """Join the parts with their lengths in front, so that no two different triples look the same."""
    parts = (header, purpose.encode(), row.encode())
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def _seal(plaintext: bytes, *, key: bytes, key_id: str, purpose: str, row: str) -> bytes:
    name = key_id.encode()
    header = bytes((VERSION, len(name))) + name
    nonce = secrets.token_bytes(NONCE_BYTES)
    return header + nonce + AESGCM(key).encrypt(nonce, plaintext, _associated_data(header, purpose, row))


@dataclass(frozen=True, slots=True)
class _Sealed:
    """A sealed value taken apart."""

    header: bytes
    key_id: str
    nonce: bytes
    body: bytes


def _take_apart(sealed: bytes | memoryview, purpose: str) -> _Sealed:
    data = bytes(sealed)  # PostgreSQL hands out memoryviews
    if len(data) < 2 or data[0] != VERSION:
        raise SealError(f"Not a sealed value of version {VERSION} ({purpose}).")
    end = 2 + data[1]
    if len(data) < end + NONCE_BYTES + TAG_BYTES:
        raise SealError(f"The sealed value is truncated ({purpose}).")
    try:
        key_id = data[2:end].decode()
    except UnicodeDecodeError:
        raise SealError(f"The key id of the sealed value is not text ({purpose}).") from None
    return _Sealed(data[:end], key_id, data[end : end + NONCE_BYTES], data[end + NONCE_BYTES :])


def _open(parts: _Sealed, *, key: bytes, purpose: str, row: str) -> bytes:
    try:
        return AESGCM(key).decrypt(parts.nonce, parts.body, _associated_data(parts.header, purpose, row))
    except InvalidTag:
        raise SealError(
            f"The value does not open under the key '{parts.key_id}' for {purpose}: changed, moved or a wrong key."
        ) from None


def key_id_of(sealed: bytes | memoryview) -> str:
    """Return the id of the key a value was sealed under; raise ``SealError`` when it is not a sealed value."""
    return _take_apart(sealed, "key id").key_id


# --- Under the key-encryption key -------------------------------------------------------------------------------------
def seal_transit(plaintext: bytes, *, purpose: str, row: str) -> bytes:
    """Seal what only travels between our processes, for seconds; unlike ``seal_secret`` it touches no database."""
    ring = key_ring()
    return _seal(plaintext, key=ring.keys[ring.active_id], key_id=ring.active_id, purpose=purpose, row=row)


def seal_secret(plaintext: bytes, *, purpose: str, row: str) -> bytes:
    """Seal a value to be stored under the active key-encryption key, bound to ``purpose`` and ``row``.

    Raises ``ImproperlyConfigured`` when that key is not the one that earlier values were sealed under.
    """
    keys_verify()
    return seal_transit(plaintext, purpose=purpose, row=row)


def open_secret(sealed: bytes | memoryview, *, purpose: str, row: str) -> bytes:
    """Open what ``seal_secret`` or ``seal_transit`` sealed; raise ``SealError`` when it does not open."""
    parts = _take_apart(sealed, purpose)
    return _open(parts, key=key_ring().key(parts.key_id), purpose=purpose, row=row)


# --- Under a data key -------------------------------------------------------------------------------------------------
def data_key_create(*, organisation: Organisation) -> DataKey:
    """Make and store a fresh data key, wrapped under the active key-encryption key."""
    key_id = uuid.uuid4()
    wrapped = seal_secret(secrets.token_bytes(KEY_BYTES), purpose=_PURPOSE_DATA_KEY, row=str(key_id))
    return DataKey.objects.create(
        id=key_id, organisation=organisation, wrapped_key=wrapped, kek_id=key_ring().active_id
    )


def _unwrap(data_key: DataKey) -> bytes:
    return open_secret(data_key.wrapped_key, purpose=_PURPOSE_DATA_KEY, row=str(data_key.id))


def seal(plaintext: bytes, *, data_key: DataKey, purpose: str, row: str) -> bytes:
    """Seal ``plaintext`` under ``data_key``, bound to ``purpose`` (which column) and ``row`` (which row)."""
    return _seal(plaintext, key=_unwrap(data_key), key_id=str(data_key.id), purpose=purpose, row=row)


def open_sealed(ciphertext: bytes | memoryview, *, data_key: DataKey, purpose: str, row: str) -> bytes:
    """Open what ``seal`` sealed; raise ``SealError`` when it was changed, moved, or sealed under another data key."""
    parts = _take_apart(ciphertext, purpose)
    if parts.key_id != str(data_key.id):
        raise SealError(f"The value was sealed under another data key ({purpose}).")
    return _open(parts, key=_unwrap(data_key), purpose=purpose, row=row)


# --- At the start -----------------------------------------------------------------------------------------------------
_verified: set[str] = set()


def keys_verify() -> None:
    """Make sure that the configured keys are those this database was sealed under.

    Each key-encryption key that ever sealed leaves a check value in the database. Raises ``ImproperlyConfigured``
    naming the id of a key that is missing or that is not the one of that name. Asks the database once per process.
    """
    if settings.KEY_ENCRYPTION_KEYS in _verified:
        return
    ring = key_ring()
    for check in KeyCheck.objects.all():
        _check_open(ring, check)
    _check_write(ring)
    transaction.on_commit(functools.partial(_verified.add, settings.KEY_ENCRYPTION_KEYS))


def _check_open(ring: KeyRing, check: KeyCheck) -> None:
    if check.kek_id not in ring.keys:
        raise ImproperlyConfigured(
            f"KEY_ENCRYPTION_KEYS lacks the key '{check.kek_id}', under which data in this database is sealed."
        )
    try:
        open_secret(check.sealed, purpose=_PURPOSE_CHECK, row=check.kek_id)
    except SealError:
        raise ImproperlyConfigured(
            f"KEY_ENCRYPTION_KEYS: the key '{check.kek_id}' is not the one this database was sealed under."
        ) from None


def _check_write(ring: KeyRing) -> None:
    """Leave the active key's check value, unless it or another process has done so before."""
    sealed = seal_transit(_CHECK_TEXT, purpose=_PURPOSE_CHECK, row=ring.active_id)
    with transaction.atomic():
        check, made = KeyCheck.objects.get_or_create(kek_id=ring.active_id, defaults={"sealed": sealed})
        if not made:
            _check_open(ring, check)
