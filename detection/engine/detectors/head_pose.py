"""Measure which way the head points, from the landmarks."""

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

Angles = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class HeadPoseMeasure:
    """Where the head points, signs of the glossary: zero into the lens, nose to image right, up, clockwise."""

    pitch_deg: float
    yaw_deg: float
    roll_deg: float

    def to_dict(self) -> dict[str, float]:
        """Return the JSON-able form."""
        return {
            "pitch_deg": round(self.pitch_deg, 2),
            "yaw_deg": round(self.yaw_deg, 2),
            "roll_deg": round(self.roll_deg, 2),
        }


class HeadPoseDetector:
    """Measures the head's angles on the landmarks of the largest face."""

    name = "head_pose"
    stream = VIDEO
    models = ()

    def __init__(self, canonical_face: bytes) -> None:
        self._face = CanonicalFace(canonical_face)

    def due(self, sample: VideoSample) -> bool:
        """Measure wherever there are landmarks."""
        return sample.job.policy.detectors.head_pose.enabled and sample.landmarks is not None

    def measure(self, samples: Sequence[VideoSample]) -> list[HeadPoseMeasure]:
        """Measure each frame; where there was a look in the mirror, the mean of both."""
        return [self.of_landmarks(landmarks) for sample in samples if (landmarks := sample.landmarks)]

    def of_landmarks(self, landmarks: LandmarksMeasure) -> HeadPoseMeasure:
        """Measure the head's angles on its landmarks."""
        pitch, yaw, roll = self.angles(landmarks.points)
        if landmarks.mirrored is not None:
            other_pitch, other_yaw, other_roll = self.angles(landmarks.mirrored)
            pitch, yaw, roll = (pitch + other_pitch) / 2, (yaw - other_yaw) / 2, _half_way(roll, -other_roll)
        return HeadPoseMeasure(pitch, yaw, roll)

    def angles(self, points: NDArray[np.float64]) -> Angles:
        """Return pitch, yaw and roll in degrees for points ``(N, 2 or more)`` in pixels, in the canonical order."""
        return euler(self._face.fit(points).rotation)


def euler(rotation: NDArray[np.float64]) -> Angles:
    """Return pitch, yaw and roll in degrees, signs of the glossary, of a rotation of the face before the camera.

    ``rotation``: ``(3, 3)``, axes x right, y up, z towards the camera, taken apart as ``X(pitch) Y(yaw) Z(roll)``: the
    face is rolled first, then turned about the camera's y, then about its x, as the face models behind the labels
    of AFLW2000 and 300W-LP are. So pitch and yaw alone say which way the nose points, however the head is tilted.
    """
    pitch = -math.degrees(math.atan2(-rotation[1, 2], rotation[2, 2]))
    yaw = math.degrees(math.asin(max(-1.0, min(1.0, rotation[0, 2]))))
    roll = -math.degrees(math.atan2(-rotation[0, 1], rotation[0, 0]))
    return pitch, yaw, roll


def _half_way(a: float, b: float) -> float:
    """Return the angle half way between two, in degrees."""
    return a + (((b - a) + 180) % 360 - 180) / 2
