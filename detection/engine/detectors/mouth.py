"""Measure how far the mouth is open, from the landmarks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from detection.engine.observations import VIDEO, LandmarksMeasure
from detection.engine.samples import VideoSample

_UPPER, _LOWER, _LEFT, _RIGHT = 13, 14, 78, 308
"""Landmarks of the inner lips: their middles and their corners."""
_JAW_OPEN = 25
"""Blendshape, in MediaPipe's order."""


@dataclass(frozen=True, slots=True)
class MouthMeasure:
    """``open``: the gap between the lips as a share of the mouth's width. ``jaw``: how far the jaw hangs, 0 to 1."""

    open: float
    jaw: float

    def to_dict(self) -> dict[str, float]:
        """Return the JSON-able form."""
        return {"open": round(self.open, 3), "jaw": round(self.jaw, 3)}


class MouthDetector:
    """Measures the mouth on the landmarks of the largest face."""

    name = "mouth"
    stream = VIDEO
    models = ()

    def due(self, sample: VideoSample) -> bool:
        """Measure wherever there are landmarks."""
        return sample.job.policy.detectors.mouth.enabled and sample.landmarks is not None

    def measure(self, samples: Sequence[VideoSample]) -> list[MouthMeasure]:
        """Measure each frame."""
        return [_of_landmarks(landmarks) for sample in samples if (landmarks := sample.landmarks)]


def _of_landmarks(landmarks: LandmarksMeasure) -> MouthMeasure:
    points = landmarks.points[:, :2]
    width = float(np.linalg.norm(points[_RIGHT] - points[_LEFT]))
    gap = float(np.linalg.norm(points[_LOWER] - points[_UPPER]))
    return MouthMeasure(gap / max(width, 1e-6), float(landmarks.blendshapes[_JAW_OPEN]))
