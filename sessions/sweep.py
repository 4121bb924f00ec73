"""Find sessions that nobody ended, and ended ones that not everybody has heard of."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from django.conf import settings
from django.utils import timezone
from kombu.exceptions import OperationalError as BrokerError
from redis.exceptions import RedisError

from accounts.problems import Problem
from accounts.redis_client import get_redis
from sessions.announce import close_message_send, sessions_revoke
from sessions.models import ExamSession
from sessions.services import session_end

logger = logging.getLogger(__name__)

BATCH: Final = 500
CLOSE_AGAIN_AFTER: Final = timedelta(seconds=10)
"""An end message not handled for this long is sent again; handling it twice does no harm."""
_TOLD_KEY: Final = "sessions:revoked-until"
_COMMITTED_WITHIN: Final = timedelta(minutes=1)
"""An end is written with its time and seen only when its transaction commits: the next sweep looks back this far."""


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep found to do."""

    ended: int
    closed_again: int
    revoked_again: int


def sweep_sessions() -> Swept:
    """End overdue sessions, send end messages again that nobody handled, void tokens again that Redis may have lost."""
    ended = sum(_end(session) for session in _overdue())
    try:
        return Swept(ended, _close_again(), _revoke_again())
    except (RedisError, BrokerError) as error:
        logger.warning("The sweep could not reach Redis and goes on at its next turn: %s", error)
        return Swept(ended, 0, 0)


def _overdue() -> list[ExamSession]:
    grace = timedelta(seconds=settings.JOIN_GRACE_S)
    return list(ExamSession.objects.overdue(grace=grace).order_by("planned_end_at")[:BATCH])


def _end(session: ExamSession) -> bool:
    try:
        session_end(session=session, reason="overdue")
    except Problem:  # somebody ended it between the query and here
        return False
    logger.info("Ended session %s: its planned end and grace have passed.", session.id)
    return True


def _close_again() -> int:
    old_enough = timezone.now() - CLOSE_AGAIN_AFTER
    sessions = list(ExamSession.objects.unclosed().filter(ended_at__lt=old_enough).order_by("ended_at")[:BATCH])
    for session in sessions:
        close_message_send(session)
    return len(sessions)


def _revoke_again() -> int:
    """Redis may have been emptied since, or away; what gateways must not accept is in PostgreSQL.

    How far Redis was told is noted in Redis itself, so that whatever loses the keys loses the note with them.
    """
    now = timezone.now()
    still_valid = now - timedelta(seconds=settings.JOIN_GRACE_S)
    ended = ExamSession.objects.filter(state=ExamSession.State.ENDED, planned_end_at__gt=still_valid)
    told_until = get_redis().get(_TOLD_KEY)
    if told_until is not None:
        ended = ended.filter(ended_at__gt=datetime.fromtimestamp(float(told_until), tz=UTC))
    revoked = sessions_revoke(ended.only("id", "planned_end_at").iterator(chunk_size=BATCH))
    get_redis().set(_TOLD_KEY, (now - _COMMITTED_WITHIN).timestamp())
    return revoked
