"""Turn pictures into what networks are fed, plane by plane: NumPy copies a transposed picture ten times as slowly."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from detection.engine.model import Array

Image = NDArray[np.uint8]


def planes(image: Image, *, multiple: int = 1, least: int = 0, fill: float = 0.0, rgb: bool = False) -> Array:
    """Return a BGR picture as float32 ``(1, 3, H, W)``, its planes in that order, or as RGB.

    Height and width are filled up, right and below, to at least ``least`` and to multiples of ``multiple``.
    """
    height, width = image.shape[:2]
    filled = (-(-max(length, least) // multiple) * multiple for length in (height, width))
    padded = np.full((1, 3, *filled), fill, np.float32)
    for plane, channel in enumerate((2, 1, 0) if rgb else (0, 1, 2)):
        padded[0, plane, :height, :width] = image[..., channel]
    return padded


def unit_rgb(image: Image) -> Array:
    """Return a BGR picture as RGB float32 from 0 to 1, ``(1, H, W, 3)``."""
    feed = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)[None].astype(np.float32)
    feed /= np.float32(255)
    return feed
