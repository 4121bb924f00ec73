"""A photograph whose head can be turned: a generated candidate for the challenge at check-in, not a person's movement.

The 478 landmarks of the face are turned in space and the picture is drawn along, triangle by triangle, up to a ring
around the head that stays. So depth shows as it does in a head, and the networks see it; hair and background smear.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from detection.engine.challenge import Prompt
from detection.engine.pipeline import Pipeline

Image = NDArray[np.uint8]
Points = NDArray[np.float64]

_RING, _RING_SIZE = 24, 1.9
_INNER_LIPS = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95)
_LOWER_LIP = 14
_MOUTH_DARK = (28, 22, 40)
_TURN_DEG, _UP_DEG, _CLOSER, _OPEN = 30.0, 22.0, 1.3, 0.22


class Puppet:
    """A photograph, BGR uint8 with one face, that makes the movements a challenge asks for."""

    def __init__(self, photograph: Image, pipeline: Pipeline) -> None:
        self._image = photograph
        self._points = _landmarks(photograph, pipeline)
        self._ring = _ring(self._points[:, :2], photograph)
        self._triangles = _delaunay(np.vstack([self._points[:, :2], self._ring]), photograph)

    def pose(self, prompt: Prompt | None, share: float = 1.0) -> Image:
        """Draw the photograph with a movement done to that share; None: at rest."""
        if prompt is None or share <= 0:
            return self._image.copy()
        if prompt is Prompt.COME_CLOSER:
            return self._closer(1 + (_CLOSER - 1) * share)
        if prompt is Prompt.OPEN_MOUTH:
            return self._drawn(self._opened(_OPEN * share), mouth=True)
        yaw = {Prompt.TURN_LEFT: _TURN_DEG, Prompt.TURN_RIGHT: -_TURN_DEG}.get(prompt, 0.0) * share
        pitch = _UP_DEG * share if prompt is Prompt.LOOK_UP else 0.0
        return self._drawn(self._turned(yaw, pitch))

    def _closer(self, factor: float) -> Image:
        height, width = self._image.shape[:2]
        x, y = self._points[:, :2].mean(axis=0)
        matrix = np.array([[factor, 0, x - factor * x], [0, factor, y - factor * y]])
        return np.asarray(cv2.warpAffine(self._image, matrix, (width, height)), np.uint8)

    def _turned(self, yaw_deg: float, pitch_deg: float) -> Points:
        """Return the landmarks turned about a place behind the face: nose to the picture's right, and up."""
        middle = self._points.mean(axis=0)
        middle[2] += 0.35 * np.ptp(self._points[:, 0])  # the neck's axis lies behind the face
        x, y, z = (self._points - middle).T
        yaw, pitch = math.radians(yaw_deg), math.radians(pitch_deg)
        x, z = x * math.cos(yaw) - z * math.sin(yaw), x * math.sin(yaw) + z * math.cos(yaw)
        y, z = y * math.cos(pitch) + z * math.sin(pitch), z * math.cos(pitch) - y * math.sin(pitch)
        return np.stack([x, y, z], axis=1) + middle

    def _opened(self, share: float) -> Points:
        """Return the landmarks with the jaw lowered by a share of the face's height."""
        points = self._points.copy()
        lip = points[_LOWER_LIP, 1]
        corners = points[[78, 308], 0]
        across = np.clip(1 - np.abs(points[:, 0] - corners.mean()) / (1.6 * np.ptp(corners)), 0, 1)
        lower = np.isin(np.arange(len(points)), _INNER_LIPS[11:]) | (points[:, 1] >= lip)
        points[:, 1] += share * np.ptp(points[:, 1]) * np.sqrt(across) * lower
        return points

    def _drawn(self, moved: Points, *, mouth: bool = False) -> Image:
        source = np.vstack([self._points[:, :2], self._ring]).astype(np.float32)
        target = np.vstack([moved[:, :2], self._ring]).astype(np.float32)
        depth = np.concatenate([moved[:, 2], np.full(len(self._ring), moved[:, 2].max() + 1)])
        height, width = self._image.shape[:2]
        owner = np.full((height, width), -1, np.int32)
        order = np.argsort(-depth[self._triangles].mean(axis=1))
        inverse = np.zeros((len(self._triangles), 2, 3), np.float32)
        for index in order:
            corners = self._triangles[index]
            if abs(_area(target[corners])) < 0.5:
                continue
            cv2.fillConvexPoly(owner, np.rint(target[corners]).astype(np.int32), int(index))
            inverse[index] = cv2.getAffineTransform(target[corners], source[corners])
        rows, columns = np.mgrid[:height, :width].astype(np.float32)
        here = np.stack([columns, rows, np.ones_like(rows)], axis=-1)
        there = np.where(owner[..., None] >= 0, np.einsum("hwij,hwj->hwi", inverse[owner], here), here[..., :2])
        drawn = cv2.remap(self._image, there.astype(np.float32), None, cv2.INTER_LINEAR)  # type: ignore[call-overload]
        if mouth:
            cv2.fillPoly(drawn, [np.rint(moved[list(_INNER_LIPS), :2]).astype(np.int32)], _MOUTH_DARK, cv2.LINE_AA)
        return np.asarray(drawn, np.uint8)


def _landmarks(image: Image, pipeline: Pipeline) -> Points:
    face = pipeline.faces.detect(image)[0]
    return np.asarray(pipeline.detector("landmarks").find(image, face, twice=True).points, np.float64)


def _ring(points: Points, image: Image) -> Points:
    height, width = image.shape[:2]
    middle, size = points.mean(axis=0), np.ptp(points, axis=0) / 2 * _RING_SIZE
    angles = np.linspace(0, 2 * np.pi, _RING, endpoint=False)
    around = middle + np.stack([np.cos(angles), np.sin(angles)], axis=1) * size
    return np.clip(around, 1, (width - 2, height - 2))


def _delaunay(points: Points, image: Image) -> NDArray[np.int32]:
    height, width = image.shape[:2]
    plane = cv2.Subdiv2D((-1, -1, width + 2, height + 2))
    numbers: dict[tuple[int, int], int] = {}
    for number, (x, y) in enumerate(points.astype(np.float32)):
        plane.insert((float(x), float(y)))
        numbers.setdefault((round(float(x) * 8), round(float(y) * 8)), number)
    corners = plane.getTriangleList().reshape(-1, 3, 2)
    known = [[numbers.get((round(float(x) * 8), round(float(y) * 8)), -1) for x, y in each] for each in corners]
    return np.array([each for each in known if min(each) >= 0], np.int32)


def _area(corners: NDArray[np.float32]) -> float:
    (ax, ay), (bx, by), (cx, cy) = corners
    return float((bx - ax) * (cy - ay) - (cx - ax) * (by - ay)) / 2
