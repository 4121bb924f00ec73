"""Gaze networks of the L2CS-Net kind: 448 by 448 pixels, ImageNet's normalisation, 90 bins of 4 degrees per angle."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from detection.engine.adapters import imagenet
from detection.engine.detectors.gaze import GazeMeasure
from detection.engine.model import Array, Model
from detection.engine.observations import VIDEO, LandmarksMeasure
from detection.engine.samples import VideoSample
from detection.engine.weights import Weight

SIZE = 448
BINS = 90
BIN_DEG = 4.0
FIRST_BIN_DEG = -180.0
_MARGIN = 0.0
"""The published code looks at the face detector's box as it is."""
_BLINKS = (9, 10)
"""Blendshapes of the lids, in MediaPipe's order."""
UNCERTAINTY_DEG = 3.9
"""Its authors' mean error on MPIIGaze, people before their own laptops."""


def build(model: Model, *, weight: Weight) -> GazeNet:
    """Return the detector."""
    return GazeNet(model)


class GazeNet:
    """Measures the line of sight of the largest face."""

    name = "gaze"
    stream = VIDEO

    def __init__(self, model: Model) -> None:
        self._model = model
        self.models = (model,)

    def due(self, sample: VideoSample) -> bool:
        """Measure wherever there is a face."""
        return sample.job.policy.detectors.gaze.enabled and bool(sample.faces)

    def measure(self, samples: Sequence[VideoSample]) -> list[GazeMeasure]:
        """Measure each frame. How far the lids are closed is known where there are landmarks, and else 0."""
        return [self._measure(sample) for sample in samples]

    def _measure(self, sample: VideoSample) -> GazeMeasure:
        crop = imagenet.cut(sample.job.frame.image, sample.faces[0], margin=_MARGIN)
        horizontal, vertical = self._model.run({self._model.input_names[0]: imagenet.feed(crop, size=SIZE)})[:2]
        yaw_deg, pitch_deg = angles_deg(horizontal, vertical)
        return GazeMeasure(float(yaw_deg[0]), float(pitch_deg[0]), _closed(sample), UNCERTAINTY_DEG)


def _closed(sample: VideoSample) -> float:
    landmarks = sample.found.get("landmarks")
    return float(max(landmarks.blendshapes[i] for i in _BLINKS)) if isinstance(landmarks, LandmarksMeasure) else 0.0


def angles_deg(horizontal: Array, vertical: Array) -> tuple[Array, Array]:
    """Return yaw and pitch in degrees, ``(N,)`` each, in the glossary's signs, of the two outputs ``(N, 90)``.

    Each angle is the expectation over the bins. The published code draws the gaze at ``-sin`` of the first output to
    image right and of the second downwards: the first grows to image left, the second upwards.
    """
    return -_expectation(horizontal), _expectation(vertical)


def _expectation(logits: Array) -> Array:
    if logits.ndim != 2 or logits.shape[1] != BINS:
        raise ValueError(f"The network gives {logits.shape}, not (N, {BINS})")
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares = weights / weights.sum(axis=1, keepdims=True)
    return np.asarray(shares @ np.arange(BINS, dtype=np.float64) * BIN_DEG + FIRST_BIN_DEG)
