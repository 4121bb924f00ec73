"""Record media that nobody looked at: what was dropped, and what never arrived."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Greatest, Least
from django.utils import timezone
from prometheus_client import Counter

from sessions.models import MediaGap

MERGE_WITHIN = timedelta(seconds=2)
"""Dropped samples closer than this belong to one gap."""
SETTLED = timedelta(seconds=20)
"""A missing link is sought this long after the sample that names it: then what came late is there, or was dropped."""
LOST = "lost"
"""The reason of a gap found by a missing link; all others are counted where they arise."""

DROPPED = Counter("sdproctor_samples_dropped", "Samples not analysed, by stream and reason.", ["stream", "reason"])


@dataclass(frozen=True, slots=True)
class Dropped:
    """One sample that was not analysed, and why."""

    session_id: str
    sample_id: str
    stream: str
    captured_at: float
    reason: str


def moment(seconds: float) -> datetime:
    """Turn Unix seconds into an aware datetime."""
    return datetime.fromtimestamp(seconds, tz=UTC)


_SEEN = """
SELECT u.session_id::text, u.sample_id
FROM jsonb_to_recordset(%s::jsonb) AS u(session_id uuid, sample_id text, captured_at float8, stream text)
WHERE EXISTS (
    SELECT FROM detection_detection d
    WHERE d.session_id = u.session_id AND d.captured_at = to_timestamp(u.captured_at) AND d.sample_id = u.sample_id
) OR EXISTS (
    SELECT FROM exam_sessions_mediagap g
    WHERE g.session_id = u.session_id AND g.stream = u.stream AND g.reason = %s
      AND to_timestamp(u.captured_at) BETWEEN g.started_at AND g.ended_at
)
"""


def gaps_record(*, organisation_ids: Mapping[str, int], dropped: Sequence[Dropped]) -> int:
    """Add dropped samples to the gaps of their sessions; return how many were news.

    A sample that was analysed after all (its message came twice) or that was missed before is none. Call it with the
    sessions' rule states locked, so that two workers do not write two gaps side by side.
    """
    if not dropped:
        return 0
    seen = _seen(dropped)
    runs: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for sample in dropped:
        if (sample.session_id, sample.sample_id) not in seen and sample.session_id in organisation_ids:
            runs[sample.session_id, sample.stream, sample.reason].append(sample.captured_at)
    for (session_id, stream, reason), times in runs.items():
        gap = {"session_id": session_id, "stream": stream, "reason": reason}
        _gap_extend(gap, organisation_ids[session_id], min(times), max(times), len(times))
    return sum(map(len, runs.values()))


def _seen(dropped: Iterable[Dropped]) -> set[tuple[str, str]]:
    rows = [
        {"session_id": d.session_id, "sample_id": d.sample_id, "captured_at": d.captured_at, "stream": d.stream}
        for d in dropped
    ]
    with connection.cursor() as cursor:
        cursor.execute(_SEEN, [json.dumps(rows), LOST])
        return set(cursor.fetchall())


def _gap_extend(gap: dict[str, str], organisation_id: int, first: float, last: float, skipped: int) -> None:
    """Lengthen the gap that these samples adjoin, or begin one."""
    started_at, ended_at = moment(first), moment(last)
    near = MediaGap.objects.filter(
        **gap, started_at__lte=ended_at + MERGE_WITHIN, ended_at__gte=started_at - MERGE_WITHIN
    ).values("pk")[:1]
    extended = MediaGap.objects.filter(pk__in=near).update(
        started_at=Least("started_at", started_at),
        ended_at=Greatest("ended_at", ended_at),
        skipped=F("skipped") + skipped,
    )
    if not extended:
        MediaGap.objects.create(
            **gap, organisation_id=organisation_id, started_at=started_at, ended_at=ended_at, skipped=skipped
        )


def gap_note(*, session_id: str, organisation_id: int, technical: Mapping[str, Any]) -> None:
    """Write the gap that a gateway reports (``Technical.GAP``); the same report again changes nothing."""
    until = technical.get("until")
    MediaGap.objects.get_or_create(
        session_id=UUID(session_id),
        stream=technical["stream"],
        reason=technical["reason"][:32],
        started_at=moment(technical["at"]),
        ended_at=moment(technical["at"] if until is None else until),
        defaults={"organisation_id": organisation_id, "skipped": technical["skipped"]},
    )


# A sample names the capture time of the one before it (an audio window: its own start). Where no such sample was
# recorded and no gap covers that time, everything since the last recorded sample or gap is missing.
_FILL = """
WITH running AS (
    SELECT r.session_id, r.organisation_id, coalesce(r.gaps_checked_at, '-infinity') AS since,
           coalesce((s.policy->'sampling'->>'frames_per_second')::float8, 2) AS frames_per_second,
           coalesce((s.policy->'sampling'->>'audio_window_s')::float8, 1) AS window_s
    FROM detection_rulestate r JOIN exam_sessions_examsession s ON s.id = r.session_id
    WHERE r.session_id = ANY(%(sessions)s::uuid[])
), broken AS (
    SELECT r.*, d.stream, d.previous_at,
           coalesce(greatest(
               (SELECT max(p.captured_at) FROM detection_detection p
                WHERE p.session_id = d.session_id AND p.stream = d.stream AND p.captured_at < d.previous_at),
               (SELECT max(g.ended_at) FROM exam_sessions_mediagap g
                WHERE g.session_id = d.session_id AND g.stream = d.stream AND g.ended_at < d.previous_at)
           ), d.previous_at) AS last_at
    FROM running r JOIN detection_detection d ON d.session_id = r.session_id
    WHERE d.captured_at > r.since - interval '1 minute' AND d.recorded_at > r.since AND d.recorded_at <= %(until)s
      AND NOT EXISTS (
          SELECT FROM detection_detection p
          WHERE p.session_id = d.session_id AND p.stream = d.stream
            AND p.captured_at BETWEEN d.previous_at - %(tolerance)s::interval
                                AND d.previous_at + %(tolerance)s::interval)
      AND NOT EXISTS (
          SELECT FROM exam_sessions_mediagap g
          WHERE g.session_id = d.session_id AND g.stream = d.stream
            AND d.previous_at BETWEEN g.started_at - %(tolerance)s::interval AND g.ended_at + %(tolerance)s::interval)
)
INSERT INTO exam_sessions_mediagap (organisation_id, session_id, stream, started_at, ended_at, skipped, reason)
SELECT organisation_id, session_id, stream, last_at, previous_at,
       greatest(1, round(extract(epoch FROM previous_at - last_at)
                         * CASE stream WHEN 'audio' THEN 1 / window_s ELSE frames_per_second END)), %(reason)s
FROM broken WHERE previous_at IS NOT NULL
RETURNING stream, skipped
"""
_TOLERANCE = "50 ms"
_RUNNING = """
SELECT session_id::text FROM detection_rulestate
WHERE NOT closed AND last_sample_at > coalesce(gaps_checked_at, '-infinity') AND session_id > %s
ORDER BY session_id LIMIT %s FOR UPDATE SKIP LOCKED
"""
_CHUNK = 50
"""Sessions looked at in one transaction: as long as it runs, nothing of theirs can be committed."""


def gaps_fill(*, settled: timedelta = SETTLED) -> int:
    """Look for samples that never arrived in all running sessions; return how many gaps were found.

    Sessions that a worker is writing to at this moment are left to the next time.
    """
    until, after, found = timezone.now() - settled, str(UUID(int=0)), 0
    while True:
        with transaction.atomic():
            session_ids = _running_lock(after)
            found += gaps_fill_sessions(session_ids=session_ids, until=until)
        if len(session_ids) < _CHUNK:
            return found
        after = session_ids[-1]


def _running_lock(after: str) -> list[str]:
    """Lock the next running sessions in the order of their ids; those that somebody else holds are left out."""
    with connection.cursor() as cursor:
        cursor.execute(_RUNNING, [after, _CHUNK])
        return [session_id for (session_id,) in cursor.fetchall()]


def gaps_fill_sessions(*, session_ids: Sequence[str], until: datetime) -> int:
    """Look for samples missing before those recorded up to ``until``. Call it with the rule states locked."""
    if not session_ids:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(_FILL, {"sessions": list(session_ids), "until": until, "tolerance": _TOLERANCE, "reason": LOST})
        found = cursor.fetchall()
        cursor.execute(
            "UPDATE detection_rulestate SET gaps_checked_at = %s WHERE session_id = ANY(%s::uuid[])",
            [until, list(session_ids)],
        )
    for stream, skipped in found:
        DROPPED.labels(stream, LOST).inc(skipped)
    return len(found)
