"""Generated pairs of faces: clean photographs against others, made as poor as a bad webcam makes them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from detection.engine.media import decode_image
from detection.engine.weights import weights_path
from detection.evaluation.generate.tables import write_table

PHOTOGRAPHS = ("a_1", "a_2", "b_1", "b_2", "c_1", "d_1")
"""Person, then number."""
_WIDTH = 480
_WHAT = """Six photographs of four people (A and B twice, years apart), each also {count} times made poor by chance:
blur, motion, darkness, noise, fewer pixels, compression. Pairs: a clean photograph (first) against a poor version of
another one (second). Four people are far too few to say anything about people; subject is the probe's person."""

Image = NDArray[np.uint8]


def make(directory: Path, rng: np.random.Generator, count: int) -> str:
    """Write the photographs, ``count`` poor variants of each and ``pairs.csv``; return what they are."""
    variants: dict[str, list[str]] = {}
    for name in PHOTOGRAPHS:
        photo = decode_image(weights_path(f"photo_{name}").read_bytes())
        _write(directory / f"{name}.png", photo)
        variants[name] = [f"{name}_poor_{index:02}.png" for index in range(count)]
        for variant in variants[name]:
            _write(directory / variant, worsen(photo, rng))
    rows = [
        (f"{first}.png", variant, int(first[0] == second[0]), second[0].upper())
        for first in PHOTOGRAPHS
        for second in PHOTOGRAPHS
        if first != second
        for variant in variants[second]
    ]
    write_table(directory / "pairs.csv", ["first", "second", "same", "subject"], rows)
    return _WHAT.format(count=count)


def _write(path: Path, image: Image) -> None:
    if not cv2.imwrite(str(path), image):
        raise OSError(f"{path} cannot be written")


def worsen(photo: Image, rng: np.random.Generator) -> Image:
    """Return a picture as a poor webcam in a dark room would give it; how poor is chance's choice."""
    scale = _WIDTH / photo.shape[1]
    image = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.3, 3.0)))
    length = int(rng.integers(1, 10))
    image = cv2.filter2D(image, -1, np.full((1, length), 1 / length, np.float32))
    dark = np.asarray(image, np.float32) * rng.uniform(0.2, 1.0)
    noisy = dark + rng.normal(0, rng.uniform(1, 12), dark.shape)
    fewer = float(rng.uniform(0.25, 1.0))
    small = cv2.resize(noisy.clip(0, 255).astype(np.uint8), None, fx=fewer, fy=fewer, interpolation=cv2.INTER_AREA)
    _, jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 80))])
    return np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), np.uint8)
