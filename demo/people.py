"""The people of the demo: hash-pinned, credited photographs, cut out of their backgrounds.

They are called A, B and C. Nothing here is a still: ``demo.camera`` moves, lights and films what is cut out here.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from detection.engine.weights import weights_path

_CUT_SCALE = 0.5  # GrabCut at half size: a quarter of the time, and the edge is softened anyway
_RIM = 5
_SEED = 20  # GrabCut draws its first clusters at random


class MaterialError(RuntimeError):
    """The demo's material cannot be made; the message says what is missing or wrong."""


@dataclass(frozen=True, slots=True)
class Person:
    """A person, the photograph that is filmed, and where the face is in it (x, y, width, height in pixels).

    The box belongs to the pinned file, so it is data, not something to be detected again at every start.
    """

    letter: str
    filmed: str
    face_xywh: tuple[int, int, int, int]
    enrolled: str | None = None
    """Another photograph of the same person, taken years apart; given to the service as it is."""


PEOPLE = {
    "A": Person("A", filmed="photo_a_2", face_xywh=(200, 125, 277, 383), enrolled="photo_a_1"),
    "B": Person("B", filmed="photo_b_1", face_xywh=(212, 161, 296, 408)),
    "C": Person("C", filmed="photo_c_1", face_xywh=(222, 157, 237, 344)),
}


@dataclass(frozen=True, slots=True)
class Cutout:
    """A person without the background. ``image`` is BGR uint8 already multiplied by ``alpha`` (float32 0-1)."""

    image: NDArray[np.uint8]
    alpha: NDArray[np.float32]
    face_center_xy: tuple[float, float]
    face_px: float


def read_photograph(name: str) -> NDArray[np.uint8]:
    """Read a photograph of the manifest as BGR; raise ``MaterialError`` when it is no picture."""
    path = weights_path(name)
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise MaterialError(f"{path} is not a picture OpenCV can read")
    return np.asarray(image, dtype=np.uint8)


def cut_out(person: Person) -> Cutout:
    """Cut a person out of the filmed photograph, with the clothes continued so that no edge shows."""
    photo = read_photograph(person.filmed)
    small = cv2.resize(photo, None, fx=_CUT_SCALE, fy=_CUT_SCALE, interpolation=cv2.INTER_AREA)
    hint = _hint_mask(small.shape[:2], tuple(v * _CUT_SCALE for v in person.face_xywh))
    cv2.setRNGSeed(_SEED)
    background, foreground = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(small, hint, (0, 0, 1, 1), background, foreground, 4, cv2.GC_INIT_WITH_MASK)
    alpha = _soften(_largest_part((hint == cv2.GC_FGD) | (hint == cv2.GC_PR_FGD)))
    full = cv2.resize(alpha, (photo.shape[1], photo.shape[0]), interpolation=cv2.INTER_LINEAR)
    return _continue_clothes(photo, np.asarray(full, dtype=np.float32), person.face_xywh)


def _hint_mask(shape_hw: tuple[int, ...], face_xywh: tuple[float, ...]) -> NDArray[np.uint8]:
    """Tell GrabCut where a portrait's head and shoulders are sure, likely, or impossible."""
    height, width = shape_hw[:2]
    x, y, w, h = face_xywh
    cx, cy, shoulder = x + w / 2, y + h / 2, y + h * 1.25
    mask = np.full((height, width), cv2.GC_PR_BGD, np.uint8)
    likely = [(0, height), (width * 0.05, shoulder + h * 0.35), (cx - w * 0.5, shoulder)]
    likely += [(cx + w * 0.5, shoulder), (width * 0.95, shoulder + h * 0.35), (width, height)]
    sure = [(cx - w * 0.9, height), (cx - w * 0.35, shoulder), (cx + w * 0.35, shoulder), (cx + w * 0.9, height)]
    centre = (int(cx), int(cy))
    cv2.ellipse(mask, centre, (int(w * 0.95), int(h * 0.8)), 0, 0, 360, cv2.GC_PR_FGD, -1)
    cv2.fillPoly(mask, [np.array(likely, dtype=np.int32)], cv2.GC_PR_FGD)
    cv2.ellipse(mask, centre, (int(w * 0.5), int(h * 0.52)), 0, 0, 360, cv2.GC_FGD, -1)
    cv2.fillPoly(mask, [np.array(sure, dtype=np.int32)], cv2.GC_FGD)
    mask[: max(2, int(y - h * 0.32))] = cv2.GC_BGD
    mask[: int(cy), : max(1, int(cx - w * 1.15))] = cv2.GC_BGD
    mask[: int(cy), int(cx + w * 1.15) :] = cv2.GC_BGD
    return mask


def _largest_part(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    return np.asarray(labels == largest, dtype=np.uint8)


def _soften(mask: NDArray[np.uint8]) -> NDArray[np.float32]:
    closed = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8))
    inner = cv2.erode(closed, np.ones((3, 3), np.uint8)).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(inner, (0, 0), 1.8), dtype=np.float32)


def _continue_clothes(
    photo: NDArray[np.uint8], alpha: NDArray[np.float32], face_xywh: tuple[int, int, int, int]
) -> Cutout:
    """Mirror the clothes beyond the photograph's edges, sleeves rounded off: the photographer cut through them."""
    photo, alpha = photo[:-_RIM, _RIM:-_RIM], alpha[:-_RIM, _RIM:-_RIM]  # scans and codecs leave a pale rim
    height, width = alpha.shape
    x, y, w, h = face_xywh
    x -= _RIM
    margin, below = width // 3, height // 5
    wide = cv2.copyMakeBorder(photo, 0, below, margin, margin, cv2.BORDER_REFLECT_101)
    wide_alpha = cv2.copyMakeBorder(alpha, 0, below, margin, margin, cv2.BORDER_REPLICATE)
    body = np.zeros_like(wide_alpha)
    body[:, margin : margin + width] = 1.0
    shoulders = (int(margin + x + w / 2), int(height * 1.2))
    cv2.ellipse(body, shoulders, (int(width * 0.5 + margin * 0.6), int(height * 0.56)), 0, 180, 360, 1.0, -1)
    body[shoulders[1] :] = body[shoulders[1] - 1]
    wide_alpha = wide_alpha * cv2.GaussianBlur(body, (0, 0), 4)
    image = (wide * wide_alpha[..., None]).astype(np.uint8)
    return Cutout(image, wide_alpha.astype(np.float32), (margin + x + w / 2, y + h / 2), float(w))
