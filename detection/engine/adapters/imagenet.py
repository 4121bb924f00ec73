"""What networks that look at a cut-out face have in common: the cut, and ImageNet's normalisation."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from detection.engine.model import Array
from detection.engine.observations import Face

Image = NDArray[np.uint8]

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


def cut(image: Image, face: Face, *, margin: float) -> Image:
    """Return the square around a face's box, ``margin`` of its longer side wider on each side; never empty."""
    left, top, right, bottom = face.box_xyxy
    half = max(right - left, bottom - top) * (0.5 + margin)
    column, row = (left + right) / 2, (top + bottom) / 2
    height, width = image.shape[:2]
    first_column, first_row = (max(0, min(round(at - half), side - 1)) for at, side in ((column, width), (row, height)))
    last_column, last_row = max(round(column + half), first_column + 1), max(round(row + half), first_row + 1)
    return image[first_row:last_row, first_column:last_column]


def feed(crop: Image, *, size: int) -> Array:
    """Turn BGR uint8 into float32 ``(1, 3, size, size)``, RGB, normalised as for ImageNet."""
    resized = cv2.resize(crop, (size, size), interpolation=cv2.INTER_LINEAR)[..., ::-1].astype(np.float32) / 255
    return np.ascontiguousarray(((resized - MEAN) / STD).transpose(2, 0, 1)[None], np.float32)
