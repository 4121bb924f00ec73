"""How well a face can be judged, and whether a picture is good enough to enrol with.

The limits come from photographs made worse step by step, watching when a person's own comparison score starts to fall:
blur, motion, darkness, glare and size all leave it nearly untouched up to a point.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from detection.engine import geometry
from detection.engine.observations import Face, FaceQuality

MIN_SCORE = 0.6
"""A face less certain than this is none."""
MIN_WIDTH_PX = 64.0
"""Half of what the network sees: smaller faces are mostly interpolation."""
MIN_SHARPNESS = 0.013
MIN_BRIGHTNESS = 40.0
MIN_CONTRAST = 12.0
MAX_BRIGHTNESS = 225.0
MAX_TURN_DEG = 25.0
_BYSTANDER_WIDTH = 0.25
"""A face narrower than this share of the largest is a picture on the wall or somebody far away, not a second person."""

_CENTRE = slice(12, 100)
"""Of an aligned face of 112 pixels: without the corners, where the background is."""


@dataclass(frozen=True, slots=True)
class QualityProblem:
    """Why a picture cannot be enrolled: ``measured`` is beyond ``threshold``; ``message`` says what to do about it."""

    code: str
    message: str
    measured: float
    threshold: float


def assess(image: NDArray[np.uint8], faces: Sequence[Face]) -> list[QualityProblem]:
    """Say what speaks against enrolling with a picture; empty when nothing does.

    ``image`` is BGR uint8 ``(H, W, 3)``, ``faces`` what ``FaceDetector.detect`` found in it. Codes: ``face_missing``,
    ``faces_several``, ``face_too_small``, ``image_dark``, ``image_bright``, ``image_blurred``, ``face_turned``.
    """
    people = _people(faces)
    if not people:
        return [_problem("face_missing", "No face was found. Sit in front of the camera and look into it.", 0, 1)]
    if len(people) > 1:
        message = f"{len(people)} faces were found. Only you may be in the picture."
        return [_problem("faces_several", message, len(people), 1)]
    return _face_problems(measure_face(image, people[0]))


def _people(faces: Sequence[Face]) -> list[Face]:
    certain = [face for face in faces if face.score >= MIN_SCORE]
    widest = max((face.width_px for face in certain), default=0.0)
    return [face for face in certain if face.width_px >= widest * _BYSTANDER_WIDTH]


def _face_problems(quality: FaceQuality) -> list[QualityProblem]:
    turn_deg = max(abs(quality.yaw_deg), abs(quality.pitch_deg))
    checks = [
        (quality.width_px < MIN_WIDTH_PX, "face_too_small", quality.width_px, MIN_WIDTH_PX),
        (quality.brightness < MIN_BRIGHTNESS, "image_dark", quality.brightness, MIN_BRIGHTNESS),
        (quality.brightness > MAX_BRIGHTNESS, "image_bright", quality.brightness, MAX_BRIGHTNESS),
        (quality.contrast < MIN_CONTRAST, "image_dark", quality.contrast, MIN_CONTRAST),
        (quality.sharpness < MIN_SHARPNESS, "image_blurred", quality.sharpness, MIN_SHARPNESS),
        (turn_deg > MAX_TURN_DEG, "face_turned", turn_deg, MAX_TURN_DEG),
    ]
    problems = {code: _problem(code, _MESSAGES[code], value, limit) for bad, code, value, limit in checks if bad}
    return list(problems.values())


_MESSAGES = {
    "face_too_small": "Your face is too small in the picture. Come closer to the camera.",
    "image_dark": "Your face is too dark. Turn on a light in front of you, and mind the window behind you.",
    "image_bright": "Your face is too bright. Move away from the lamp or window that shines on it.",
    "image_blurred": "The picture is blurred. Hold still, and wipe the lens if it is smeared.",
    "face_turned": "You are looking to the side. Look straight into the camera.",
}


def _problem(code: str, message: str, measured: float, threshold: float) -> QualityProblem:
    return QualityProblem(code, message, round(float(measured), 4), threshold)


def measure_face(image: NDArray[np.uint8], face: Face) -> FaceQuality:
    """Measure how well a face in a BGR picture can be judged."""
    return measure_aligned(geometry.align(image, face.landmarks), face)


def measure_aligned(aligned: NDArray[np.uint8], face: Face) -> FaceQuality:
    """Measure a face that has been cut out already; ``aligned`` is BGR uint8 ``(112, 112, 3)``."""
    grey = np.asarray(cv2.cvtColor(aligned, cv2.COLOR_BGR2GRAY), np.uint8)[_CENTRE, _CENTRE]
    yaw_deg, pitch_deg = geometry.head_turn(face.landmarks)
    poorest, richest = _detail(grey)
    return FaceQuality(
        width_px=face.width_px,
        sharpness=poorest,
        brightness=float(grey.mean()),
        contrast=float(grey.std()),
        yaw_deg=yaw_deg,
        pitch_deg=pitch_deg,
        evenness=poorest / richest if richest > 0 else 1.0,
    )


def sharpness(grey: NDArray[np.uint8]) -> float:
    """Return how much fine detail a grey picture has in its poorest direction, relative to its contrast.

    The smaller eigenvalue of the mean structure tensor over the variance: of grey values squared per pixel squared.
    Motion blurs one direction only, so the poorest one counts; light and contrast cancel; noise of single pixels is
    smoothed away first. An aligned face has about 0.02 to 0.035 when sharp; 0.011 where the comparison score falters.
    """
    return _detail(grey)[0]


def _detail(grey: NDArray[np.uint8]) -> tuple[float, float]:
    """Return the fine detail in the poorest and in the richest direction."""
    smooth = cv2.GaussianBlur(grey.astype(np.float32), (0, 0), 1.0)
    across, down = cv2.Sobel(smooth, cv2.CV_32F, 1, 0) / 8, cv2.Sobel(smooth, cv2.CV_32F, 0, 1) / 8
    xx, yy, xy = float((across * across).mean()), float((down * down).mean()), float((across * down).mean())
    middle, half = (xx + yy) / 2, float(np.hypot((xx - yy) / 2, xy))
    contrast = max(float(smooth.var()), 1.0)
    return (middle - half) / contrast, (middle + half) / contrast
