"""Gaze networks of the L2CS-Net kind: 448 by 448 pixels, ImageNet's normalisation, 90 bins of 4 degrees per angle."""

from __future__ import annotations

import cv2
import numpy as np

from detection.engine.detectors.faces import Image
from detection.engine.model import Array

SIZE = 448
BINS = 90
BIN_DEG = 4.0
FIRST_BIN_DEG = -180.0
IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)


def feed(crop: Image, *, size: int = SIZE) -> Array:
    """Turn a BGR uint8 crop of the face into float32 ``(1, 3, size, size)``, RGB, normalised as for ImageNet."""
    resized = cv2.resize(crop, (size, size), interpolation=cv2.INTER_LINEAR)[..., ::-1].astype(np.float32) / 255
    return np.ascontiguousarray(((resized - IMAGENET_MEAN) / IMAGENET_STD).transpose(2, 0, 1)[None], np.float32)


def angles_deg(horizontal: Array, vertical: Array) -> tuple[Array, Array]:
    """Return yaw and pitch in degrees, ``(N,)`` each, in the glossary's signs, of the two outputs ``(N, 90)``.

    Each angle is the expectation over the bins. The published code draws the gaze at ``-sin`` of the first output to
    image right and of the second downwards: the first grows to image left, the second upwards.
    """
    return -_expectation(horizontal), _expectation(vertical)


def _expectation(logits: Array) -> Array:
    if logits.ndim != 2 or logits.shape[1] != BINS:
        raise ValueError(f"The network gives {logits.shape}, not (N, {BINS})")
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares = weights / weights.sum(axis=1, keepdims=True)
    return np.asarray(shares @ np.arange(BINS, dtype=np.float64) * BIN_DEG + FIRST_BIN_DEG)
