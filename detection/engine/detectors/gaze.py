"""Measure where the eyes look, from the irises: a line of sight in the camera's frame, eye and head together.

Each eye is a ball. Where the head is turned and how large it is comes from the average face laid over the landmarks;
the ball's centre lies behind and above the middle of the eye's corners, and the iris' place beside that centre is the
sine of the angle. A person's own eyes differ from the average by several degrees, always in the same direction:
absolute angles mean little until ``learners.gaze_line`` has learnt where this candidate looks when looking at the
screen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from detection.engine.canonical_face import CANONICAL_FACE as CANONICAL_FACE
from detection.engine.canonical_face import CanonicalFace
from detection.engine.observations import VIDEO, LandmarksMeasure
from detection.engine.samples import VideoSample

EYEBALL_CM = 1.2
"""Radius of the eyeball: 24 mm across, within a millimetre the same in all adults."""
BALL_CM = np.array([0.0, 0.15, -0.4])
"""Where the ball's centre lies to the network's eye corners: right, up, towards the camera in the head's own axes. With
it, the lines of sight of 283 photographs in which most people look into the lens are zero on the whole and depend least
on how the head is turned. (In anatomy it lies twice as deep; the network draws irises towards the middle.)"""
_PLACE_DEG = 1.8
_PLACE_CM_PER_PX = 12.0
"""Standard error of a look: at best, and with one pixel to the centimetre. Read off the same photographs made smaller,
noisy and compressed: 2 degrees at a face 100 pixels wide, 4 at 50, 8 at 25."""
_EYES_APART_DEG, _EYES_APART_SPREAD_DEG = -11.0, 15.0
"""By how much the image-left eye's line is drawn to the right of the other's, and within what of that in nine of ten
clear photographs; more is a reflection or a strand of hair taken for an iris."""

_EYES = ((33, 133, 468), (362, 263, 473))
"""Landmarks of the image-left and the image-right eye: its two corners, and the iris' centre."""
_BLINK_LEFT, _BLINK_RIGHT = 9, 10
"""Blendshapes, in MediaPipe's order."""


@dataclass(frozen=True, slots=True)
class GazeMeasure:
    """The line of sight, signs of the glossary: zero into the lens, ``yaw_deg`` to image right, ``pitch_deg`` up.

    ``closed``: how far the lids are closed, 0 to 1; looking down lowers them too. ``uncertainty_deg``: standard error
    from the size of the face and the disagreement of both eyes.
    """

    yaw_deg: float
    pitch_deg: float
    closed: float
    uncertainty_deg: float

    def to_dict(self) -> dict[str, float]:
        """Return the JSON-able form."""
        return {
            "yaw_deg": round(self.yaw_deg, 1),
            "pitch_deg": round(self.pitch_deg, 1),
            "closed": round(self.closed, 2),
            "uncertainty_deg": round(self.uncertainty_deg, 1),
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
        return sample.job.policy.detectors.gaze.enabled and sample.landmarks is not None

    def measure(self, samples: Sequence[VideoSample]) -> list[GazeMeasure]:
        """Measure each frame."""
        return [self.of_landmarks(landmarks) for sample in samples if (landmarks := sample.landmarks)]

    def of_landmarks(self, landmarks: LandmarksMeasure) -> GazeMeasure:
        """Measure the line of sight on a face's landmarks; an eye counts the more the wider it is seen."""
        fit = self._face.fit(landmarks.points)
        lines, weights = [], []
        for outer, inner, iris in _EYES:
            corners = landmarks.points[[outer, inner], :2]
            beside = (landmarks.points[iris, :2] - corners.mean(axis=0)) * [1.0, -1.0] / fit.pixels_per_cm
            lines.append((beside - fit.rotation[:2] @ BALL_CM) / EYEBALL_CM)
            weights.append(float(np.sum((corners[0] - corners[1]) ** 2)))
        right, up = np.average(lines, axis=0, weights=weights)
        apart_deg = (_angle(lines[0][0]) - _angle(lines[1][0])) * 2 * min(weights) / sum(weights) - _EYES_APART_DEG
        excess_deg = max(0.0, abs(apart_deg) - _EYES_APART_SPREAD_DEG)
        return GazeMeasure(
            yaw_deg=_angle(right),
            pitch_deg=_angle(up),
            closed=float(max(landmarks.blendshapes[_BLINK_LEFT], landmarks.blendshapes[_BLINK_RIGHT])),
            uncertainty_deg=math.hypot(_PLACE_DEG, _PLACE_CM_PER_PX / fit.pixels_per_cm, excess_deg / 2),
        )


def _angle(sine: float) -> float:
    return math.degrees(math.asin(max(-1.0, min(1.0, sine))))
