"""Find the pictures behind a change while the frame store still has them."""

from __future__ import annotations

import logging
from datetime import timedelta
from uuid import UUID

from prometheus_client import Counter
from redis.exceptions import RedisError

from accounts.redis_client import get_redis
from detection.engine.rules import Change
from detection.frame_store import FrameStore
from detection.gaps import moment
from detection.messages import FRAME_TTL_S, Stream, frame_key
from detection.models import Detection

logger = logging.getLogger(__name__)

MISSING = Counter("sdproctor_evidence_missing", "Frames behind a change that the frame store had no more.")


def frames_of(session_id: str, change: Change) -> dict[str, tuple[float, bytes]]:
    """Return capture time and JPEG of the frames at a change's onset, peak and decision, by frame id.

    When a finding closes, only a later peak is news. A frame that has expired is left out and counted: pictures never
    hold up a change. Call it where the change's detections can be seen.
    """
    times = _captured_at(session_id, change)
    if change.phase == "closed":
        times = {frame_id: at for frame_id, at in times.items() if at > change.decided_at}
    try:
        pictures = FrameStore(get_redis()).get_many([frame_key(session_id, frame_id) for frame_id in times])
    except RedisError as error:
        logger.warning("The pictures of a change in session %s cannot be read: %s", session_id, error)
        pictures = [None] * len(times)
    found = {
        frame_id: (times[frame_id], jpeg) for frame_id, jpeg in zip(times, pictures, strict=True) if jpeg is not None
    }
    MISSING.inc(len(times) - len(found))
    return found


def _captured_at(session_id: str, change: Change) -> dict[str, float]:
    """Look up when the frames were captured; the bound lets PostgreSQL use the key and skip old partitions."""
    if not change.frame_ids:
        return {}
    rows = Detection.objects.filter(
        session_id=UUID(session_id),
        captured_at__gte=moment(change.started_at) - timedelta(seconds=2 * FRAME_TTL_S),
        sample_id__in=change.frame_ids,
        stream=Stream.VIDEO,
    )
    return {sample_id: at.timestamp() for sample_id, at in rows.values_list("sample_id", "captured_at")}
