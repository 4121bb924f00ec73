"""What travels between the gateway, the web side and the workers: names, keys and message shapes.

Messages carry ids and Redis keys, never pixels or samples. Times are Unix seconds (UTC, float). A session is named by
the UUID of its row (``ExamSession.id``), not by the name a platform gave it.
"""

from __future__ import annotations

import enum
from dataclasses import asdict, dataclass, field
from typing import Any, Self

# Celery queues and task names. The gateway sends by name: it cannot import the tasks.
QUEUE_VISION = "vision"
QUEUE_AUDIO = "audio"
QUEUE_ALERTS = "alerts"
QUEUE_ENROLLMENT = "enrollment"
QUEUE_SWEEPS = "sweeps"  # what beat asks for by the clock: a receiver of alerts that never answers must not hold it up

TASK_ANALYSE_FRAMES = "detection.analyse_frames"
TASK_ANALYSE_AUDIO = "detection.analyse_audio"
TASK_NOTE_TECHNICAL = "detection.note_technical"
TASK_NOTE_BROWSER = "detection.note_browser"
TASK_CLOSE_SESSION = "detection.close_session"

# The narrow way back: the web side tells the gateways to let go of a session's peer.
CONTROL_CHANNEL = "gateway:control"
CONTROL_END = "end"

FRAME_TTL_S = 60
"""How long a sampled frame or audio window stays in Redis: long enough to become evidence after a rule's hold time."""

SAMPLE_DEADLINE_S = 10.0
"""A sample not analysed this long after its capture is stale: nobody would act on it in time."""

PAST_S = 10.0
"""How much sound before a window its message names, for detectors to which one window tells too little."""


def frame_key(session_id: str, frame_id: str) -> str:
    """Name the Redis key of one sampled JPEG."""
    return f"frame:{session_id}:{frame_id}"


def audio_key(session_id: str, window_id: str) -> str:
    """Name the Redis key of one audio window: 16-bit little-endian mono PCM at 16 kHz."""
    return f"audio:{session_id}:{window_id}"


def attentive_key(session_id: str) -> str:
    """Name the Redis key whose existence tells workers that the rules want every frame of a session looked at fully."""
    return f"attentive:{session_id}"


def revoked_key(session_id: str) -> str:
    """Name the Redis key whose existence tells a gateway that the session has ended and its join token is void."""
    return f"revoked:{session_id}"


def gateway_heartbeat_key(gateway_id: str) -> str:
    """Name the Redis key a living gateway refreshes (JSON, TTL ``HEARTBEAT_TTL_S``)."""
    return f"heartbeat:gateway:{gateway_id}"


def worker_heartbeat_key(worker_id: str) -> str:
    """Name the Redis key a living worker process refreshes (JSON, TTL ``HEARTBEAT_TTL_S``)."""
    return f"heartbeat:worker:{worker_id}"


def stream_heartbeat_key(process: str) -> str:
    """Name the Redis key a living gRPC server refreshes (JSON, TTL ``HEARTBEAT_TTL_S``)."""
    return f"heartbeat:stream:{process}"


HEARTBEAT_INTERVAL_S = 5.0
HEARTBEAT_TTL_S = 20


class Technical(enum.StrEnum):
    """What the gateway reports about a peer besides its media."""

    PEER_CONNECTED = "peer_connected"
    PEER_LOST = "peer_lost"
    """The peer vanished or hung up; within the grace time it may come back."""
    VIDEO_STARTED = "video_started"
    VIDEO_STOPPED = "video_stopped"
    AUDIO_STARTED = "audio_started"
    AUDIO_STOPPED = "audio_stopped"
    GAP = "gap"
    """Media not passed on between ``at`` and ``until``: ``skipped`` samples of ``stream``, for ``reason``."""


class Stream(enum.StrEnum):
    VIDEO = "video"
    AUDIO = "audio"


class Browser(enum.StrEnum):
    """What is told about a page: by the page itself, or by the web side about what it asked the page to do."""

    TAB_HIDDEN = "TAB_HIDDEN"
    WINDOW_BLUR = "WINDOW_BLUR"
    FULLSCREEN_EXIT = "FULLSCREEN_EXIT"
    CLIPBOARD = "CLIPBOARD"
    SECOND_DISPLAY = "SECOND_DISPLAY"
    VIRTUAL_CAMERA = "VIRTUAL_CAMERA"
    """The camera in use is a program: ``product``, its name, and ``grade``, how surely it plays what it likes, 0 to 1.
    ``ended``: the camera in use is none that is known."""
    CHALLENGE = "CHALLENGE"
    """By the web side: ``challenge_id``, ``prompts`` in their order, and ``expires_at``."""
    CHALLENGE_STEP = "CHALLENGE_STEP"
    """The page showed prompt number ``step`` of ``challenge_id``, counted from 0."""


@dataclass(frozen=True, slots=True)
class _Message:
    def to_dict(self) -> dict[str, Any]:
        """Turn into a JSON-able dictionary: one of ``SAMPLES``, or the keyword arguments of a task that takes one."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Build from ``to_dict``'s result; an unknown or missing field raises ``TypeError``."""
        return cls(**data)


SAMPLES = "samples"
"""Keyword argument of the analysing tasks: one message names a few samples, since what it costs is mostly its own."""
SAMPLES_PER_MESSAGE = 4
"""At most; half a worker's batch."""


@dataclass(frozen=True, slots=True)
class FrameMessage(_Message):
    """One sampled frame, a JPEG at ``key``."""

    session_id: str
    frame_id: str
    key: str
    captured_at: float
    previous_captured_at: float | None
    """Capture time of the sampled frame before; what runs each ``n`` seconds is due when a multiple lies between."""
    deadline: float


@dataclass(frozen=True, slots=True)
class AudioMessage(_Message):
    """One window of sound at ``key``. The first ``lead_in_samples`` repeat the end of the window before, as context."""

    session_id: str
    window_id: str
    key: str
    started_at: float
    """Capture time of the first sample after the lead-in."""
    ended_at: float
    lead_in_samples: int
    deadline: float
    previous_ended_at: float | None = None
    """End of the window before, where there was one."""
    past: tuple[tuple[str, int], ...] = ()
    """The windows before it without a gap, oldest first, ``PAST_S`` at most: id and number of lead-in samples."""

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Build from ``to_dict``'s result, or from what JSON makes of it."""
        past = tuple((str(window_id), int(lead_in)) for window_id, lead_in in data.get("past", ()))
        return cls(**(data | {"past": past}))


@dataclass(frozen=True, slots=True)
class TechnicalMessage(_Message):
    """A change of the peer or its media, or media that was skipped."""

    session_id: str
    kind: str
    at: float
    peer_id: str = ""
    until: float | None = None
    stream: str = ""
    skipped: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class BrowserEvent:
    """One thing a page told, ``at`` on the server's clock: that it began, or with ``ended`` that it is over."""

    event_id: str
    kind: str
    at: float
    ended: bool = False
    action: str = ""
    """Of a use of the clipboard: ``copy``, ``cut`` or ``paste``."""
    details: dict[str, Any] = field(default_factory=dict)
    """What else belongs to the kind, see ``Browser``."""


@dataclass(frozen=True, slots=True)
class BrowserMessage(_Message):
    """What a page told in one request."""

    session_id: str
    events: tuple[BrowserEvent, ...]

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Build from ``to_dict``'s result; what is not that raises ``TypeError``."""
        return cls(**data | {"events": tuple(BrowserEvent(**event) for event in data.get("events", ()))})


@dataclass(frozen=True, slots=True)
class CloseMessage(_Message):
    """The session is over: close what is open."""

    session_id: str
    ended_at: float
