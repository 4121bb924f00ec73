"""Look after sessions from which nothing comes: let rules that wait come true, notice a gateway that died, close."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection
from redis import Redis

from detection.commit import SessionBatch
from detection.contexts import SessionContext
from detection.engine.observations import TECHNICAL, Observation
from detection.messages import Technical, TechnicalMessage
from sessions.models import ExamSession

CLOSE_AFTER_S = 1.5
"""How long after its end a session waits for its last samples before everything is closed."""
LOST_AFTER_S = 15.0
"""A live session without a sample and without a word of its gateway for so long: the gateway died."""

_SWEEPING_KEY = "detection:sweeping"
_SWEEPING_TTL_S = 8

_DUE = """
(SELECT 'quiet', session_id::text FROM detection_rulestate WHERE NOT closed AND due_at <= %(now)s LIMIT 250)
UNION ALL
(SELECT 'ended', id::text FROM exam_sessions_examsession
 WHERE state = 'ended' AND closed_at IS NULL AND ended_at <= %(ended_before)s LIMIT 250)
"""
_QUIET = """
SELECT r.session_id::text, r.newest_at, r.last_sample_at, r.peer_id, s.state
FROM detection_rulestate r JOIN exam_sessions_examsession s ON s.id = r.session_id
WHERE r.session_id = ANY(%s::uuid[]) AND r.last_sample_at IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class Due:
    """Sessions to look after, by UUID."""

    quiet: list[str]
    ended: list[str]


def sessions_due(now: datetime) -> Due:
    """Find the sessions that want looking after; one query, cheap when there are none."""
    with connection.cursor() as cursor:
        cursor.execute(_DUE, {"now": now, "ended_before": now - timedelta(seconds=CLOSE_AFTER_S)})
        rows = cursor.fetchall()
    ended = [session_id for kind, session_id in rows if kind == "ended"]
    return Due([session_id for kind, session_id in rows if kind == "quiet" and session_id not in ended], ended)


def queue_up_for_s(redis: Redis, now: float) -> float:
    """Return for how long sweeps have come without a pause, and note this one.

    After a pause (workers or queue were away) samples may wait in the queue: nobody is quiet until they are through.
    """
    since = redis.set(_SWEEPING_KEY, now, nx=True, get=True)
    redis.expire(_SWEEPING_KEY, _SWEEPING_TTL_S)
    return 0.0 if since is None else now - float(since)


def quiet_batches(
    contexts: dict[str, SessionContext], *, now: datetime, up_for_s: float
) -> Iterator[tuple[str, SessionBatch]]:
    """Yield what the silence of each session means."""
    with connection.cursor() as cursor:
        cursor.execute(_QUIET, [list(contexts)])
        rows = cursor.fetchall()
    for session_id, newest_at, last_sample_at, peer_id, state in rows:
        quiet_s = (now - last_sample_at).total_seconds()
        observations = []
        if state == ExamSession.State.LIVE and min(quiet_s, up_for_s) >= LOST_AFTER_S:
            observations.append(_peer_lost(session_id, peer_id, newest_at.timestamp()))
        yield (
            session_id,
            SessionBatch(
                contexts[session_id],
                observations,
                # On the clock of the media. It lags by the usual delay, so what is still on its way is not late.
                now=newest_at.timestamp() + quiet_s,
                only_if_quiet_since=last_sample_at,
            ),
        )


def _peer_lost(session_id: str, peer_id: str, at: float) -> Observation:
    message = TechnicalMessage(session_id, Technical.PEER_LOST, at, peer_id=peer_id, reason="gateway_silent")
    return technical_observation(message)


def technical_observation(message: TechnicalMessage) -> Observation:
    """Turn a technical message into what the rules read."""
    sample_id = f"{message.kind}:{message.peer_id}:{message.at:.3f}"
    return Observation(sample_id, TECHNICAL, message.at, {"technical": message.to_dict()})
