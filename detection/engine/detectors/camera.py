"""Look at the picture itself: is it dark, out of focus, covered? No model, and well under a millisecond."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from detection.engine.model import Model
from detection.engine.observations import VIDEO, Face
from detection.engine.samples import VideoSample

COPY_SIDE = 320
"""Long side of the grey copy that is looked at: every resolution is judged by the same detail."""
BLOCKS = 4
"""Rows and columns of block means: the picture's signature for the learner that looks for repetition."""
_DARKEST = 8.0
"""Grey values below this are the black level and noise: detail is not related to less."""
_SMOOTHING = 1.0
_EDGES_SHARE = 0.995
_DETAIL_SHARE = 0.99
_NOISE_SIDE = 128

Grey = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class CameraMeasure:
    """The picture as a whole.

    ``brightness``, ``contrast``: mean and standard deviation of the grey values, 0 to 255. ``light``: the brightness of
    the largest face, without one that of the brighter parts (90th percentile). ``sharpness``: how steep the steepest
    edges are in a copy 320 pixels wide against one of 160: 0.8 to 1.3 in focus, 0.5 where no edge is sharp in either.
    ``detail``: the strongest edges of a tiny copy relative to its brightness, 0 for a covered lens. ``noise``: standard
    deviation of the pixels' noise in grey values. ``blocks``: means of 4 x 4 blocks, row by row, to a tenth of a grey
    value.
    """

    brightness: float
    contrast: float
    light: float
    sharpness: float
    detail: float
    noise: float
    blocks: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-able form, rounded."""
        return {
            "brightness": round(self.brightness, 1),
            "contrast": round(self.contrast, 1),
            "light": round(self.light, 1),
            "sharpness": round(self.sharpness, 3),
            "detail": round(self.detail, 4),
            "noise": round(self.noise, 2),
            "blocks": [round(mean, 1) for mean in self.blocks],
        }


class CameraDetector:
    """Measures how much a picture shows."""

    name = "camera"
    stream = VIDEO

    def __init__(self) -> None:
        self.models: tuple[Model, ...] = ()

    def due(self, sample: VideoSample) -> bool:
        """Measure every frame."""
        return sample.job.policy.detectors.camera.enabled

    def measure(self, samples: Sequence[VideoSample]) -> list[CameraMeasure]:
        """Measure each frame alone."""
        return [
            measure_picture(sample.job.frame.image, sample.faces[0] if sample.faces else None) for sample in samples
        ]


def measure_picture(image: NDArray[np.uint8], face: Face | None = None) -> CameraMeasure:
    """Measure a BGR uint8 picture ``(H, W, 3)`` of any size; ``face``: the largest one found in it."""
    grey = _grey_copy(image)
    fine = grey.astype(np.float32)
    coarse, tiny = _halved(fine), _halved(_halved(fine))
    ratio = _top(_steepness(fine), _EDGES_SHARE) / max(_top(_steepness(coarse), _EDGES_SHARE), 0.1)
    mean, deviation = (float(value[0, 0]) for value in cv2.meanStdDev(coarse))
    return CameraMeasure(
        brightness=mean,
        contrast=deviation,
        light=_light(coarse, image, face),
        sharpness=min(ratio, 2.0),
        detail=_top(_steepness(tiny), _DETAIL_SHARE) / max(mean, _DARKEST),
        noise=_noise(image),
        blocks=tuple(float(mean) for mean in _resized(coarse, BLOCKS, BLOCKS).ravel()),
    )


def _grey_copy(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a grey copy with a long side of ``COPY_SIDE``; of large pictures only every n-th pixel is looked at."""
    step = max(1, max(image.shape[:2]) // (4 * COPY_SIDE))
    height, width = image[::step, ::step].shape[:2]
    factor = COPY_SIDE / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    small = cv2.resize(np.ascontiguousarray(image[::step, ::step]), size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), np.uint8)


def _halved(grey: Grey) -> Grey:
    return _resized(grey, max(1, grey.shape[0] // 2), max(1, grey.shape[1] // 2))


def _resized(grey: Grey, height: int, width: int) -> Grey:
    return np.asarray(cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA), np.float32)


def _steepness(grey: Grey) -> Grey:
    """Return the size of the gradient, in grey values per pixel, noise of single pixels smoothed away first."""
    smooth = cv2.GaussianBlur(grey, (5, 5), _SMOOTHING)
    return np.asarray(cv2.magnitude(cv2.Scharr(smooth, cv2.CV_32F, 1, 0), cv2.Scharr(smooth, cv2.CV_32F, 0, 1)) / 32)


def _top(values: Grey, share: float) -> float:
    """Return the value below which this share of all lies."""
    flat = values.ravel()
    index = min(len(flat) - 1, int(share * len(flat)))
    return float(np.partition(flat, index)[index])


def _light(coarse: Grey, image: NDArray[np.uint8], face: Face | None) -> float:
    if face is not None:
        factor = coarse.shape[1] / image.shape[1]
        left, top, right, bottom = (max(0, round(edge * factor)) for edge in face.box_xyxy)
        inside = coarse[top:bottom, left:right]
        if inside.size:
            return float(inside.mean())
    return _top(coarse, 0.9)


def _noise(image: NDArray[np.uint8]) -> float:
    """Return the standard deviation of the noise, from the picture's middle at its own resolution.

    Immerkaer (1996): a Laplacian that leaves edges and slopes nearly out; of its absolute values the median, which the
    few edges left do not move, 0.6745 being that of a normal distribution, 6 the filter's gain.
    """
    height, width = image.shape[:2]
    top, left = max(0, (height - _NOISE_SIDE) // 2), max(0, (width - _NOISE_SIDE) // 2)
    middle = np.ascontiguousarray(image[top : top + _NOISE_SIDE, left : left + _NOISE_SIDE, 1]).astype(np.float32)
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    return _top(np.abs(cv2.filter2D(middle, -1, kernel)), 0.5) / 6 / 0.6745
