"""Remove sessions with everything that hangs on them, in all apps, files first and a bounded number of rows at a time.

Erasure and retention share this. What is removed once more is no error: both go on where they were broken off.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Sequence
from typing import Final

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import connection, transaction
from django.db.models import Model, QuerySet
from django.utils import timezone

from accounts.redis_client import get_redis
from alerts.evidence import storage
from alerts.models import Evidence, Incident
from sessions.models import ExamSession, LegalHold

CHUNK: Final = 5_000
"""Rows removed in one transaction, where there may be many."""
FILES: Final = 500
"""Files removed, and their rows marked, in one transaction."""

_DETECTIONS = """
DELETE FROM detection_detection WHERE (session_id, captured_at, sample_id) IN (
    SELECT session_id, captured_at, sample_id FROM detection_detection WHERE session_id = ANY(%s::uuid[]) LIMIT %s
)
"""
# What may be many goes by plain statements, children first; Django would fetch every row to look for what hangs on it.
_OF_SESSIONS: Final[dict[str, str]] = {
    "delivery_attempts": "DELETE FROM alerts_deliveryattempt WHERE delivery_id IN "
    "(SELECT id FROM alerts_delivery WHERE session_id = ANY(%s::uuid[]))",
    "deliveries": "DELETE FROM alerts_delivery WHERE session_id = ANY(%s::uuid[])",
    "notices": "DELETE FROM alerts_notice WHERE session_id = ANY(%s::uuid[])",
    "alerts": "DELETE FROM alerts_alert WHERE session_id = ANY(%s::uuid[])",
    "reviews": "DELETE FROM alerts_review WHERE incident_id IN "
    "(SELECT id FROM alerts_incident WHERE session_id = ANY(%s::uuid[]))",
    "evidence": "DELETE FROM alerts_evidence WHERE session_id = ANY(%s::uuid[])",
    "incidents": "DELETE FROM alerts_incident WHERE session_id = ANY(%s::uuid[])",
    "evidence_chains": "DELETE FROM alerts_evidencechain WHERE session_id = ANY(%s::uuid[])",
}


def sessions_remove(session_ids: Sequence[uuid.UUID]) -> Counter[str]:
    """Remove sessions that have ended, with everything of theirs; return how much of each kind is gone.

    Detections and files go in transactions of their own, what is left in one. Raises ``OSError`` when the storage of
    evidence does not answer.
    """
    gone: Counter[str] = Counter()
    if not session_ids:
        return gone
    gone["detections"] = detections_remove(session_ids)
    gone["evidence_files"] = evidence_files_remove(Evidence.objects.filter(session_id__in=session_ids))
    with transaction.atomic():
        incident_ids = list(Incident.objects.filter(session_id__in=session_ids).values_list("id", flat=True))
        gone["admin_log"] = log_entries_remove(Incident, incident_ids) + log_entries_remove(ExamSession, session_ids)
        gone["admin_log"] += holds_log_remove(LegalHold.objects.filter(session_id__in=session_ids))
        with connection.cursor() as cursor:
            for kind, statement in _OF_SESSIONS.items():
                cursor.execute(statement, [list(session_ids)])
                gone[kind] += cursor.rowcount
        _, rows = ExamSession.objects.filter(id__in=session_ids).delete()  # and what else hangs on them
        for label, count in rows.items():
            gone[_KINDS.get(label, "others")] += count
    return gone


_KINDS: Final = {
    "exam_sessions.ExamSession": "sessions",
    "exam_sessions.MediaGap": "media_gaps",
    "exam_sessions.Challenge": "challenges",
    "exam_sessions.LegalHold": "lifted_holds",
    "detection.RuleState": "rule_states",
    "detection.Detection": "detections",
    "alerts.SessionTally": "tallies",
}


def detections_remove(session_ids: Sequence[uuid.UUID]) -> int:
    """Remove everything that was measured in sessions."""
    gone: int = 0
    while True:
        with connection.cursor() as cursor:
            cursor.execute(_DETECTIONS, [list(session_ids), CHUNK])
            count: int = cursor.rowcount
            gone += count
            if count < CHUNK:
                return gone


def evidence_files_remove(rows: QuerySet[Evidence], *, limit: int | None = None) -> int:
    """Remove the pictures of rows that still have one, ``limit`` at most; the rows stay as proof that there was one."""
    gone = 0
    while limit is None or gone < limit:
        size = FILES if limit is None else min(FILES, limit - gone)
        with transaction.atomic():
            some = list(rows.filter(removed_at=None).order_by("id").select_for_update(of=("self",))[:size])
            for row in some:
                storage().delete(row.storage_name)
            Evidence.objects.filter(id__in=[row.id for row in some]).update(removed_at=timezone.now())
        gone += len(some)
        if len(some) < size:
            break
    return gone


def log_entries_remove(model: type[Model], keys: Sequence[object]) -> int:
    """Remove what Django's admin noted about rows: it repeats their names."""
    kind = ContentType.objects.get_for_model(model)
    gone, _ = LogEntry.objects.filter(content_type=kind, object_id__in=[str(key) for key in keys]).delete()
    return gone


def holds_log_remove(holds: QuerySet[LegalHold]) -> int:
    """Remove what Django's admin noted about holds before they go themselves: it names whom they held."""
    return log_entries_remove(LegalHold, list(holds.values_list("pk", flat=True)))


def frames_forget(session_ids: Sequence[uuid.UUID]) -> int:
    """Drop the sampled frames and sounds of sessions from Redis; return how many there were.

    They expire by themselves within a minute. Redis' errors come through.
    """
    wanted = {str(session_id) for session_id in session_ids}
    if not wanted:
        return 0
    redis, found = get_redis(), []
    for key in redis.scan_iter(count=1000):
        kind, _, rest = key.decode(errors="replace").partition(":")
        if kind in ("frame", "audio", "attentive") and rest.partition(":")[0] in wanted:
            found.append(key)
    return sum(int(redis.delete(*found[start : start + 500])) for start in range(0, len(found), 500))
