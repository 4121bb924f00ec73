"""What detectors measure: frozen dataclasses, and the observation that carries them to the rules and into the database.

Every measure has ``to_dict()``: plain numbers, strings and lists, rounded to what is meaningful, never NaN or infinite
(JSON has neither). ``Observation.measures`` maps a detector's name to that dictionary. A detector that was not due on a
sample has no key; one that failed has its message under ``"errors"``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

VIDEO = "video"
AUDIO = "audio"
TECHNICAL = "technical"
BROWSER = "browser"
"""What the exam's page tells of itself; also the key of what it told in ``Observation.measures``."""

ERRORS = "errors"
"""Key of ``Observation.measures`` for what went wrong: detector name → message."""


PRIVATE = frozenset({"embedding", "fingerprint", "blocks", "surroundings"})
"""Keys of a measure that learners may see and nobody else: never stored with a detection or an incident."""
INCIDENTS_ALONE = frozenset({"text"})
"""Keys that are stored with the incident whose reason they are, for as long as it is kept, and not with a detection."""
_UNSTORED = PRIVATE | INCIDENTS_ALONE


def without_private(measures: Mapping[str, Any]) -> dict[str, Any]:
    """Return an observation's measures as they are stored: without what is for learners or for an incident alone."""
    return {
        name: {key: value for key, value in measure.items() if key not in _UNSTORED}
        if isinstance(measure, Mapping) and not _UNSTORED.isdisjoint(measure)
        else measure
        for name, measure in measures.items()
    }


class Measure(Protocol):
    """What one detector found out about one sample."""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-able form: what is stored, and what rules read."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """A face in a picture.

    ``box_xyxy`` in pixels of that picture (it may reach over the edge); ``score`` 0 to 1, the detector's confidence;
    ``landmarks`` float32 ``(5, 2)``: image-left eye, image-right eye, nose, image-left and image-right mouth corner.
    """

    box_xyxy: tuple[float, float, float, float]
    score: float
    landmarks: NDArray[np.float32]

    @property
    def width_px(self) -> float:
        """Return the width of the box."""
        return self.box_xyxy[2] - self.box_xyxy[0]

    @property
    def area_px(self) -> float:
        """Return the area of the box."""
        return self.width_px * (self.box_xyxy[3] - self.box_xyxy[1])


@dataclass(frozen=True, slots=True)
class FaceQuality:
    """How well a face can be judged. Angles follow the glossary; from five landmarks they are coarse (± 10°)."""

    width_px: float
    sharpness: float
    """See ``quality.sharpness``: a sharp face has 0.02 and more."""
    brightness: float
    """Mean grey value of the face, 0 to 255."""
    contrast: float
    """Standard deviation of the face's grey values."""
    yaw_deg: float
    pitch_deg: float
    evenness: float = 1.0
    """Detail in the poorest direction over that in the richest, 0 to 1: 0.5 to 0.8, where something moved 0.15 to 0.45.
    A blurred smile has as little, so it tells of motion only together with other signs."""
    clarity: float = 1.0
    """How much of its likeness it has kept, 0 to 1, see ``likeness``; 1 where it was not embedded."""

    def to_dict(self) -> dict[str, float]:
        """Return the JSON-able form, rounded."""
        return {name: round(value, 4) for name, value in dataclasses.asdict(self).items()}


@dataclass(frozen=True, slots=True, eq=False)
class FacesMeasure:
    """Who is in the picture. ``faces``: largest first, doubtful ones included; ``count``: those beyond doubt.

    Of the largest: ``width_px``, and ``visible_share``, how much of it lies inside the picture (0 to 1). None: nobody.
    """

    faces: tuple[Face, ...] = ()
    count: int = 0
    width_px: float | None = None
    visible_share: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-able form, boxes in whole pixels. ``possible`` counts all faces, the doubtful ones too."""
        return {
            "count": self.count,
            "possible": len(self.faces),
            "boxes_xyxy": [[round(edge) for edge in face.box_xyxy] for face in self.faces],
            "scores": [round(face.score, 3) for face in self.faces],
            "width_px": None if self.width_px is None else round(self.width_px, 1),
            "visible_share": None if self.visible_share is None else round(self.visible_share, 3),
        }


@dataclass(frozen=True, slots=True, eq=False)
class LandmarksMeasure:
    """The points of the largest face.

    ``points``: float64 ``(478, 3)`` in pixels of the frame, depth in the same unit, smaller is nearer. ``presence``:
    how sure the network is that there is a face, 0 to 1. ``blendshapes``: float32 ``(52,)``, 0 to 1, in MediaPipe's
    order. ``mirrored``: the points found in the mirrored picture, in its pixels; None unless a second look was due.
    """

    points: NDArray[np.float64]
    presence: float
    blendshapes: NDArray[np.float32]
    mirrored: NDArray[np.float64] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-able form: the points themselves are for the detectors after this one."""
        return {"presence": round(self.presence, 3)}


@dataclass(frozen=True, slots=True)
class IdentityMeasure:
    """How a probe compares with the template.

    ``comparison_score``: raw cosine, -1 to 1. ``similarity``: calibrated for the probe's ``clarity``, 0 to 1; from the
    rule's threshold on it is a match, under ``mismatch_below`` a mismatch, in between it cannot be told. ``decided`` is
    False then and where the probe is too poor to say anything about the person, and ``reason`` says why:
    ``face_too_small``, ``blurred``, ``dark`` or ``turned``.
    """

    comparison_score: float
    similarity: float
    decided: bool = True
    reason: str = ""
    model: str = ""
    quality: FaceQuality | None = None
    strength: float | None = None
    """Length of the network's raw vector: the clearer the face, the longer."""
    clarity: float = 1.0
    mismatch_below: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-able form."""
        return {
            "comparison_score": round(self.comparison_score, 4),
            "similarity": round(self.similarity, 4),
            "decided": self.decided,
            "reason": self.reason,
            "model": self.model,
            "quality": None if self.quality is None else self.quality.to_dict(),
            "strength": None if self.strength is None else round(self.strength, 2),
            "clarity": round(self.clarity, 3),
            "mismatch_below": None if self.mismatch_below is None else round(self.mismatch_below, 4),
        }


@dataclass(frozen=True, slots=True)
class SpeechMeasure:
    """Voice activity in one audio window, its lead-in left out.

    ``chunks``: probability of speech per 32 ms. ``share``: share of chunks above the threshold, 0 to 1. ``peak``: the
    highest probability. ``first_at`` and ``last_at``: capture times of the start of the first and the end of the last
    chunk above the threshold; None when there is none.
    """

    share: float
    peak: float
    first_at: float | None
    last_at: float | None
    chunks: tuple[float, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-able form."""
        return {
            "share": round(self.share, 4),
            "peak": round(self.peak, 3),
            "first_at": self.first_at,
            "last_at": self.last_at,
            "chunks": [round(chunk, 2) for chunk in self.chunks],
        }


@dataclass(frozen=True, slots=True)
class LevelMeasure:
    """Loudness of one audio window in dB relative to full scale, its lead-in left out. Digital silence is -120."""

    rms_dbfs: float
    peak_dbfs: float
    clipped_share: float = 0.0
    """Share of samples at full scale."""

    def to_dict(self) -> dict[str, float]:
        """Return the JSON-able form."""
        return {
            "rms_dbfs": round(self.rms_dbfs, 1),
            "peak_dbfs": round(self.peak_dbfs, 1),
            "clipped_share": round(self.clipped_share, 4),
        }


@dataclass(frozen=True, slots=True)
class Observation:
    """Everything measured on one sample, or one technical event.

    ``captured_at``: capture time of a frame, of the *end* of an audio window (that is when all of it was known), of a
    technical event. ``started_at``: capture time of the start of an audio window, None otherwise. ``previous_at``:
    capture time of the sample before it in its stream, None for a peer's first and where it is not known. Technical
    observations measure ``{"technical": {"kind": …, "peer_id": …, …}}``, the fields of ``messages.TechnicalMessage``;
    those of the page ``{"browser": {"kind": …, "ended": …, "action": …}}``, the fields of ``messages.BrowserEvent``.
    """

    sample_id: str
    stream: str
    captured_at: float
    measures: Mapping[str, Any] = field(default_factory=dict)
    started_at: float | None = None
    previous_at: float | None = None

    @property
    def span(self) -> tuple[float, float]:
        """Return the stretch of time it speaks for: a moment, but for an audio window."""
        return (self.captured_at if self.started_at is None else self.started_at), self.captured_at

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-able form that ``from_dict`` reads."""
        return {
            "sample_id": self.sample_id,
            "stream": self.stream,
            "captured_at": self.captured_at,
            "measures": dict(self.measures),
            "started_at": self.started_at,
            "previous_at": self.previous_at,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Observation:
        """Build from ``to_dict``'s result; an unknown or missing field raises ``TypeError``."""
        return cls(**data)
