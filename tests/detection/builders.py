"""Observations and messages that the detection tests start from."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from alerts.models import Alert, Incident
from detection import services
from detection.commit import SessionBatch, SessionOutcome
from detection.contexts import SessionContexts
from detection.engine.observations import AUDIO, VIDEO, Observation
from detection.messages import Technical, TechnicalMessage
from detection.quiet import technical_observation
from sessions.models import ExamSession

START = 1_790_000_000.0
"""2026-09-21T14:13:20Z"""

_names = itertools.count(1)


def sample_id() -> str:
    """Return an id not used before."""
    return uuid.uuid5(uuid.NAMESPACE_OID, str(next(_names))).hex


def frame(at: float, *, faces: int = 1, similarity: float | None = None, **measures: Any) -> Observation:
    """Return what was measured on a frame captured ``at`` seconds after ``START``."""
    boxes = [[100 + 200 * n, 100, 250 + 200 * n, 280] for n in range(faces)]
    found: dict[str, Any] = {
        "faces": {"count": faces, "possible": faces, "boxes_xyxy": boxes, "scores": [0.93] * faces}
    }
    if similarity is not None:
        found["identity"] = {
            "comparison_score": similarity - 0.4,
            "similarity": similarity,
            "decided": True,
            "reason": "",
            "model": "sface-2021dec",
            "quality": None,
        }
    return Observation(sample_id(), VIDEO, START + at, found | measures)


def sound(at: float, *, share: float = 0.0, rms_dbfs: float = -50.0) -> Observation:
    """Return what was measured on a one-second window that ends ``at`` seconds after ``START``."""
    ended_at = START + at
    speech = {
        "share": share,
        "peak": 0.9 if share else 0.1,
        "first_at": ended_at - share if share else None,
        "last_at": ended_at if share else None,
        "chunks": [0.9 if share else 0.1] * 31,
    }
    level = {"rms_dbfs": rms_dbfs, "peak_dbfs": rms_dbfs + 10, "clipped_share": 0.0}
    return Observation(sample_id(), AUDIO, ended_at, {"speech": speech, "level": level}, started_at=ended_at - 1)


def technical(
    session: ExamSession, kind: Technical, at: float, *, peer_id: str = "peer-1", **fields: Any
) -> Observation:
    """Return a technical event ``at`` seconds after ``START``."""
    return technical_observation(TechnicalMessage(str(session.id), kind, START + at, peer_id=peer_id, **fields))


def frames(start: float, end: float, *, rate: float = 2.0, **measures: Any) -> list[Observation]:
    """Return frames from ``start`` up to but not including ``end``; all but the session's first name the one before."""
    times = [start + n / rate for n in range(round((end - start) * rate))]
    return [replace(frame(at, **measures), previous_at=START + at - 1 / rate if at else None) for at in times]


def commit(session: ExamSession, observations: Iterable[Observation], **batch: Any) -> list[SessionOutcome]:
    """Commit observations as a batch of one session."""
    contexts = SessionContexts().get([str(session.id)])
    return services.observations_commit(
        batches={str(session.id): SessionBatch(contexts[str(session.id)], list(observations), **batch)}
    )


def batched(observations: Sequence[Observation], size: int) -> list[list[Observation]]:
    """Cut into batches."""
    return [list(observations[start : start + size]) for start in range(0, len(observations), size)]


def story(session: ExamSession) -> list[tuple[str, float, float, float | None]]:
    """Return a session's incidents in the order of their onset: type, onset, decision and end, seconds after START."""
    return [
        (
            incident.event_type,
            round(incident.started_at.timestamp() - START, 3),
            round(incident.decided_at.timestamp() - START, 3),
            None if incident.ended_at is None else round(incident.ended_at.timestamp() - START, 3),
        )
        for incident in Incident.objects.filter(session=session).order_by("started_at", "event_type")
    ]


def sequences(session: ExamSession) -> list[int]:
    """Return the numbers of a session's alerts in the order they were given."""
    return list(Alert.objects.filter(session=session).order_by("sequence").values_list("sequence", flat=True))
