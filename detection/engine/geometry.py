"""Geometry of a face's five landmarks: alignment to a template, and a coarse head turn."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

ALIGNED_SIZE = 112
_TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float64
)
"""Where the five landmarks lie in a 112 x 112 face crop: the layout ArcFace introduced and SFace was trained on."""

_FACE_X, _FACE_Y = (16.0, 96.0), (20.0, 112.0)
"""Where brow, cheeks and chin lie in that crop."""

# An average head, in millimetres: 63 between the eyes, 68 from their line down to the mouth's, the nose tip 28 before
# the plane of eyes and mouth and 39 below the eyes (anthropometric means; heads differ by about a tenth).
_NOSE_DEPTH_IN_WIDTHS = 28 / 63
_NOSE_DEPTH_IN_HEIGHTS = 28 / 68
_NOSE_HEIGHT = 39 / 68


def similarity_transform(source: NDArray[np.float32], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the 2 x 3 matrix of the rotation, scale and shift that best maps ``source`` to ``target`` (both (N, 2)).

    Least squares in closed form (Umeyama 1991, in two dimensions, where the rotation needs no decomposition).
    Points that all coincide have no scale and raise ``ValueError``.
    """
    points = np.asarray(source, np.float64)
    from_mean, to_mean = points.mean(axis=0), target.mean(axis=0)
    a, b = points - from_mean, target - to_mean
    spread = float((a * a).sum())
    if spread < 1e-9:
        raise ValueError("the landmarks coincide")
    cosine = float((a * b).sum()) / spread
    sine = float((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum()) / spread
    matrix = np.array([[cosine, -sine], [sine, cosine]])
    return np.hstack([matrix, (to_mean - matrix @ from_mean)[:, None]])


def align(image: NDArray[np.uint8], landmarks: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Cut the face out of a BGR picture, upright and scaled: uint8 ``(112, 112, 3)``, black beyond the edge."""
    matrix = similarity_transform(landmarks, _TEMPLATE)
    return np.asarray(cv2.warpAffine(image, matrix, (ALIGNED_SIZE, ALIGNED_SIZE), flags=cv2.INTER_LINEAR), np.uint8)


def head_turn(landmarks: NDArray[np.float32]) -> tuple[float, float]:
    """Return coarse ``(yaw_deg, pitch_deg)``, signs of the glossary, from where the nose lies between eyes and mouth.

    The nose stands out of the face's plane, so it moves against eyes and mouth as the head turns. Good to about ten
    degrees: enough for a gate, not for a measurement. Landmarks on one line are a face seen from the side: 90.
    """
    left_eye, right_eye, nose, left_mouth, right_mouth = np.asarray(landmarks, np.float64)
    eyes, mouth = (left_eye + right_eye) / 2, (left_mouth + right_mouth) / 2
    across, down = right_eye - left_eye, mouth - eyes  # the face's own axes: a tilted head is not turned
    width, height = float(np.hypot(*across)), float(np.hypot(*down))
    if width < 1e-6 or height < 1e-6:
        return 90.0, 0.0
    sideways = float((nose - eyes - down * _NOSE_HEIGHT) @ across) / width**2
    downwards = float((nose - eyes) @ down) / height**2 - _NOSE_HEIGHT
    yaw_deg = math.degrees(math.atan(sideways / _NOSE_DEPTH_IN_WIDTHS))
    pitch_deg = -math.degrees(math.atan(downwards / _NOSE_DEPTH_IN_HEIGHTS))
    return yaw_deg, pitch_deg


def inside_share(landmarks: NDArray[np.float32], shape_hw: tuple[int, ...]) -> float:
    """Return how much of a face lies inside its picture, 0 to 1; ``shape_hw`` is the picture's height and width.

    The face is taken to be where an aligned one is: the box that a detector gives ends at the picture's edge. 1 where
    the landmarks coincide and tell nothing.
    """
    try:
        matrix = similarity_transform(landmarks, _TEMPLATE)
    except ValueError:
        return 1.0
    across, down = np.meshgrid(np.linspace(*_FACE_X, 17), np.linspace(*_FACE_Y, 17))
    aligned = np.stack([across.ravel(), down.ravel()], axis=1)
    points = (aligned - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
    height, width = shape_hw[:2]
    return float(((points >= 0) & (points <= (width, height))).all(axis=1).mean())
