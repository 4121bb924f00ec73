"""Tell gateways and workers that a session is over. Redis may be away: then the sweep tells them again."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from celery import current_app
from django.conf import settings
from django.utils import timezone
from kombu.exceptions import OperationalError as BrokerError
from prometheus_client import Counter
from redis.exceptions import RedisError

from accounts.redis_client import get_redis
from detection import messages
from sessions.models import ExamSession

logger = logging.getLogger(__name__)

ANNOUNCEMENTS_FAILED = Counter(
    "sdproctor_end_announcements_failed_total", "Ends of sessions that Redis did not take; the sweep repeats them."
)

_PUBLISH_ONCE_MORE: Final = {"max_retries": 1, "interval_start": 0.0, "interval_step": 0.1}
_AWAY: Final = (RedisError, BrokerError, OSError)


def session_end_announce(session: ExamSession) -> bool:
    """Void the join token, let gateways drop the peer, and have the rules close what is open.

    Return whether everything was said; never raises, because the end is in the database already and
    ``sessions.tasks.sweep`` repeats what could not be said.
    """
    try:
        sessions_revoke([session])
        get_redis().publish(
            messages.CONTROL_CHANNEL, json.dumps({"action": messages.CONTROL_END, "session_id": str(session.id)})
        )
        close_message_send(session)
    except _AWAY:
        ANNOUNCEMENTS_FAILED.inc()
        logger.exception("The end of session %s was not announced; the sweep repeats it.", session.id)
        return False
    return True


def sessions_revoke(sessions: Iterable[ExamSession]) -> int:
    """Void the join tokens of ended sessions for as long as they would be valid; return how many were still valid."""
    with get_redis().pipeline(transaction=False) as pipeline:
        for session in sessions:
            if (left_s := _token_left_s(session)) > 0:
                pipeline.set(messages.revoked_key(str(session.id)), "1", ex=left_s)
        return len(pipeline.execute())


def close_message_send(session: ExamSession) -> None:
    """Send the message on which the rules close what is open; raise when the broker is away."""
    assert session.ended_at is not None
    message = messages.CloseMessage(session_id=str(session.id), ended_at=session.ended_at.timestamp())
    current_app.send_task(
        messages.TASK_CLOSE_SESSION,
        kwargs=message.to_dict(),
        ignore_result=True,
        retry=True,
        retry_policy=_PUBLISH_ONCE_MORE,
    )


def _token_left_s(session: ExamSession) -> int:
    """Return for how many whole seconds, rounded up, the session's join token would still be accepted."""
    expires_at = session.planned_end_at + timedelta(seconds=settings.JOIN_GRACE_S)
    return max(0, math.ceil((expires_at - timezone.now()).total_seconds()))
