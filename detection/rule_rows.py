"""What a commit reads and writes of the tables of detections and rule states: one statement each for many sessions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection

from detection.engine.observations import TECHNICAL, Observation, without_private


@dataclass(slots=True)
class RuleRow:
    """A session's rule state, locked."""

    session_id: str
    organisation_id: int
    state: dict[str, Any]
    newest_at: datetime | None
    last_sample_at: datetime | None
    due_at: datetime | None
    peer_id: str
    peer_at: datetime | None
    closed: bool
    session_state: str
    ended_at: datetime | None


_LOCK = """
SELECT r.session_id::text, r.organisation_id, r.state::text, r.newest_at, r.last_sample_at, r.due_at, r.peer_id,
       r.peer_at, r.closed, s.state, s.ended_at
FROM detection_rulestate r JOIN exam_sessions_examsession s ON s.id = r.session_id
WHERE r.session_id = ANY(%s::uuid[])
ORDER BY r.session_id FOR UPDATE OF r
"""
_INSERT = """
INSERT INTO detection_detection
    (session_id, captured_at, sample_id, organisation_id, stream, previous_at, measures, recorded_at)
SELECT session_id, to_timestamp(captured_at), sample_id, organisation_id, stream, to_timestamp(previous_at), measures,
       %s
FROM jsonb_to_recordset(%s::jsonb) AS row(session_id uuid, captured_at float8, sample_id text, organisation_id bigint,
                                          stream text, previous_at float8, measures jsonb)
ON CONFLICT DO NOTHING
RETURNING session_id::text, sample_id
"""
_UPDATE = """
UPDATE detection_rulestate r
SET state = row.state, newest_at = row.newest_at, last_sample_at = row.last_sample_at, due_at = row.due_at,
    peer_id = row.peer_id, peer_at = row.peer_at, closed = row.closed, updated_at = %s
FROM jsonb_to_recordset(%s::jsonb) AS row(session_id uuid, state jsonb, newest_at timestamptz,
    last_sample_at timestamptz, due_at timestamptz, peer_id text, peer_at timestamptz, closed boolean)
WHERE r.session_id = row.session_id
"""


def lock(session_ids: Iterable[str]) -> list[RuleRow]:
    """Lock the rule states in the order of their ids, as everybody does: so nobody waits in a circle.

    Sessions without one, erased ones, are left out.
    """
    with connection.cursor() as cursor:
        cursor.execute(_LOCK, [list(session_ids)])
        rows = cursor.fetchall()
    return [
        RuleRow(session_id, organisation_id, json.loads(state), *others)
        for session_id, organisation_id, state, *others in rows
    ]


def insert(rows: list[RuleRow], accepted: Mapping[str, list[Observation]], now: datetime) -> dict[str, set[str]]:
    """Store the measures; return per session the ids of the samples that were stored before."""
    documents: list[dict[str, Any]] = [
        {
            "session_id": row.session_id,
            "captured_at": observation.captured_at,
            "sample_id": observation.sample_id,
            "organisation_id": row.organisation_id,
            "stream": observation.stream,
            "previous_at": observation.previous_at,
            "measures": without_private(observation.measures),
        }
        for row in rows
        for observation in accepted[row.session_id]
        if observation.stream != TECHNICAL
    ]
    known: dict[str, set[str]] = {row.session_id: set() for row in rows}
    if documents:
        for document in documents:
            known[document["session_id"]].add(document["sample_id"])
        with connection.cursor() as cursor:
            # NaN is no JSON: a measure that has one is its detector's fault, and fails here.
            cursor.execute(_INSERT, [now, json.dumps(documents, allow_nan=False)])
            for session_id, sample_id in cursor.fetchall():
                known[session_id].discard(sample_id)
    return known


def keep(rows: list[RuleRow], now: datetime) -> None:
    """Write the rule states back, as of ``now``."""
    documents = [
        {
            "session_id": row.session_id,
            "state": row.state,
            "newest_at": _iso(row.newest_at),
            "last_sample_at": _iso(row.last_sample_at),
            "due_at": _iso(row.due_at),
            "peer_id": row.peer_id,
            "peer_at": _iso(row.peer_at),
            "closed": row.closed,
        }
        for row in rows
    ]
    if documents:
        with connection.cursor() as cursor:
            cursor.execute(_UPDATE, [now, json.dumps(documents, allow_nan=False)])


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
