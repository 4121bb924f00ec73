"""A session's tally: the row whose lock gives every alert the next number, and whose risk score sums up its incidents.

Whoever changes an incident takes the next number first: workers hold the rule state's lock by then, people hold
nothing. So all wait for one another at the tally, in one order. A number taken by what is rolled back is given back.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from django.db import connection

_NEXT = """
INSERT INTO alerts_sessiontally AS t (session_id, organisation_id, alert_sequence, risk_score) VALUES (%s, %s, 1, 0)
ON CONFLICT (session_id) DO UPDATE SET alert_sequence = t.alert_sequence + 1
RETURNING alert_sequence
"""
_ENSURE = """
INSERT INTO alerts_sessiontally (session_id, organisation_id, alert_sequence, risk_score)
SELECT id, organisation_id, 0, 0 FROM exam_sessions_examsession WHERE id = ANY(%s::uuid[]) ORDER BY id
ON CONFLICT DO NOTHING
"""
_LOCK = "SELECT FROM alerts_sessiontally WHERE session_id = ANY(%s::uuid[]) ORDER BY session_id FOR UPDATE"
_SUM = """
UPDATE alerts_sessiontally t
SET risk_score = round((100 * summed.points / (1 + summed.points))::numeric, 1)
FROM (SELECT own.id, COALESCE(SUM(i.points), 0) AS points
      FROM unnest(%s::uuid[]) AS own(id) LEFT JOIN alerts_incident i ON i.session_id = own.id GROUP BY own.id) summed
WHERE t.session_id = summed.id
"""


def sequence_next(*, session_id: uuid.UUID, organisation_id: int) -> int:
    """Return the number of the session's next alert; the tally stays locked until the transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute(_NEXT, [session_id, organisation_id])
        (number,) = cursor.fetchone()
    return int(number)


def tallies_lock(session_ids: Sequence[uuid.UUID]) -> None:
    """Lock the tallies of sessions in the order of their ids until the transaction ends, making those that lack."""
    with connection.cursor() as cursor:
        cursor.execute(_ENSURE, [list(session_ids)])
        cursor.execute(_LOCK, [list(session_ids)])


def risk_sum(session_ids: Sequence[uuid.UUID]) -> None:
    """Make the risk scores of sessions from their incidents' points: ``100 x S / (1 + S)``. Hold the tallies locked."""
    with connection.cursor() as cursor:
        cursor.execute(_SUM, [list(session_ids)])
