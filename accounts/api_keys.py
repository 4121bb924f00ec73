"""Make API keys and recognise them: ``sdp_<prefix>_<secret>``, of which only the SHA-256 of the secret is kept."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from django.db.models import Q
from django.utils import timezone

from accounts.models import APIKey, Organisation, Scope
from accounts.problems import Problem

MARK: Final = "sdp"
"""What every key starts with, so that a leaked one is recognised as ours."""

SEEN_EVERY: Final = timedelta(minutes=1)
"""``last_used_at`` is written at most this often: a busy key must not turn every read into a write."""

_NO_DIGEST: Final = "0" * 64


def api_key_create(
    *, organisation: Organisation, name: str, scopes: Iterable[str] = Scope.values, expires_at: datetime | None = None
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
    return key, f"{MARK}_{prefix}_{secret}"


def api_key_find(raw: str) -> APIKey:
    """Return the key that ``raw`` is; raise ``Problem`` (``key_invalid``, ``key_revoked``, ``key_expired``) if none."""
    prefix, secret = _split(raw)
    key = APIKey.objects.select_related("organisation").filter(prefix=prefix).first() if prefix else None
    # Compared even when there is no such prefix, so that the time taken does not tell which prefixes exist.
    same = hmac.compare_digest(_digest(secret), key.secret_sha256 if key else _NO_DIGEST)
    if key is None or not same:
        raise Problem("key_invalid")
    now = timezone.now()
    if key.revoked_at is not None:
        raise Problem("key_revoked")
    if key.expires_at is not None and key.expires_at <= now:
        raise Problem("key_expired")
    _note_use(key, now)
    return key


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
