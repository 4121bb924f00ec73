"""Envelope encryption with AES-256-GCM: data keys seal a candidate's data, key-encryption keys seal the data keys.

Key-encryption keys are ``accounts.kek``'s. A sealed value is::

    version (1 byte) | length of the key's id (1 byte) | key's id | what the key made of it: nonce, ciphertext and tag

The associated data binds the whole header, the purpose and the row, so a value moved to another row, another column or
under another key's name does not open.
"""

from __future__ import annotations

import functools
import secrets
import uuid
from dataclasses import dataclass
from typing import Final

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, transaction

from accounts import sealed as sealed_places
from accounts.kek import (
    KEY_BYTES,
    NONCE_BYTES,
    TAG_BYTES,
    KeyEncryptionKey,
    KeyRing,
    KeyServiceError,
    LocalKey,
    SealError,
    key_ring,
)
from accounts.models import DataKey, KeyCheck, Organisation

__all__ = [
    "KEY_BYTES",
    "KeyRing",
    "KeyServiceError",
    "SealError",
    "data_key_create",
    "key_id_of",
    "key_ring",
    "keys_verify",
    "open_sealed",
    "open_secret",
    "seal",
    "seal_secret",
    "seal_transit",
]

VERSION: Final = 1
PURPOSE_DATA_KEY: Final = "accounts.DataKey.wrapped_key"
_PURPOSE_CHECK: Final = "accounts.KeyCheck.sealed"
_CHECK_TEXT: Final = b"sd-proctor key check"


# --- The sealed format ------------------------------------------------------------------------------------------------
def _associated_data(header: bytes, purpose: str, row: str) -> bytes:
    """Join the parts with their lengths in front, so that no two different triples look the same."""
    parts = (header, purpose.encode(), row.encode())
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def _seal(plaintext: bytes, *, key: KeyEncryptionKey, key_id: str, purpose: str, row: str) -> bytes:
    name = key_id.encode()
    header = bytes((VERSION, len(name))) + name
    return header + key.wrap(plaintext, _associated_data(header, purpose, row))


@dataclass(frozen=True, slots=True)
class _Sealed:
    """A sealed value taken apart."""

    header: bytes
    key_id: str
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
    return _Sealed(data[:end], key_id, data[end:])


def _open(parts: _Sealed, *, key: KeyEncryptionKey, purpose: str, row: str) -> bytes:
    try:
        return key.unwrap(parts.body, _associated_data(parts.header, purpose, row))
    except SealError as error:
        raise SealError(f"Under the key '{parts.key_id}' for {purpose}: {error}") from None


def key_id_of(sealed: bytes | memoryview) -> str:
    """Return the id of the key a value was sealed under; raise ``SealError`` when it is not a sealed value."""
    return _take_apart(sealed, "key id").key_id


# --- Under the key-encryption key -------------------------------------------------------------------------------------
def seal_transit(plaintext: bytes, *, purpose: str, row: str) -> bytes:
    """Seal what only travels between our processes, for seconds; unlike ``seal_secret`` it touches no database."""
    ring = key_ring()
    return _seal(plaintext, key=ring.active, key_id=ring.active_id, purpose=purpose, row=row)


def seal_secret(plaintext: bytes, *, purpose: str, row: str) -> bytes:
    """Seal a value under the active key-encryption key, bound to ``purpose`` and ``row``, the primary key of its row.

    The caller stores it in the same transaction; ``purpose`` is registered in ``accounts.sealed``. Raises
    ``ImproperlyConfigured`` when the key is not the one that earlier values were sealed under, and ``KeyServiceError``.
    """
    if not sealed_places.is_known(purpose):
        raise LookupError(f"No app names in its sealed_columns where values for {purpose} lie.")
    keys_verify()
    _check_hold()
    return seal_transit(plaintext, purpose=purpose, row=row)


def open_secret(sealed: bytes | memoryview, *, purpose: str, row: str) -> bytes:
    """Open what ``seal_secret`` or ``seal_transit`` sealed.

    Raises ``SealError`` when it does not open, ``KeyServiceError`` when the key cannot be asked.
    """
    parts = _take_apart(sealed, purpose)
    return _open(parts, key=key_ring().key(parts.key_id), purpose=purpose, row=row)


# --- Under a data key -------------------------------------------------------------------------------------------------
def data_key_create(*, organisation: Organisation) -> DataKey:
    """Make and store a fresh data key, wrapped under the active key-encryption key."""
    key_id = uuid.uuid4()
    with transaction.atomic():
        wrapped = seal_secret(secrets.token_bytes(KEY_BYTES), purpose=PURPOSE_DATA_KEY, row=str(key_id))
        return DataKey.objects.create(
            id=key_id, organisation=organisation, wrapped_key=wrapped, kek_id=key_id_of(wrapped)
        )


def _unwrap(data_key: DataKey) -> LocalKey:
    return LocalKey(open_secret(data_key.wrapped_key, purpose=PURPOSE_DATA_KEY, row=str(data_key.id)))


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

    Each key-encryption key that anything is sealed under has a check value in the database. Raises
    ``ImproperlyConfigured`` naming the id of a key that is missing or that is not the one of that name, and a temporary
    ``KeyServiceError`` when one cannot be asked now. Asks once per process.
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
    except KeyServiceError as error:
        if error.temporary:
            raise
        raise ImproperlyConfigured(f"KEY_ENCRYPTION_KEYS: {error}") from None


def _check_write(ring: KeyRing) -> None:
    """Leave the active key's check value, unless it or another process has done so before."""
    if KeyCheck.objects.filter(kek_id=ring.active_id).exists():
        return
    try:
        sealed = seal_transit(_CHECK_TEXT, purpose=_PURPOSE_CHECK, row=ring.active_id)
    except KeyServiceError as error:
        if error.temporary:
            raise
        raise ImproperlyConfigured(f"KEY_ENCRYPTION_KEYS: {error}") from None
    with transaction.atomic():
        check, made = KeyCheck.objects.get_or_create(kek_id=ring.active_id, defaults={"sealed": sealed})
        if not made:
            _check_open(ring, check)


def _check_hold() -> None:
    """Keep the active key's check value until this transaction ends, so that nothing sealed now is ever orphaned.

    ``accounts.rewrap`` removes the check value of a key that seals nothing any more; a process that still seals under
    it, because nobody restarted it, writes it anew.
    """
    if not connection.in_atomic_block:
        raise transaction.TransactionManagementError("Seal and store a secret in one transaction.")
    ring = key_ring()
    while not _check_lock(ring.active_id):
        _check_write(ring)


def _check_lock(key_id: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM accounts_keycheck WHERE kek_id = %s FOR KEY SHARE", [key_id])
        return cursor.fetchone() is not None
