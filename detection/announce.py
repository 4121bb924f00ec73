"""Tell sockets and other workers what was found, after the commit. All of it is a hint: losing it costs little."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

from redis.exceptions import RedisError

from accounts.redis_client import get_redis
from alerts.services import broadcast
from detection.commit import SessionOutcome
from detection.engine.observations import AUDIO, VIDEO, Observation
from detection.messages import attentive_key

logger = logging.getLogger(__name__)

SUMMARY_INTERVAL_S = 0.5
ATTENTIVE_TTL_S = 5
_REMEMBERED = 1024

_told_at: OrderedDict[str, float] = OrderedDict()


def outcomes_announce(outcomes: Iterable[SessionOutcome]) -> None:
    """Broadcast summaries and changes of state; leave word which sessions want every frame looked at. Never raises."""
    attentive = []
    for outcome in outcomes:
        session = outcome.context.session
        if outcome.state_changed:
            broadcast(session.id, {"type": "state", "data": {}})
        if outcome.attentive:
            attentive.append(str(session.id))
        data = summary(outcome.observations)
        if data and _is_time(str(session.id)):
            broadcast(session.id, {"type": "detections", "data": data})
    _leave_word(attentive)


def summary(observations: Iterable[Observation]) -> dict[str, Any]:
    """Return the newest measures of each stream, without boxes' and chunks' details; empty when there are none."""
    newest: dict[str, Observation] = {}
    for observation in observations:
        if observation.stream in (VIDEO, AUDIO):
            known = newest.get(observation.stream)
            if known is None or observation.captured_at > known.captured_at:
                newest[observation.stream] = observation
    return {stream: _brief(observation) for stream, observation in newest.items()}


def _brief(observation: Observation) -> dict[str, Any]:
    measures = observation.measures
    faces, identity = measures.get("faces"), measures.get("identity")
    speech, level = measures.get("speech"), measures.get("level")
    brief: dict[str, Any] = {"captured_at": observation.captured_at}
    if faces:
        brief |= {"faces": faces["count"], "boxes_xyxy": faces["boxes_xyxy"]}
    if identity:
        brief |= {"similarity": identity["similarity"], "decided": identity["decided"]}
    if speech:
        brief |= {"speech_share": speech["share"]}
    if level:
        brief |= {"rms_dbfs": level["rms_dbfs"]}
    return brief


def _is_time(session_id: str) -> bool:
    now = time.monotonic()
    if now - _told_at.get(session_id, -SUMMARY_INTERVAL_S) < SUMMARY_INTERVAL_S:
        return False
    _told_at[session_id] = now
    _told_at.move_to_end(session_id)
    if len(_told_at) > _REMEMBERED:
        _told_at.popitem(last=False)
    return True


def _leave_word(session_ids: list[str]) -> None:
    if not session_ids:
        return
    try:
        with get_redis().pipeline(transaction=False) as pipeline:
            for session_id in session_ids:
                pipeline.set(attentive_key(session_id), b"1", ex=ATTENTIVE_TTL_S)
            pipeline.execute()
    except RedisError as error:
        logger.warning("Redis does not take the hint that %d sessions want attention: %s", len(session_ids), error)
