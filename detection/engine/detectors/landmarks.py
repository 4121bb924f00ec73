"""Find 478 points of the largest face, irises included: MediaPipe's face landmarker (Apache-2.0) without MediaPipe.

The networks inside the bundle run on a crop around YuNet's face. Cut as MediaPipe cuts it: a square half as large again
as the face, turned so that the eyes lie level, 256 x 256 RGB.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from detection.engine.batching import run_each
from detection.engine.feeds import unit_rgb
from detection.engine.model import FACE_LANDMARKER, Array, Model
from detection.engine.observations import VIDEO, Face, LandmarksMeasure
from detection.engine.samples import MIN_PRESENCE, VideoSample

MODEL_NAMES = (f"{FACE_LANDMARKER}!face_landmarks_detector.tflite", f"{FACE_LANDMARKER}!face_blendshapes.tflite")

POINTS = 478
IMAGE_LEFT_EYE, IMAGE_RIGHT_EYE = 33, 263
"""The outer corners, from whose line the crop is turned."""

_POINTS_INPUT = "input_12"
_BLENDSHAPES_INPUT = "serving_default_input_points:0"
_INPUT_SIZE = 256
_MARGIN = 1.5
_TIGHTER = 1.2
"""How a still's face is cut where the network sees none in it as usual: of 13 photographs cut off within the face's box
it saw the face in 9 then."""

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
        return self._find(
            [(sample.job.frame.image, sample.faces[0]) for sample in samples],
            [index for index, sample in enumerate(samples) if sample.job.previous_captured_at is None],
        )

    def find(self, image: Image, face: Face, *, twice: bool = False) -> LandmarksMeasure:
        """Find the points of ``face`` in a BGR picture ``(H, W, 3)``; ``twice``: refine, and look in the mirror too."""
        return self._find([(image, face)], [0] if twice else [])[0]

    def _find(self, faces: Sequence[tuple[Image, Face]], twice: Sequence[int]) -> list[LandmarksMeasure]:
        """Find the points of several faces; those at the positions ``twice`` are looked at again."""
        found = self._look([(image, _around(face)) for image, face in faces])
        closer = self._look([(faces[index][0], _closer(found[index][0])) for index in twice])
        found = [dict(zip(twice, closer, strict=True)).get(index, once) for index, once in enumerate(found)]
        unseen = [index for index in twice if found[index][1] < MIN_PRESENCE]
        for cut in (_tighter, _upside_down):
            looks = self._look([(faces[index][0], cut(faces[index][1])) for index in unseen])
            for index, look in zip(unseen, looks, strict=True):
                found[index] = max(found[index], look, key=lambda each: each[1])
        turned = self._look([_in_the_mirror(faces[index][0], _closer(found[index][0])) for index in twice])
        mirrored = {index: points for index, (points, _) in zip(twice, turned, strict=True)}
        blendshapes = self._blendshapes([points for points, _ in found])
        return [
            LandmarksMeasure(points, presence, shapes, mirrored.get(index))
            for index, ((points, presence), shapes) in enumerate(zip(found, blendshapes, strict=True))
        ]

    def _look(self, crops: Sequence[tuple[Image, _Crop]]) -> list[tuple[Points, float]]:
        outputs = run_each(self._points_model, _POINTS_INPUT, [_cut(image, crop) for image, crop in crops])
        return [_read(found, crop) for found, (_, crop) in zip(outputs, crops, strict=True)]

    def _blendshapes(self, faces: Sequence[Points]) -> list[NDArray[np.float32]]:
        feeds = [points[None, _BLENDSHAPE_POINTS, :2].astype(np.float32) for points in faces]
        return [outputs[0].ravel() for outputs in run_each(self._blendshapes_model, _BLENDSHAPES_INPUT, feeds)]


def _cut(image: Image, crop: _Crop) -> Array:
    """Return what the network looks at: RGB float32 0 to 1, ``(1, 256, 256, 3)``."""
    cut = cv2.warpAffine(
        image,
        crop.matrix,
        (_INPUT_SIZE, _INPUT_SIZE),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return unit_rgb(np.asarray(cut, np.uint8))


def _read(outputs: Sequence[Array], crop: _Crop) -> tuple[Points, float]:
    """Return the points in the picture's pixels, and how certain the network is that a face is there."""
    matrix = crop.matrix
    in_crop = outputs[0].reshape(POINTS, 3).astype(np.float64)
    across = in_crop[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    depth = in_crop[:, 2:] * (crop.side / _INPUT_SIZE)
    return np.hstack([across, depth]), _sigmoid(float(outputs[1].ravel()[0]))


def _around(face: Face, margin: float = _MARGIN) -> _Crop:
    left, top, right, bottom = face.box_xyxy
    return _crop((left, top, right, bottom), face.landmarks[0], face.landmarks[1], margin)


def _tighter(face: Face) -> _Crop:
    return _around(face, _TIGHTER)


def _upside_down(face: Face) -> _Crop:
    """YuNet gives a head that stands on its crown landmarks as if it stood upright."""
    crop = _around(face)
    return dataclasses.replace(crop, angle=crop.angle + math.pi)


def _closer(points: Points) -> _Crop:
    left, top = points[:, :2].min(axis=0)
    right, bottom = points[:, :2].max(axis=0)
    return _crop((left, top, right, bottom), points[IMAGE_LEFT_EYE], points[IMAGE_RIGHT_EYE])


def _crop(
    box: tuple[float, float, float, float], left_eye: NDArray[Any], right_eye: NDArray[Any], margin: float = _MARGIN
) -> _Crop:
    left, top, right, bottom = box
    angle = math.atan2(float(right_eye[1] - left_eye[1]), float(right_eye[0] - left_eye[0]))
    return _Crop((left + right) / 2, (top + bottom) / 2, max(1.0, margin * max(right - left, bottom - top)), angle)


def _in_the_mirror(image: Image, crop: _Crop) -> tuple[Image, _Crop]:
    mirrored = _Crop(image.shape[1] - 1 - crop.x, crop.y, crop.side, -crop.angle)
    return np.ascontiguousarray(image[:, ::-1]), mirrored


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-max(-60.0, min(60.0, value))))
