"""Pictures and sounds made for tests: webcam frames composed of photographs, pictures made worse, synthetic speech."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


def room(*people: tuple[Image, float, int, int], size_wh: tuple[int, int] = (640, 480)) -> Image:
    """A grey room with photographs in it: each scaled by a factor, its top left corner at x, y; cut off at the edge."""
    width, height = size_wh
    picture = np.full((height, width, 3), 118, np.uint8)
    for photo, factor, x, y in people:
        small = cv2.resize(photo, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        part = small[: height - y, : width - x]
        picture[y : y + part.shape[0], x : x + part.shape[1]] = part
    return picture


def blurred(image: Image, sigma: float) -> Image:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)


def moved(image: Image, pixels: int, *, down: bool = False) -> Image:
    """As if the camera or the head moved evenly during the exposure."""
    kernel = np.zeros((pixels, pixels), np.float32)
    kernel[(slice(None), pixels // 2) if down else (pixels // 2, slice(None))] = 1 / pixels
    return np.asarray(cv2.filter2D(image, -1, kernel), np.uint8)


def lit(image: Image, factor: float) -> Image:
    return np.clip(image.astype(np.float32) * factor, 0, 255).astype(np.uint8)


def noisy(image: Image, deviation: float) -> Image:
    noise = np.random.default_rng(7).normal(0, deviation, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def jpeg(image: Image, quality: int = 85) -> bytes:
    return encoded(image, ".jpg", [cv2.IMWRITE_JPEG_QUALITY, quality])


def encoded(image: NDArray[np.generic], extension: str, options: list[int] | None = None) -> bytes:
    done, data = cv2.imencode(extension, image, options or [])
    assert done
    return data.tobytes()
