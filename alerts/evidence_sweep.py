"""Remove pictures whose time is over and files that no row names, a bounded batch at a time."""

from __future__ import annotations

from collections import Counter as Tally
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone
from prometheus_client import Counter

from alerts.evidence import NO_LIMIT_DAYS, storage
from alerts.models import Evidence
from sessions.holds import holds_settle, session_held
from sessions.models import RetentionPolicy
from sessions.retention import EVIDENCE, Scope, scopes

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
    return Swept(expired=expired_remove(batch).total(), orphaned=_remove_orphans(batch))


def expired(now: datetime) -> QuerySet[Evidence]:
    """Return the pictures whose time is over and that no legal hold keeps."""
    return Evidence.objects.filter(removed_at=None, expires_at__lte=now).exclude(session_held("session"))


def expired_once_redated(now: datetime) -> QuerySet[Evidence]:
    """Return the pictures that ``redate`` and ``expired`` would find together, without changing anything."""
    changed = set(RetentionPolicy.objects.filter(redate_due=True).values_list("organisation_id", flat=True))
    due = Q(expires_at__lte=now) & ~Q(organisation_id__in=changed)
    for scope in scopes(EVIDENCE):
        if scope.organisation_id in changed:
            due |= scope.sessions("session") & Q(created_at__lte=now - _kept(scope))
    return Evidence.objects.filter(due, removed_at=None).exclude(session_held("session"))


def expired_remove(batch: int) -> Tally[int]:
    """Remove at most ``batch`` expired pictures; return how many, by organisation. Their rows stay, with the hashes."""
    with transaction.atomic():
        holds_settle()
        rows = expired(timezone.now()).select_for_update(of=("self",), skip_locked=True)
        found = list(rows.order_by("expires_at")[:batch])
        for evidence in found:
            storage().delete(evidence.storage_name)
        Evidence.objects.filter(id__in=[evidence.id for evidence in found]).update(removed_at=timezone.now())
    REMOVED.labels(reason="expired").inc(len(found))
    return Tally(evidence.organisation_id for evidence in found)


def redate(*, batch: int = 2_000) -> int:
    """Give the pictures of changed retention policies the time those say now; return how many got another."""
    changed = RetentionPolicy.objects.filter(redate_due=True)
    organisation_ids = set(changed.values_list("organisation_id", flat=True))
    policies = {policy.pk: policy.updated_at for policy in changed}
    count = sum(_redate(scope, batch) for scope in scopes(EVIDENCE) if scope.organisation_id in organisation_ids)
    for key, updated_at in policies.items():  # one that was changed meanwhile stays due
        RetentionPolicy.objects.filter(pk=key, updated_at=updated_at).update(redate_due=False)
    return count


def _redate(scope: Scope, batch: int) -> int:
    kept = _kept(scope)
    rows = Evidence.objects.filter(scope.sessions("session"), removed_at=None)
    rows = rows.exclude(expires_at=F("created_at") + kept)
    count = 0
    while ids := list(rows.values_list("id", flat=True)[:batch]):
        count += Evidence.objects.filter(id__in=ids).update(expires_at=F("created_at") + kept)
    return count


def _kept(scope: Scope) -> timedelta:
    return timedelta(days=scope.days or NO_LIMIT_DAYS)


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
