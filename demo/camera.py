"""The imaginary camera: people who sway, walk in and out, light that changes, a sensor that is noisy. Never a still."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from demo.people import Cutout
from demo.room import ROOM_WH
from demo.script import Place, Scene, Script

FRAME_WH = (640, 480)
FRAMES_PER_SECOND = 15
WALK_S = 0.8
"""How long it takes to walk in or out."""
_NOISE_FRAMES = 12
_NOISE_SIGMA = 2.5
_SEED = 3

Image = NDArray[np.uint8]


class Camera:
    """Films a script frame by frame. Time alone decides every frame, so the same script gives the same clip."""

    def __init__(self, *, script: Script, room: Image, cutouts: Mapping[str, Cutout]) -> None:
        self._script = script
        self._room = room
        self._cutouts = cutouts
        rng = np.random.default_rng(_SEED)
        shape = (FRAME_WH[1], FRAME_WH[0], 3)
        self._noise = [rng.normal(0, _NOISE_SIGMA, shape).astype(np.int8) for _ in range(_NOISE_FRAMES)]

    def film(self) -> Iterator[Image]:
        """Yield the clip's frames, BGR uint8 ``(480, 640, 3)``, 15 a second."""
        for index in range(round(self._script.duration_s * FRAMES_PER_SECOND)):
            yield self.frame(index)

    def frame(self, index: int) -> Image:
        """Film one frame."""
        at_s = index / FRAMES_PER_SECOND
        picture = self._pan(at_s)
        for letter in sorted(self._cutouts):
            place = place_at(self._script.scenes, letter, at_s)
            if place is not None:
                self._put(picture, letter, place, at_s)
        return self._expose(picture, index)

    def _pan(self, at_s: float) -> Image:
        zoom = 1.0 + 0.03 * math.sin(0.31 * at_s)
        dx = (FRAME_WH[0] - ROOM_WH[0]) / 2 + 22 * math.sin(0.23 * at_s)
        dy = (FRAME_WH[1] - ROOM_WH[1]) / 2 + 14 * math.sin(0.17 * at_s + 1)
        centre = (ROOM_WH[0] / 2, ROOM_WH[1] / 2)
        matrix = cv2.getRotationMatrix2D(centre, 0.5 * math.sin(0.2 * at_s), zoom)
        matrix = _moved(matrix, dx, dy)
        return np.asarray(cv2.warpAffine(self._room, matrix, FRAME_WH, borderMode=cv2.BORDER_REFLECT_101), np.uint8)

    def _put(self, picture: Image, letter: str, place: Place, at_s: float) -> None:
        """Lay a person over the picture at ``place``, swaying as somebody who reads and writes does."""
        cutout = self._cutouts[letter]
        phase = ord(letter)
        zoom = place.face_px / cutout.face_px * (1 + 0.03 * math.sin(0.9 * at_s + phase))
        turn_deg = 1.8 * math.sin(0.7 * at_s + 2 * phase)
        x = place.x * FRAME_WH[0] + 9 * math.sin(0.53 * at_s + phase) + 2 * math.sin(2.3 * at_s)
        y = place.y * FRAME_WH[1] + 5 * math.sin(0.81 * at_s + phase)
        matrix = cv2.getRotationMatrix2D(cutout.face_center_xy, turn_deg, zoom)
        matrix = _moved(matrix, x - cutout.face_center_xy[0], y - cutout.face_center_xy[1])
        image = cv2.warpAffine(cutout.image, matrix, FRAME_WH, flags=cv2.INTER_AREA)
        alpha = cv2.warpAffine(cutout.alpha, matrix, FRAME_WH)
        behind = cv2.cvtColor(1.0 - alpha, cv2.COLOR_GRAY2BGR)
        np.copyto(picture, cv2.add(cv2.multiply(picture, behind, dtype=cv2.CV_8U), image))

    def _expose(self, picture: Image, index: int) -> Image:
        """Let the light drift and a cloud pass now and then, and add the sensor's noise."""
        at_s = index / FRAMES_PER_SECOND
        gain = 1.0 + 0.05 * math.sin(0.4 * at_s) + 0.03 * math.sin(1.7 * at_s)
        lit = cv2.convertScaleAbs(picture, alpha=gain, beta=3 * math.sin(0.9 * at_s))
        noise = np.roll(self._noise[(index * 7) % _NOISE_FRAMES], 17 * index, axis=1)
        return np.asarray(cv2.add(lit, noise, dtype=cv2.CV_8U), dtype=np.uint8)


def _moved(matrix: cv2.typing.MatLike, dx: float, dy: float) -> NDArray[np.float64]:
    shift: NDArray[np.float64] = np.array([[0.0, 0.0, dx], [0.0, 0.0, dy]])
    return np.add(matrix, shift, dtype=np.float64)


def place_at(scenes: tuple[Scene, ...], letter: str, at_s: float) -> Place | None:
    """Tell where a person is at a time, walking included; ``None`` when out of sight."""
    index = max(i for i, scene in enumerate(scenes) if scene.start_s <= at_s)
    now = scenes[index].places.get(letter)
    if index == 0:
        return now
    before = scenes[index - 1].places.get(letter)
    share = (at_s - scenes[index].start_s) / WALK_S
    if share >= 1 or (now is None and before is None):
        return now
    start, end = before or _outside(now, coming=True), now or _outside(before, coming=False)
    share = share * share * (3 - 2 * share)
    return Place(
        x=start.x + (end.x - start.x) * share,
        y=start.y + (end.y - start.y) * share,
        face_px=start.face_px + (end.face_px - start.face_px) * share,
    )


def _outside(place: Place | None, *, coming: bool) -> Place:
    """Return the place beyond the edge from which somebody comes, or to which somebody goes.

    Who sits in the middle comes from the left and goes to the right, so that two who change places do not collide.
    """
    assert place is not None, "somebody who walks comes from, or goes to, a place"
    left = place.x < 0.5 or (place.x == 0.5 and coming)
    return Place(x=-0.6 if left else 1.6, y=place.y + 0.02, face_px=place.face_px)
