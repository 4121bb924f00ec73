"""Find 478 points of the largest face, irises included: MediaPipe's face landmarker (Apache-2.0) without MediaPipe.

The networks inside the bundle run in LiteRT on a crop around YuNet's face. Cut as MediaPipe cuts it: a square half as
large again as the face, turned so that the eyes lie level, 256 x 256 RGB.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from detection.engine.model import FACE_LANDMARKER, Model
from detection.engine.observations import VIDEO, Face, LandmarksMeasure
from detection.engine.samples import VideoSample

MODEL_NAMES = (f"{FACE_LANDMARKER}!face_landmarks_detector.tflite", f"{FACE_LANDMARKER}!face_blendshapes.tflite")

POINTS = 478
IMAGE_LEFT_EYE, IMAGE_RIGHT_EYE = 33, 263
"""The outer corners, from whose line the crop is turned."""

_POINTS_INPUT = "input_12"
_BLENDSHAPES_INPUT = "serving_default_input_points:0"
_INPUT_SIZE = 256
_MARGIN = 1.5

# The points that the blendshape network reads, as MediaPipe's graph lists them.
# fmt: off
_BLENDSHAPE_POINTS = np.array([
    0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65, 66, 67, 70, 78,
    80, 81, 82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136, 144, 145, 146, 148, 149, 150, 152,
    153, 154, 155, 157, 158, 159, 160, 161, 162, 163, 168, 172, 173, 176, 178, 181, 185, 191, 195, 197, 234, 246,
    249, 251, 263, 267, 269, 270, 276, 282, 283, 284, 285, 288, 291, 293, 295, 296, 297, 300, 308, 310, 311, 312,
    314, 317, 318, 321, 323, 324, 332, 334, 336, 338, 356, 361, 362, 365, 373, 374, 375, 377, 378, 379, 380, 381,
    382, 384, 385, 386, 387, 388, 389, 390, 397, 398, 400, 402, 405, 409, 415, 454, 466, 468, 469, 470, 471, 472,
    473, 474, 475, 476, 477,
])
# fmt: on

Image = NDArray[np.uint8]
Points = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Crop:
    """A turned square: centre and side in pixels, the angle of the eyes' line in radians, clockwise."""

    x: float
    y: float
    side: float
    angle: float

    @property
    def matrix(self) -> NDArray[np.float64]:
        """Return the 2 x 3 matrix from pixels of the crop to pixels of the picture."""
        scale, middle = self.side / _INPUT_SIZE, _INPUT_SIZE / 2
        cosine, sine = math.cos(self.angle) * scale, math.sin(self.angle) * scale
        turn = np.array([[cosine, -sine], [sine, cosine]])
        return np.hstack([turn, (np.array([self.x, self.y]) - turn @ [middle, middle])[:, None]])


class LandmarkDetector:
    """Finds the points of the largest face.

    A frame without a predecessor (a still, a session's first) has nothing that could smooth its errors: it is looked at
    again, closer cut, and in the mirror.
    """

    name = "landmarks"
    stream = VIDEO

    def __init__(self, points_model: Model, blendshapes_model: Model) -> None:
        self._points_model = points_model
        self._blendshapes_model = blendshapes_model
        self.models = (points_model, blendshapes_model)

    def due(self, sample: VideoSample) -> bool:
        """Look at every frame with a face."""
        return sample.job.policy.detectors.landmarks.enabled and bool(sample.faces)

    def measure(self, samples: Sequence[VideoSample]) -> list[LandmarksMeasure]:
        """Measure the largest face of each frame."""
        return [
            self.find(sample.job.frame.image, sample.faces[0], twice=sample.job.previous_captured_at is None)
            for sample in samples
        ]

    def find(self, image: Image, face: Face, *, twice: bool = False) -> LandmarksMeasure:
        """Find the points of ``face`` in a BGR picture ``(H, W, 3)``; ``twice``: refine, and look in the mirror too."""
        points, presence = self._look(image, _around(face))
        mirrored = None
        if twice:
            points, presence = self._look(image, _closer(points))
            mirrored, _ = self._look(np.ascontiguousarray(image[:, ::-1]), _mirrored(_closer(points), image.shape[1]))
        return LandmarksMeasure(points, presence, self._blendshapes(points), mirrored)

    def _look(self, image: Image, crop: _Crop) -> tuple[Points, float]:
        matrix = crop.matrix
        cut = cv2.warpAffine(
            image,
            matrix,
            (_INPUT_SIZE, _INPUT_SIZE),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        feed = np.ascontiguousarray(cut[None, ..., ::-1], np.float32) / np.float32(255)
        found, presence, *_ = self._points_model.run({_POINTS_INPUT: feed})
        in_crop = found.reshape(POINTS, 3).astype(np.float64)
        across = in_crop[:, :2] @ matrix[:, :2].T + matrix[:, 2]
        depth = in_crop[:, 2:] * (crop.side / _INPUT_SIZE)
        return np.hstack([across, depth]), _sigmoid(float(presence.ravel()[0]))

    def _blendshapes(self, points: Points) -> NDArray[np.float32]:
        feed = points[None, _BLENDSHAPE_POINTS, :2].astype(np.float32)
        return self._blendshapes_model.run({_BLENDSHAPES_INPUT: feed})[0].ravel()


def _around(face: Face) -> _Crop:
    left, top, right, bottom = face.box_xyxy
    return _crop((left, top, right, bottom), face.landmarks[0], face.landmarks[1])


def _closer(points: Points) -> _Crop:
    left, top = points[:, :2].min(axis=0)
    right, bottom = points[:, :2].max(axis=0)
    return _crop((left, top, right, bottom), points[IMAGE_LEFT_EYE], points[IMAGE_RIGHT_EYE])


def _crop(box: tuple[float, float, float, float], left_eye: NDArray[Any], right_eye: NDArray[Any]) -> _Crop:
    left, top, right, bottom = box
    angle = math.atan2(float(right_eye[1] - left_eye[1]), float(right_eye[0] - left_eye[0]))
    return _Crop((left + right) / 2, (top + bottom) / 2, max(1.0, _MARGIN * max(right - left, bottom - top)), angle)


def _mirrored(crop: _Crop, width: int) -> _Crop:
    return _Crop(width - 1 - crop.x, crop.y, crop.side, -crop.angle)


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-max(-60.0, min(60.0, value))))
