"""Run YuNet 2023mar (OpenCV Zoo, MIT) at any picture's own shape: faces out, with boxes and landmarks."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from detection.engine.batching import run_each
from detection.engine.feeds import planes
from detection.engine.model import Array, Model
from detection.engine.observations import Face

MIN_SCORE = 0.5
"""What is less certain is not reported at all; the policy decides about the rest."""
NMS_IOU = 0.3
"""Overlap from which two boxes are one face, as in OpenCV's FaceDetectorYN."""

_MAX_CANDIDATES = 500
"""Boxes looked at per picture; more are noise, and comparing them all with one another would take seconds."""
_STRIDES = (8, 16, 32)
_OUTPUTS = [f"{kind}_{stride}" for kind in ("cls", "obj", "bbox", "kps") for stride in _STRIDES]

Image = NDArray[np.uint8]


def find(model: Model, images: Sequence[Image], side: int) -> list[list[Face]]:
    """Find the faces of several pictures, each looked at with its long side scaled down to at most ``side``.

    Boxes and landmarks are in the given pictures' pixels, largest face first. On a GPU all pictures are filled up to
    squares: they go in together, and no camera's shape has to be prepared for.
    """
    scaled = [scale_down(image, side) for image in images]
    least = side if model.batches else 0
    blobs = [planes(image, multiple=_STRIDES[-1], least=least) for image, _ in scaled]
    return [
        suppress(_decode([output[0] for output in outputs], blob.shape[3] // 8, 1 / factor))
        for outputs, blob, (_, factor) in zip(run_each(model, "input", blobs), blobs, scaled, strict=True)
    ]


def scale_down(image: Image, side: int) -> tuple[Image, float]:
    """Return the picture scaled down so that its long side is at most ``side``, and the factor."""
    height, width = image.shape[:2]
    factor = min(1.0, side / max(height, width))
    if factor == 1.0:
        return image, factor
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8), factor


def _decode(outputs: Sequence[Array], columns_at_8: int, factor: float) -> list[Face]:
    """Turn the outputs of one picture into faces, overlapping ones included, scaled by ``factor``.

    Per stride and grid cell: the score is the geometric mean of class and object probability; the centre is given from
    the cell's corner, the size as a logarithm, both in strides.
    """
    by_name = dict(zip(_OUTPUTS, outputs, strict=True))
    faces: list[Face] = []
    for stride in _STRIDES:
        confidence = np.sqrt(by_name[f"cls_{stride}"][:, 0].clip(0, 1) * by_name[f"obj_{stride}"][:, 0].clip(0, 1))
        cells = np.flatnonzero(confidence >= MIN_SCORE)
        rows, columns = np.divmod(cells, columns_at_8 * 8 // stride)
        corners = np.stack([columns, rows], axis=1)
        pixels = stride * factor
        boxes, points = by_name[f"bbox_{stride}"][cells], by_name[f"kps_{stride}"][cells]
        centres, halves = (corners + boxes[:, :2]) * pixels, np.exp(boxes[:, 2:]) * pixels / 2
        edges = np.hstack([centres - halves, centres + halves])
        landmarks = ((points.reshape(-1, 5, 2) + corners[:, None]) * pixels).astype(np.float32)
        for index, cell in enumerate(cells):
            left, top, right, bottom = (float(edge) for edge in edges[index])
            faces.append(Face((left, top, right, bottom), float(confidence[cell]), landmarks[index]))
    return faces


def suppress(faces: Sequence[Face]) -> list[Face]:
    """Keep the most certain of overlapping boxes; return what is left, largest first."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.score)[:_MAX_CANDIDATES]:
        if all(_overlap(face, other) <= NMS_IOU for other in kept):
            kept.append(face)
    return sorted(kept, key=lambda face: -face.area_px)


def _overlap(a: Face, b: Face) -> float:
    """Return intersection over union of two boxes."""
    (al, at, ar, ab), (bl, bt, br, bb) = a.box_xyxy, b.box_xyxy
    shared = max(0.0, min(ar, br) - max(al, bl)) * max(0.0, min(ab, bb) - max(at, bt))
    return shared / max(a.area_px + b.area_px - shared, 1e-9)
