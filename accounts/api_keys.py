"""Make API keys and recognise them: ``sdp_<prefix>_<secret>``, of which only the SHA-256 of the secret is kept."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from accounts.audit import SYSTEM, Actor, audit_write
from accounts.models import APIKey, Organisation, Scope
from accounts.problems import Problem

MARK: Final = "sdp"
"""What every key starts with, so that a leaked one is recognised as ours."""

SEEN_EVERY: Final = timedelta(minutes=1)
"""``last_used_at`` is written at most this often: a busy key must not turn every read into a write."""

OVERLAP: Final = timedelta(hours=24)
"""How long the old secret opens after a rotation, unless told otherwise."""
MOST_OVERLAP: Final = timedelta(days=30)
MOST_DAYS: Final = 36_500
"""How far away people may set the end of a key."""
_NO_DIGEST: Final = "0" * 64


@transaction.atomic
def api_key_create(
    *,
    organisation: Organisation,
    name: str,
    scopes: Iterable[str] = Scope.values,
    expires_at: datetime | None = None,
    actor: Actor = SYSTEM,
) -> tuple[APIKey, str]:
    """Make an API key; return its row and the key itself, which cannot be had again."""
    prefix = secrets.token_hex(6)
    secret = secrets.token_hex(32)
    key = APIKey.objects.create(
        organisation=organisation,
        name=name,
        prefix=prefix,
        secret_sha256=_digest(secret),
        scopes=list(scopes),
        expires_at=expires_at,
    )
    expiry = expires_at.isoformat() if expires_at else None
    _tell(key, "api_key.created", actor, {"scopes": key.scopes, "expires_at": expiry})
    return key, _written(key, secret)


@transaction.atomic
def api_key_rotate(*, key: APIKey, overlap: timedelta = OVERLAP, actor: Actor = SYSTEM) -> str:
    """Give a key a new secret and return the key as it is written from now on; the old one opens for ``overlap`` more.

    A secret that still had an overlap of an earlier rotation opens nothing any more. Raises ``Problem``
    (``key_revoked``, ``key_expired``) for a key that opens nothing, ``ValueError`` for an overlap that cannot be.
    """
    if not timedelta() <= overlap <= MOST_OVERLAP:
        raise ValueError(f"The overlap must lie between 0 and {MOST_OVERLAP.days} days.")
    locked = APIKey.objects.select_for_update().get(pk=key.pk)
    _require_valid(locked, timezone.now())
    secret = secrets.token_hex(32)
    until = timezone.now() + overlap
    key.previous_secret_sha256, key.previous_secret_until = locked.secret_sha256, until
    key.secret_sha256 = _digest(secret)
    key.save(update_fields=["secret_sha256", "previous_secret_sha256", "previous_secret_until"])
    _tell(key, "api_key.rotated", actor, {"previous_until": until.isoformat()})
    return _written(key, secret)


@transaction.atomic
def api_key_revoke(*, key: APIKey, actor: Actor = SYSTEM) -> bool:
    """Have a key open nothing from now on; return whether it was not revoked before."""
    if not APIKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=timezone.now()):
        return False
    _tell(key, "api_key.revoked", actor, {})
    return True


def _tell(key: APIKey, action: str, actor: Actor, details: dict[str, Any]) -> None:
    audit_write(
        organisation=key.organisation,
        actor=actor,
        action=action,
        subject_type="api_key",
        subject=key.prefix,
        details={"name": key.name, **details},
    )


def _written(key: APIKey, secret: str) -> str:
    return f"{MARK}_{key.prefix}_{secret}"


def api_key_find(raw: str) -> APIKey:
    """Return the key that ``raw`` is; raise ``Problem`` (``key_invalid``, ``key_revoked``, ``key_expired``) if none."""
    prefix, secret = _split(raw)
    key = APIKey.objects.select_related("organisation").filter(prefix=prefix).first() if prefix else None
    # Compared even when there is no such prefix, so that the time taken does not tell which prefixes exist.
    digest = _digest(secret)
    same = hmac.compare_digest(digest, key.secret_sha256 if key else _NO_DIGEST)
    before = hmac.compare_digest(digest, (key.previous_secret_sha256 if key else "") or _NO_DIGEST)
    if key is None or not (same or before):
        raise Problem("key_invalid")
    now = timezone.now()
    _require_valid(key, now)
    if not same and (key.previous_secret_until is None or key.previous_secret_until <= now):
        raise Problem("key_expired", "The API key has a new secret, and the time of the old one is over.")
    _note_use(key, now)
    return key


def _require_valid(key: APIKey, now: datetime) -> None:
    if key.revoked_at is not None:
        raise Problem("key_revoked")
    if key.expires_at is not None and key.expires_at <= now:
        raise Problem("key_expired")


def _note_use(key: APIKey, now: datetime) -> None:
    if key.last_used_at is not None and now - key.last_used_at < SEEN_EVERY:
        return
    stale = Q(last_used_at=None) | Q(last_used_at__lte=now - SEEN_EVERY)
    APIKey.objects.filter(stale, pk=key.pk).update(last_used_at=now)


def _split(raw: str) -> tuple[str, str]:
    """Return prefix and secret of a key, or two empty strings when ``raw`` does not have its form."""
    mark, _, rest = raw.partition("_")
    prefix, _, secret = rest.partition("_")
    if mark != MARK or not prefix.isascii() or not prefix.isalnum() or not secret:
        return "", ""
    return prefix, secret


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="surrogateescape")).hexdigest()
