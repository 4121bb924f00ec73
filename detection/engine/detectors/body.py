"""Find the candidate's shoulders and hands: MediaPipe Pose lite (BlazePose, Apache-2.0).

The network wants a square with a whole person, most of whom a webcam does not see. The face says where that square is,
so that MediaPipe's own person detector is not needed. In it the head is some twenty pixels wide: enough to tell that a
hand is at the face, not what it does there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from detection.engine.batching import run_each
from detection.engine.feeds import unit_rgb
from detection.engine.model import BODY_LANDMARKER, Array, Model
from detection.engine.observations import VIDEO, Face
from detection.engine.samples import VideoSample

MODEL_NAMES = (f"{BODY_LANDMARKER}!pose_landmarks_detector.tflite",)

_SIDE = 256
_FACES_PER_SIDE = 12.0
_FACES_BELOW = 3.5
"""The square is twelve face widths wide and its middle three and a half below the face's. Of 43 portraits, shoulders
found so lie within 0.11 face widths (median) of where they lie in a square laid around these points a second time;
squares from eight to fourteen do alike, smaller ones put shoulders into the face."""
_POINTS = 39
_SHOULDERS = (12, 11)
_HANDS = ((16, 18, 20, 22), (15, 17, 19, 21))
"""Wrist, little finger, index finger and thumb; first the candidate's right side, which an unmirrored picture has on
its left."""
_VISIBLE = 0.5
FAR = 10.0
"""Distance of a hand that is not seen, in face widths."""

Image = NDArray[np.uint8]
Points = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class BodyMeasure:
    """The candidate's posture.

    ``score``: the network's certainty that a body is there. ``shoulders_xy``: middle of the shoulders as shares of the
    picture's width (both axes, so that distances mean the same in both). ``shoulder_width``: as a share of the same;
    a candidate who turns or moves back has a smaller one. ``visible``: the lesser of the shoulders' visibilities.
    ``hand_distance``: from the nearest visible point of a hand to the box of the face, in widths of the face; 0 at the
    face, 10 where no hand is seen. ``hand_side``: ``left`` or ``right`` in the picture, "" where none is seen.
    """

    score: float
    shoulders_xy: tuple[float, float]
    shoulder_width: float
    visible: float
    hand_distance: float = FAR
    hand_side: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-able form."""
        return {
            "score": round(self.score, 3),
            "shoulders_xy": [round(value, 4) for value in self.shoulders_xy],
            "shoulder_width": round(self.shoulder_width, 4),
            "visible": round(self.visible, 3),
            "hand_distance": round(self.hand_distance, 2),
            "hand_side": self.hand_side,
        }


class BodyDetector:
    """Measures the posture of the person with the largest face."""

    name = "body"
    stream = VIDEO

    def __init__(self, model: Model) -> None:
        self._model = model
        self.models = (model,)

    def points(self, image: Image, face: Face) -> tuple[Points, float]:
        """Find the 39 points of the body that a face belongs to.

        Returns float32 ``(39, 3)``, x and y in pixels of ``image`` (BGR uint8, the face was found in it) and how
        visible the point is, 0 to 1; and how certain the network is that a body is there at all.
        """
        return self._points([(image, face)])[0]

    def _points(self, faces: Sequence[tuple[Image, Face]]) -> list[tuple[Points, float]]:
        outputs = run_each(self._model, "input_1", [_cut_out(image, face) for image, face in faces])
        return [_read(found, _to_square(face)) for found, (_, face) in zip(outputs, faces, strict=True)]

    def due(self, sample: VideoSample) -> bool:
        """Measure each ``interval_s``, where a face says where to look."""
        parameters = sample.job.policy.detectors.body
        return parameters.enabled and bool(sample.faces) and sample.is_due(parameters.interval_s)

    def measure(self, samples: Sequence[VideoSample]) -> list[BodyMeasure]:
        """Measure each frame."""
        seen = [(sample.job.frame.image, sample.faces[0]) for sample in samples]
        return [
            _measure(image, face, points, score)
            for (image, face), (points, score) in zip(seen, self._points(seen), strict=True)
        ]


def _cut_out(image: Image, face: Face) -> Array:
    """Return the network's square: RGB float32 0 to 1, ``(1, S, S, 3)``."""
    crop = cv2.warpAffine(image, _to_square(face), (_SIDE, _SIDE), flags=cv2.INTER_LINEAR)
    return unit_rgb(np.asarray(crop, np.uint8))


def _read(outputs: Sequence[Array], to_square: Array) -> tuple[Points, float]:
    raw = np.asarray(outputs[0], np.float32).reshape(_POINTS, 5)
    points = np.empty((_POINTS, 3), np.float32)
    points[:, :2] = (raw[:, :2] - to_square[:, 2]) / to_square[0, 0]
    points[:, 2] = 1 / (1 + np.exp(-np.clip(raw[:, 3], -30, 30)))
    return points, float(outputs[1].ravel()[0])


def _measure(image: Image, face: Face, points: Points, score: float) -> BodyMeasure:
    width = image.shape[1]
    shoulders = points[list(_SHOULDERS)]
    middle = shoulders[:, :2].mean(axis=0) / width
    distance, side = _nearest_hand(points, face, image)
    return BodyMeasure(
        score=score,
        shoulders_xy=(float(middle[0]), float(middle[1])),
        shoulder_width=float(np.hypot(*(shoulders[0, :2] - shoulders[1, :2]))) / width,
        visible=float(shoulders[:, 2].min()),
        hand_distance=distance,
        hand_side=side,
    )


def _to_square(face: Face) -> Array:
    """Return the affine map, float64 ``(2, 3)``, from the picture to the network's square."""
    left, top, right, bottom = face.box_xyxy
    scale = _SIDE / (_FACES_PER_SIDE * max(face.width_px, 1.0))
    middle = np.array([(left + right) / 2, (top + bottom) / 2 + _FACES_BELOW * face.width_px])
    return np.column_stack([np.eye(2) * scale, _SIDE / 2 - scale * middle])


def _nearest_hand(points: Points, face: Face, image: Image) -> tuple[float, str]:
    """Return the distance of the hand nearest to the face, in face widths, and the picture's side it belongs to."""
    left, top, right, bottom = face.box_xyxy
    height, width = image.shape[:2]
    best, nearest_side = FAR, ""
    for side, hand in zip(("left", "right"), _HANDS, strict=True):
        for x, y, visible in points[list(hand)]:
            if visible < _VISIBLE or not (0 <= x < width and 0 <= y < height):
                continue
            off = np.hypot(max(left - x, 0.0, x - right), max(top - y, 0.0, y - bottom)) / max(face.width_px, 1.0)
            if off < best:
                best, nearest_side = float(off), side
    return best, nearest_side
