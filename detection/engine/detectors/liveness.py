"""Tell a live face from a print or a screen: MiniFASNet (Apache-2.0) on the face, moire in it, a frame around it.

No frame decides alone: ``learners.liveness_pool`` weighs them over time, together with what moves and what repeats.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from detection.engine import geometry, quality
from detection.engine.batching import run_each
from detection.engine.model import LIVENESS, Model
from detection.engine.observations import VIDEO, Face
from detection.engine.samples import VideoSample
from detection.engine.surroundings import place, surroundings, to_text

MODEL_NAME = LIVENESS
_INPUT = "serving_default_args_0:0"
_SIDE = 80
_CROP = 2.7
"""The face's box is enlarged by this before it is cut out, as in training."""
_LIVE = 1
"""The class of live faces; the others are prints and screens."""

MAX_MARGIN = 12.0
"""Live faces have margins of 2 to 12; beyond, the network is sure and says no more by saying it louder."""
_FRAME_WEIGHT, _FRAME_FROM, _FRAME_TO = 10.0, 0.75, 0.95
_MOIRE_WEIGHT, _MOIRE_FROM, _MOIRE_TO = 10.0, 1.30, 1.60
"""What the two other cues take off the margin, and between which values: nothing below the first of them, which live
pictures stay under, everything from the second on."""

_PATCH = 128
_FRAME_COPY = 320
_POINTS = 32
_SLOPES = np.tan(np.deg2rad(np.arange(-14, 15, 2)))
_BESIDE = 48
"""Further than the most tilted line of the copy's whole length goes astray."""
_FULL_EDGE = 8.0
"""Grey values per pixel from which an edge counts fully."""
_MIN_SATURATION = 10.0

Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class LivenessMeasure:
    """How live the largest face of a frame looks.

    ``live``: 0 to 1, all cues of the frame together, above 0.5 live. ``margin``: by how much the network's value for
    live exceeds that of the likelier attack. ``moire``: how far the strongest regular pattern on the face stands out,
    as a logarithm. ``frame``: how complete a straight edge runs around the face on three sides, 0 to 1. ``decided`` is
    False where nothing can be said, ``reason`` then being ``face_too_small``, ``turned``, ``dark``, ``blurred`` or
    ``no_colour``: the network takes blurred, dark and colourless faces for prints. ``place`` and ``surroundings``:
    where the face is and what is around it, for the learner that watches whether they move together.
    """

    live: float
    margin: float
    moire: float
    frame: float
    decided: bool
    reason: str
    place: tuple[float, float, float]
    surroundings: NDArray[np.uint8]
    model: str = MODEL_NAME

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-able form."""
        return {
            "live": round(self.live, 4),
            "margin": round(self.margin, 2),
            "moire": round(self.moire, 3),
            "frame": round(self.frame, 3),
            "decided": self.decided,
            "reason": self.reason,
            "place": [round(value, 1) for value in self.place],
            "surroundings": to_text(self.surroundings),
            "model": self.model,
        }


class LivenessDetector:
    """Measures the largest face of a frame."""

    name = "liveness"
    stream = VIDEO

    def __init__(self, model: Model) -> None:
        self._model = model
        self.models = (model,)

    def due(self, sample: VideoSample) -> bool:
        """Look each ``interval_s``, if somebody is visible."""
        parameters = sample.job.policy.detectors.liveness
        return parameters.enabled and bool(sample.faces) and sample.is_due(parameters.interval_s)

    def measure(self, samples: Sequence[VideoSample]) -> list[LivenessMeasure]:
        """Measure each frame's largest face."""
        margins = self._margins([(sample.job.frame.image, sample.faces[0]) for sample in samples])
        return [_measure(sample, margin) for sample, margin in zip(samples, margins, strict=True)]

    def margin(self, image: Image, face: Face) -> float:
        """Return the network's value for live minus the larger one of the attacks, within ± ``MAX_MARGIN``."""
        return self._margins([(image, face)])[0]

    def _margins(self, faces: Sequence[tuple[Image, Face]]) -> list[float]:
        feeds = [cut_out(image, face)[None].astype(np.float32) for image, face in faces]
        return [_margin(outputs[0][0]) for outputs in run_each(self._model, _INPUT, feeds)]


def _margin(values: NDArray[np.float32]) -> float:
    margin = float(values[_LIVE] - max(value for kind, value in enumerate(values) if kind != _LIVE))
    return max(-MAX_MARGIN, min(MAX_MARGIN, margin))


def _measure(sample: VideoSample, margin: float) -> LivenessMeasure:
    image, face = sample.job.frame.image, sample.faces[0]
    moire, frame = moire_on(image, face), frame_around(image, face)
    reason = _doubt(sample, face)
    return LivenessMeasure(
        live=1 / (1 + math.exp(-evidence(margin, moire, frame))),
        margin=margin,
        moire=moire,
        frame=frame,
        decided=not reason,
        reason=reason,
        place=place(face),
        surroundings=surroundings(image, face),
    )


def evidence(margin: float, moire: float, frame: float) -> float:
    """Return how much speaks for a live face, as a logarithm of odds: above 0 live."""
    around = _FRAME_WEIGHT * _ramp(frame, _FRAME_FROM, _FRAME_TO)
    pattern = _MOIRE_WEIGHT * _ramp(moire, _MOIRE_FROM, _MOIRE_TO)
    return margin - around - pattern


def _ramp(value: float, low: float, high: float) -> float:
    return min(1.0, max(0.0, (value - low) / (high - low)))


def cut_out(image: Image, face: Face) -> Image:
    """Return the face with its surroundings, BGR uint8 ``(80, 80, 3)``: shifted or shrunk to stay in the picture."""
    height, width = image.shape[:2]
    left, top, right, bottom = face.box_xyxy
    factor = min(_CROP, (width - 1) / max(right - left, 1), (height - 1) / max(bottom - top, 1))
    half_width, half_height = (right - left) * factor / 2, (bottom - top) * factor / 2
    x = min(max((left + right) / 2, half_width), max(half_width, width - 1 - half_width))
    y = min(max((top + bottom) / 2, half_height), max(half_height, height - 1 - half_height))
    part = image[int(y - half_height) : int(y + half_height) + 1, int(x - half_width) : int(x + half_width) + 1]
    return np.asarray(cv2.resize(part, (_SIDE, _SIDE)), np.uint8)


def moire_on(image: Image, face: Face) -> float:
    """Return how far the strongest regular pattern in the middle of a face stands out from its spectrum's surroundings.

    A screen's pixels or a print's dots beat with the camera's pixels: a peak away from the axes (on them lie the blocks
    of video coding, and shutters) and from low frequencies. In natural logarithms of amplitude; 0 where the picture is
    smaller than the 128 pixels that it takes.
    """
    height, width = image.shape[:2]
    if min(height, width) < _PATCH:
        return 0.0
    left, top, right, bottom = face.box_xyxy
    x = int(np.clip((left + right - _PATCH) / 2, 0, width - _PATCH))
    y = int(np.clip((top + bottom - _PATCH) / 2, 0, height - _PATCH))
    grey = cv2.cvtColor(image[y : y + _PATCH, x : x + _PATCH], cv2.COLOR_BGR2GRAY).astype(np.float32)
    fine = (grey - cv2.GaussianBlur(grey, (0, 0), 3)) * _WINDOW
    spectrum = np.log(np.abs(np.fft.rfft2(fine)) + 1e-3).astype(np.float32)
    over = cv2.blur(spectrum, (3, 3)) - cv2.blur(spectrum, (15, 15))
    return float(over[_BAND].max())


_WINDOW = np.outer(np.hanning(_PATCH), np.hanning(_PATCH)).astype(np.float32)
_DOWN, _ACROSS = np.meshgrid(np.fft.fftfreq(_PATCH), np.fft.rfftfreq(_PATCH), indexing="ij")
_RADIUS = np.hypot(_DOWN, _ACROSS)
_BAND = (_RADIUS > 0.12) & (_RADIUS < 0.48) & (np.abs(_DOWN) > 0.03) & (_ACROSS > 0.03)
"""Frequencies per pixel at which a regular pattern is sought."""


def frame_around(image: Image, face: Face) -> float:
    """Return how complete a straight edge runs around the face on its third best side, 0 to 1.

    A side counts by the share of a line along which the edge keeps its direction, for the best line tilted by up to
    14°: beside the face from above the brow to below the chin, where a live person's shoulders are, above and below it
    over more than its width. Rooms have doors and shelves, seldom three such lines around one head.
    """
    factor = _FRAME_COPY / max(image.shape[:2])
    size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
    grey = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY).astype(np.float32)
    across = _edges(cv2.Sobel(grey, cv2.CV_32F, 1, 0))
    down = _edges(np.ascontiguousarray(cv2.Sobel(grey, cv2.CV_32F, 0, 1).T))
    left, top, right, bottom = (edge * factor for edge in face.box_xyxy)
    width, height = right - left, bottom - top
    beside = (top - 0.2 * height, bottom + 0.9 * height)
    over = (left - 0.4 * width, right + 0.4 * width)
    sides = (
        _line(across, beside, (left - 1.5 * width, left - 0.08 * width)),
        _line(across, beside, (right + 0.08 * width, right + 1.5 * width)),
        _line(down, over, (top - 1.5 * height, top - 0.1 * height)),
        _line(down, over, (bottom + 0.1 * height, bottom + 1.6 * height)),
    )
    return sorted(sides)[1]


def _edges(gradient: NDArray[Any]) -> NDArray[np.float32]:
    """Return how much each pixel counts as an edge, -1 to 1; the first and last of a row, which see no neighbour, 0.

    Rows are longer by ``_BESIDE`` zeros on both sides, so that tilted lines may leave the picture.
    """
    edges = np.clip(gradient / (4 * _FULL_EDGE), -1, 1)
    edges[:, [0, -1]] = 0
    return np.pad(edges, ((0, 0), (_BESIDE, _BESIDE))).astype(np.float32)


def _line(edges: NDArray[np.float32], along: tuple[float, float], where: tuple[float, float]) -> float:
    """Return the best line's share, of signed ``edges[along, where]``; 0 where the picture has no room."""
    length, breadth = edges.shape[0], edges.shape[1] - 2 * _BESIDE
    begin, end = max(1.0, along[0]), min(length - 2.0, along[1])
    first, last = max(2.0, where[0]), min(breadth - 3.0, where[1])
    if end - begin < 0.6 * (along[1] - along[0]) or last - first < 1:
        return 0.0
    steps = np.linspace(begin, end, _POINTS)
    tilted = np.rint(first + _SLOPES[:, None] * (steps - (begin + end) / 2)).astype(np.intp)
    starts = np.rint(steps).astype(np.intp) * edges.shape[1] + _BESIDE + tilted
    # Of each slope and point, the edges at all places side by side: a line's are those of one place.
    beside = np.lib.stride_tricks.sliding_window_view(edges.ravel(), math.ceil(last - first))[starts]
    return float(np.abs(beside.mean(axis=1)).max())


def _doubt(sample: VideoSample, face: Face) -> str:
    """Return why this face decides nothing; "" if it does."""
    parameters = sample.job.policy.detectors.liveness
    if face.width_px < parameters.min_face_px:
        return "face_too_small"
    if max(abs(angle) for angle in geometry.head_turn(face.landmarks)) > parameters.max_turn_deg:
        return "turned"
    aligned = geometry.align(sample.job.frame.image, face.landmarks)
    seen = quality.measure_aligned(aligned, face)
    if seen.brightness < parameters.min_brightness:
        return "dark"
    if seen.sharpness < parameters.min_sharpness:
        return "blurred"
    blue, green, red = cv2.split(aligned)
    spread = cv2.subtract(cv2.max(cv2.max(blue, green), red), cv2.min(cv2.min(blue, green), red))
    return "no_colour" if spread.mean() < _MIN_SATURATION else ""
