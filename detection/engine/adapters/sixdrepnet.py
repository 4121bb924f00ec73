"""Head pose networks of the 6DRepNet kind: 224 by 224 pixels, ImageNet's normalisation, a rotation matrix as output."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from detection.engine.adapters import imagenet
from detection.engine.detectors.head_pose import HeadPoseMeasure
from detection.engine.model import Array, Model
from detection.engine.observations import VIDEO
from detection.engine.samples import VideoSample
from detection.engine.weights import Weight

SIZE = 224
_MARGIN = 0.2
"""The published code widens the face detector's box by a fifth on each side."""


def build(model: Model, *, weight: Weight) -> HeadPoseNet:
    """Return the detector."""
    return HeadPoseNet(model)


class HeadPoseNet:
    """Measures which way the head of the largest face points."""

    name = "head_pose"
    stream = VIDEO

    def __init__(self, model: Model) -> None:
        self._model = model
        self.models = (model,)

    def due(self, sample: VideoSample) -> bool:
        """Measure wherever there is a face."""
        return sample.job.policy.detectors.head_pose.enabled and bool(sample.faces)

    def measure(self, samples: Sequence[VideoSample]) -> list[HeadPoseMeasure]:
        """Measure each frame."""
        return [self._measure(sample) for sample in samples]

    def _measure(self, sample: VideoSample) -> HeadPoseMeasure:
        crop = imagenet.cut(sample.job.frame.image, sample.faces[0], margin=_MARGIN)
        rotations = self._model.run({self._model.input_names[0]: imagenet.feed(crop, size=SIZE)})[0]
        yaw_deg, pitch_deg, roll_deg = (float(angle[0]) for angle in angles_deg(rotations))
        return HeadPoseMeasure(pitch_deg=pitch_deg, yaw_deg=yaw_deg, roll_deg=roll_deg)


def angles_deg(rotations: Array) -> tuple[Array, Array, Array]:
    """Return yaw, pitch and roll in degrees, ``(N,)`` each, in the glossary's signs, of ``(N, 3, 3)`` matrices.

    The published code makes its training matrices ``Z Y X`` of the angles that 300W-LP lists, though those belong to a
    face turned ``X Y Z``. Taken apart in the same way, they are those angles again. There yaw grows to image left,
    pitch upwards, roll clockwise; the glossary's yaw grows to image right.
    """
    if rotations.ndim != 3 or rotations.shape[1:] != (3, 3):
        raise ValueError(f"The network gives {rotations.shape}, not (N, 3, 3)")
    across = np.hypot(rotations[:, 0, 0], rotations[:, 1, 0])
    pitch = np.arctan2(rotations[:, 2, 1], rotations[:, 2, 2])
    yaw = np.arctan2(-rotations[:, 2, 0], across)
    roll = np.arctan2(rotations[:, 1, 0], rotations[:, 0, 0])
    return -np.degrees(yaw), np.degrees(pitch), np.degrees(roll)
