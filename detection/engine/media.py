"""Samples as the engine sees them, and how bytes become pictures and sound."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from detection.engine.image_header import read_header
from detection.engine.media_errors import ImageError

__all__ = ["SAMPLE_RATE_HZ", "AudioWindow", "Frame", "ImageError", "decode_frame", "decode_image", "pcm16_to_float"]

SAMPLE_RATE_HZ = 16_000


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One sampled picture. ``image`` is BGR uint8, shape ``(H, W, 3)``."""

    frame_id: str
    image: NDArray[np.uint8]
    captured_at: float


@dataclass(frozen=True, slots=True, eq=False)
class AudioWindow:
    """One window of sound. ``samples`` are float32 from -1 to 1, mono, 16 kHz.

    The first ``lead_in_samples`` repeat the end of the window before, as context; ``started_at`` is the capture time of
    the sample after them.
    """

    window_id: str
    samples: NDArray[np.float32]
    lead_in_samples: int
    started_at: float
    ended_at: float


def decode_image(data: bytes, *, max_pixels: int = 40_000_000) -> NDArray[np.uint8]:
    """Decode an uploaded JPEG, PNG or WebP into BGR uint8 ``(H, W, 3)``, upright.

    Grey and 16-bit pictures are converted, alpha is dropped, rotation tags are applied. Raises ``ImageError`` with code
    ``image_too_large`` (more than ``max_pixels``, told from the header without decoding) or ``image_invalid`` (another
    format, truncated, damaged).
    """
    header = read_header(data)
    if header.width * header.height > max_pixels:
        raise ImageError(
            "image_too_large",
            f"The picture has {header.width} x {header.height} pixels; at most {max_pixels:,} are accepted.",
        )
    # IMREAD_COLOR converts depth and channels and turns the picture as its rotation tag says.
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:  # a side beyond OpenCV's own limit
        raise ImageError("image_invalid", f"The picture cannot be decoded: {error.err}.") from error
    if image is None:
        raise ImageError("image_invalid", f"The picture claims to be {header.format} but cannot be decoded.")
    return np.ascontiguousarray(image)


def decode_frame(jpeg: bytes) -> NDArray[np.uint8]:
    """Decode a JPEG that the gateway made into BGR uint8 ``(H, W, 3)``; fast. Raises ``ImageError`` (image_invalid)."""
    try:
        image: NDArray[np.uint8] = simplejpeg.decode_jpeg(jpeg, colorspace="BGR", fastdct=True, fastupsample=True)
    except ValueError as error:
        raise ImageError("image_invalid", f"The frame cannot be decoded: {error}") from error
    return image


def pcm16_to_float(pcm: bytes) -> NDArray[np.float32]:
    """Turn 16-bit little-endian mono PCM into float32 from -1 to 1; an odd last byte raises ``ValueError``."""
    return np.frombuffer(pcm, dtype="<i2").astype(np.float32) / np.float32(32768.0)
