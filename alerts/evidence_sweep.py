"""Remove pictures whose time is over and files that no row names, a bounded batch at a time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from prometheus_client import Counter

from alerts.evidence import storage
from alerts.models import Evidence

REMOVED = Counter("sdproctor_evidence_removed", "Evidence files removed by the sweep.", ["reason"])
for _reason in ("expired", "orphaned"):
    REMOVED.labels(reason=_reason)

ORPHAN_AGE = timedelta(hours=1)
"""A file younger than this may belong to a transaction that has not been committed yet."""


@dataclass(frozen=True, slots=True)
class Swept:
    expired: int
    orphaned: int


def sweep(*, batch: int = 500) -> Swept:
    """Remove at most ``batch`` expired pictures and ``batch`` files that no row names."""
    return Swept(expired=_remove_expired(batch), orphaned=_remove_orphans(batch))


def _remove_expired(batch: int) -> int:
    with transaction.atomic():
        rows = Evidence.objects.select_for_update(skip_locked=True).filter(
            removed_at=None, expires_at__lte=timezone.now()
        )
        expired = list(rows.order_by("expires_at")[:batch])
        for evidence in expired:
            storage().delete(evidence.storage_name)
        Evidence.objects.filter(id__in=[evidence.id for evidence in expired]).update(removed_at=timezone.now())
    REMOVED.labels(reason="expired").inc(len(expired))
    return len(expired)


def _remove_orphans(batch: int) -> int:
    removed = 0
    for day in _days():
        for session in sorted(_folders(day)):
            removed += _remove_orphans_in(f"{day}/{session}", batch - removed)
            if removed >= batch:
                return removed
    return removed


def _days() -> list[str]:
    """Return the day folders in which orphans may lie: the last two days', and all beyond the retention time."""
    today = timezone.now().astimezone(UTC).date()
    oldest_kept = today - timedelta(days=settings.EVIDENCE_DAYS + 1)
    recent = {(today - timedelta(days=back)).isoformat() for back in range(2)}
    return sorted(day for day in _folders("") if day in recent or day < oldest_kept.isoformat())


def _folders(name: str) -> list[str]:
    try:
        return storage().listdir(name)[0]
    except FileNotFoundError:
        return []


def _remove_orphans_in(folder: str, batch: int) -> int:
    young = timezone.now() - ORPHAN_AGE
    names = [f"{folder}/{file}" for file in storage().listdir(folder)[1]]
    known = set(Evidence.objects.filter(storage_name__in=names, removed_at=None).values_list("storage_name", flat=True))
    orphans = [name for name in names if name not in known and _written_at(name) < young][:batch]
    for name in orphans:
        storage().delete(name)
    if not names:
        storage().delete(folder)
    REMOVED.labels(reason="orphaned").inc(len(orphans))
    return len(orphans)


def _written_at(name: str) -> datetime:
    return storage().get_modified_time(name)
