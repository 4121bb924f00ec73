"""Face detectors of the SCRFD kind (InsightFace): strides 8, 16, 32, two anchors, distances as boxes, 5 landmarks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detection.engine.detectors.faces import MAX_SIDE, FaceDetector, Image
from detection.engine.feeds import planes
from detection.engine.model import Array, Model
from detection.engine.observations import Face
from detection.engine.weights import Weight
from detection.engine.yunet import MIN_SCORE, scale_down, suppress

STRIDES = (8, 16, 32)
ANCHORS = 2
"""Per cell, one over the other."""
_MEAN, _SCALE = 127.5, 128.0


def build(model: Model, *, weight: Weight) -> ScrfdDetector:
    """Return the detector."""
    return ScrfdDetector(model)


class ScrfdDetector(FaceDetector):
    """Finds every face in a picture, one picture a run; each is looked at once, a photograph or not."""

    def find(self, images: Sequence[Image], thorough: Sequence[bool]) -> list[list[Face]]:
        """Find the faces of several pictures, as ``FaceDetector`` does."""
        return [self._detect_one(image) for image in images]

    def _detect_one(self, image: Image) -> list[Face]:
        scaled, factor = scale_down(image, MAX_SIDE)
        blob = feed(scaled)
        outputs = self._model.run({self._model.input_names[0]: blob})
        return suppress(decode(outputs, blob.shape[3], blob.shape[2], 1 / factor))


def feed(image: Image) -> Array:
    """Turn BGR uint8 into float32 ``(1, 3, H, W)``, RGB, black added right and below up to multiples of 32."""
    return (planes(image, multiple=STRIDES[-1], rgb=True) - _MEAN) / _SCALE


def decode(outputs: Sequence[Array], width: int, height: int, factor: float) -> list[Face]:
    """Turn the nine outputs (scores, boxes, landmarks, each at the three strides) into faces, scaled by ``factor``.

    Boxes are distances from the cell's corner to left, top, right and bottom, landmarks offsets from it, in strides.
    Overlapping faces are included. An output of another size raises ``ValueError``.
    """
    faces: list[Face] = []
    for index, stride in enumerate(STRIDES):
        rows, columns = height // stride, width // stride
        count = rows * columns * ANCHORS
        scores, boxes, points = (
            np.asarray(outputs[index + 3 * kind], np.float32).reshape(count, size)
            for kind, size in enumerate((1, 4, 10))
        )
        chosen = np.flatnonzero(scores[:, 0] >= MIN_SCORE)
        corners = _corners(rows, columns)[chosen]
        faces += _faces(scores[chosen, 0], boxes[chosen], points[chosen], corners, stride * factor)
    return faces


def _corners(rows: int, columns: int) -> NDArray[np.float32]:
    """Return each anchor's cell as ``(column, row)``."""
    row, column = np.divmod(np.arange(rows * columns), columns)
    return np.repeat(np.stack([column, row], axis=1), ANCHORS, axis=0).astype(np.float32)


def _faces(scores: Array, boxes: Array, points: Array, corners: Array, pixels: float) -> list[Face]:
    edges = np.hstack([corners - boxes[:, :2], corners + boxes[:, 2:]]) * pixels
    landmarks = ((points.reshape(-1, 5, 2) + corners[:, None]) * pixels).astype(np.float32)
    found = []
    for score, edge, marks in zip(scores, edges, landmarks, strict=True):
        left, top, right, bottom = (float(value) for value in edge)
        found.append(Face((left, top, right, bottom), float(score), marks))
    return found
