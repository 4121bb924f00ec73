"""Generated presentations: photographs as a webcam takes the person, and as prints and on screens held before it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from detection.engine.media import decode_image
from detection.engine.weights import weights_path
from detection.evaluation.generate.photographs import PHOTOGRAPHS
from detection.evaluation.generate.tables import write_table

_SIZE_WH = (640, 480)
_WHAT = """Six photographs of four people, each {count} times as a webcam would take the person (a little blur, noise
and compression), as a print held before the camera (paper, dots, pale colours, uneven light), and on a screen (pixels,
bezel, a bluish cast, glare). All is arithmetic on photographs: what is called live here is one, too. Groups are the
kinds; subject is the person. Prints and screens show their edges. Single pictures: rules over time, motion and loops
are not in it."""

Image = NDArray[np.uint8]
Light = NDArray[np.float32]


def make(directory: Path, rng: np.random.Generator, count: int) -> str:
    """Write ``count`` presentations of each kind and photograph, and ``labels.csv``; return what they are."""
    rows: list[tuple[object, ...]] = []
    for name in PHOTOGRAPHS:
        photo = _fit(decode_image(weights_path(f"photo_{name}").read_bytes()))
        for kind, present in KINDS.items():
            for index in range(count):
                file = f"{name}_{kind}_{index:02}.jpg"
                image = _taken(present(photo, rng), rng)
                cv2.imwrite(str(directory / file), image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(70, 92))])
                rows.append((file, int(kind == "live"), name[0].upper(), kind))
    write_table(directory / "labels.csv", ["image_or_video", "live", "subject", "group"], rows)
    return _WHAT.format(count=count)


def _fit(photo: Image) -> Light:
    """Return the photograph as high as the webcam's picture, or as wide where it is wider; 0 to 1."""
    scale = min(_SIZE_WH[0] / photo.shape[1], _SIZE_WH[1] / photo.shape[0])
    scaled = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.asarray(scaled / 255, np.float32)


def _live(photo: Light, rng: np.random.Generator) -> Light:
    """Take the photograph for the webcam's picture: with a wall around it, it would be a print."""
    return photo


def _print(photo: Light, rng: np.random.Generator) -> Light:
    """Print on paper: pale, in dots, a white edge around it, light from one side, held a little askew."""
    grey = photo.mean(axis=2, keepdims=True)
    pale = 0.14 + 0.72 * (grey + (photo - grey) * float(rng.uniform(0.6, 0.9)))
    dots = _grid(pale.shape, float(rng.uniform(2.2, 4.0)), float(rng.uniform(0.2, 1.3)))
    inked = pale + float(rng.uniform(0.04, 0.12)) * dots[..., None] * (1 - pale)
    paper = cv2.copyMakeBorder(inked, 14, 14, 14, 14, cv2.BORDER_CONSTANT, value=(0.9, 0.9, 0.9))
    light = np.linspace(1 - float(rng.uniform(0.1, 0.35)), 1, paper.shape[1], dtype=np.float32)[None, :, None]
    return _placed(paper * light, _room(rng), float(rng.uniform(0.7, 0.95)), float(rng.uniform(-7, 7)))


def _screen(photo: Light, rng: np.random.Generator) -> Light:
    """Show on a screen: its pixels, a bluish cast, glare, a dark bezel around it."""
    columns = np.arange(photo.shape[1]) / float(rng.uniform(0.9, 1.6))
    shift = np.array([0, 1, 2], np.float32)
    stripes = 1 - float(rng.uniform(0.1, 0.3)) * (0.5 + 0.5 * np.cos(2 * np.pi * (columns[:, None] + shift / 3)))
    shown = photo**0.9 * stripes[None].astype(np.float32) * np.array([1.1, 1.0, 0.92], np.float32)
    y, x = np.mgrid[: photo.shape[0], : photo.shape[1]].astype(np.float32)
    centre = rng.uniform(0, photo.shape[1]), rng.uniform(0, photo.shape[0])
    glare = np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * float(rng.uniform(30, 90)) ** 2))
    lit = shown + float(rng.uniform(0.05, 0.3)) * glare[..., None]
    bezel = cv2.copyMakeBorder(lit, 16, 16, 16, 16, cv2.BORDER_CONSTANT, value=(0.05, 0.05, 0.05))
    return _placed(bezel, _room(rng), float(rng.uniform(0.7, 0.95)), float(rng.uniform(-4, 4)))


KINDS: Mapping[str, Callable[[Light, np.random.Generator], Light]] = {
    "live": _live,
    "print": _print,
    "screen": _screen,
}


def _room(rng: np.random.Generator) -> Light:
    """Return a wall in some colour."""
    wall = rng.uniform(0.35, 0.7, 3).astype(np.float32)
    return np.ones((_SIZE_WH[1], _SIZE_WH[0], 3), np.float32) * wall


def _placed(picture: Light, room: Light, size: float, turn_deg: float) -> Light:
    """Put a picture into the room's middle, ``size`` of what would fill it, turned."""
    height, width = picture.shape[:2]
    scale = size * min(_SIZE_WH[0] / width, _SIZE_WH[1] / height)
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), turn_deg, scale)
    turn[:, 2] = turn[:, 2] + np.array(_SIZE_WH) / 2 - np.array([width, height]) / 2
    mask = cv2.warpAffine(np.ones((height, width), np.float32), turn, _SIZE_WH, flags=cv2.INTER_AREA)[..., None]
    moved = cv2.warpAffine(picture, turn, _SIZE_WH, flags=cv2.INTER_AREA)
    return np.asarray(moved * mask + room * (1 - mask), np.float32)


def _grid(shape: tuple[int, ...], period_px: float, angle: float) -> Light:
    """Return a printer's dots, -1 to 1."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return np.asarray(np.cos(2 * np.pi * along / period_px) * np.cos(2 * np.pi * across / period_px), np.float32)


def _taken(scene: Light, rng: np.random.Generator) -> Image:
    """Take a picture of it with a webcam."""
    sharp = cv2.GaussianBlur(scene * float(rng.uniform(0.8, 1.05)), (0, 0), float(rng.uniform(0.3, 0.9)))
    noisy = sharp * 255 + rng.normal(0, float(rng.uniform(1, 4)), sharp.shape)
    return np.asarray(noisy.clip(0, 255), np.uint8)
