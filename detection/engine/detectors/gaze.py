"""Measure where the eyes look, from the irises: a line of sight in the camera's frame, eye and head together.

Each eye is a ball. Where the head is turned and how large it is comes from the average face laid over the landmarks;
the ball's centre lies behind the middle of the eye's corners, and the iris' place beside that centre is the sine of
the angle. A person's own eyes differ from the average by several degrees, always in the same direction: absolute
angles mean little until ``learners.gaze_line`` has learnt where this candidate looks when looking at the screen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detection.engine.canonical_face import CANONICAL_FACE as CANONICAL_FACE
from detection.engine.canonical_face import CanonicalFace
from detection.engine.observations import VIDEO, LandmarksMeasure
from detection.engine.samples import VideoSample

EYEBALL_CM = 1.2
"""Radius of the eyeball: 24 mm across, within a millimetre the same in all adults."""
_DEPTH_CM = 0.6
"""How far the ball's centre lies behind the line of the eye's corners."""
_MIN_PRESENCE = 0.5

_EYES = ((33, 133, 468), (362, 263, 473))
"""Landmarks of the image-left and the image-right eye: its two corners, and the iris' centre."""
_BLINK_LEFT, _BLINK_RIGHT = 9, 10
"""Blendshapes, in MediaPipe's order."""

Points = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class GazeMeasure:
    """The line of sight, signs of the glossary: zero into the lens, ``yaw_deg`` to image right, ``pitch_deg`` up.

    ``closed``: how far the lids are closed, 0 to 1; looking down lowers them too.
    """

    yaw_deg: float
    pitch_deg: float
    closed: float

    def to_dict(self) -> dict[str, float]:
        """Return the JSON-able form."""
        return {
            "yaw_deg": round(self.yaw_deg, 1),
            "pitch_deg": round(self.pitch_deg, 1),
            "closed": round(self.closed, 2),
        }


class GazeDetector:
    """Measures the line of sight on the landmarks of the largest face."""

    name = "gaze"
    stream = VIDEO
    models = ()

    def __init__(self, canonical_face: bytes) -> None:
        self._face = CanonicalFace(canonical_face)

    def due(self, sample: VideoSample) -> bool:
        """Measure wherever there are landmarks."""
        landmarks = sample.found.get("landmarks")
        return (
            sample.job.policy.detectors.gaze.enabled
            and isinstance(landmarks, LandmarksMeasure)
            and landmarks.presence >= _MIN_PRESENCE
        )

    def measure(self, samples: Sequence[VideoSample]) -> list[GazeMeasure]:
        """Measure each frame."""
        return [self.of_landmarks(sample.found["landmarks"]) for sample in samples]  # type: ignore[arg-type]

    def of_landmarks(self, landmarks: LandmarksMeasure) -> GazeMeasure:
        """Measure the line of sight on a face's landmarks."""
        right, up = self._line(landmarks.points)
        closed = float(max(landmarks.blendshapes[_BLINK_LEFT], landmarks.blendshapes[_BLINK_RIGHT]))
        return GazeMeasure(_angle(right), _angle(up), closed)

    def _line(self, points: Points) -> tuple[float, float]:
        """Return the sines of yaw and pitch; an eye counts the more the wider it is seen."""
        fit = self._face.fit(points)
        ahead = fit.rotation[:2, 2] * (_DEPTH_CM / EYEBALL_CM)
        lines, weights = [], []
        for outer, inner, iris in _EYES:
            corners = points[[outer, inner], :2]
            beside = (points[iris, :2] - corners.mean(axis=0)) * [1.0, -1.0] / fit.pixels_per_cm
            lines.append(beside / EYEBALL_CM + ahead)
            weights.append(float(np.sum((corners[0] - corners[1]) ** 2)))
        right, up = np.average(lines, axis=0, weights=weights)
        return float(right), float(up)


def _angle(sine: float) -> float:
    return math.degrees(math.asin(max(-1.0, min(1.0, sine))))
