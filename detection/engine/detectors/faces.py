"""Find faces: YuNet 2023mar (OpenCV Zoo, MIT) in ONNX Runtime at the picture's own shape."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import cv2
import numpy as np
from numpy.typing import NDArray

from detection.engine.model import FACE_DETECTOR, Array, Model
from detection.engine.observations import VIDEO, Face, FacesMeasure
from detection.engine.samples import VideoSample

MODEL_NAME = FACE_DETECTOR

MAX_SIDE = 640
"""Larger pictures are scaled down to this: a webcam's second person is found, and each doubling costs four times."""
_RETRY_SIDE = 160
_CERTAIN = 0.8
"""A face that fills the picture is larger than the network's field of view. Where nothing is certain, a small copy is
looked at too: a sixteenth of the cost."""
MIN_SCORE = 0.5
"""What is less certain is not reported at all; the policy decides about the rest."""
NMS_IOU = 0.3
"""Overlap from which two boxes are one face, as in OpenCV's FaceDetectorYN."""

_MAX_BATCH = 32
_MAX_CANDIDATES = 500
"""Boxes looked at per picture; more are noise, and comparing them all with one another would take seconds."""
_STRIDES = (8, 16, 32)
_OUTPUTS = [f"{kind}_{stride}" for kind in ("cls", "obj", "bbox", "kps") for stride in _STRIDES]

Image = NDArray[np.uint8]


class FaceDetector:
    """Finds every face in a picture."""

    name = "faces"
    stream = VIDEO

    def __init__(self, model: Model) -> None:
        self._model = model
        self.models = (model,)

    def detect(self, image: Image) -> list[Face]:
        """Find faces, largest first; empty when nobody is visible.

        ``image`` is BGR uint8, shape ``(H, W, 3)``. Each face has ``box_xyxy`` in pixels of that image, and landmarks
        from the image's left to its right.
        """
        return self.detect_many([image])[0]

    def detect_many(self, images: Sequence[Image]) -> list[list[Face]]:
        """Find the faces of several pictures; on a GPU, pictures of one shape go in one run."""
        found = self._at_side(images, MAX_SIDE)
        unsure = [index for index, faces in enumerate(found) if not any(face.score >= _CERTAIN for face in faces)]
        for index, faces in zip(unsure, self._at_side([images[i] for i in unsure], _RETRY_SIDE), strict=True):
            found[index] = suppress([*found[index], *faces])
        return found

    def due(self, sample: VideoSample) -> bool:
        """Look at every frame."""
        return sample.job.policy.detectors.faces.enabled

    def measure(self, samples: Sequence[VideoSample]) -> list[FacesMeasure]:
        """Count the faces of each frame as its policy has it."""
        found = self.detect_many([sample.job.frame.image for sample in samples])
        return [_measure(sample, faces) for sample, faces in zip(samples, found, strict=True)]

    def _at_side(self, images: Sequence[Image], side: int) -> list[list[Face]]:
        scaled = [scale_down(image, side) for image in images]
        blobs = [_blob(image) for image, _ in scaled]
        outputs = self._run(blobs)
        return [
            suppress(_decode(output, blob.shape[3] // 8, 1 / scale))
            for output, blob, (_, scale) in zip(outputs, blobs, scaled, strict=True)
        ]

    def _run(self, blobs: Sequence[Array]) -> list[list[Array]]:
        """Run the network; return each picture's twelve outputs without the batch dimension."""
        results: list[list[Array]] = []
        for stack in _stacks(blobs) if self._model.batches else blobs:
            outputs = self._model.run({"input": stack})
            results += [[output[index] for output in outputs] for index in range(len(stack))]
        return results


def _stacks(blobs: Sequence[Array]) -> list[Array]:
    """Join neighbours of one shape into batches of at most ``_MAX_BATCH``."""
    batches = ([*group] for _, group in groupby(blobs, key=lambda blob: blob.shape))
    return [
        np.concatenate(batch[start : start + _MAX_BATCH])
        for batch in batches
        for start in range(0, len(batch), _MAX_BATCH)
    ]


def _measure(sample: VideoSample, faces: list[Face]) -> FacesMeasure:
    parameters = sample.job.policy.detectors.faces
    possible = tuple(face for face in faces if face.score >= parameters.min_score)
    return FacesMeasure(possible, count=sum(face.score >= parameters.sure_score for face in possible))


def scale_down(image: Image, side: int) -> tuple[Image, float]:
    """Return the picture scaled down so that its long side is at most ``side``, and the factor."""
    height, width = image.shape[:2]
    factor = min(1.0, side / max(height, width))
    if factor == 1.0:
        return image, factor
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8), factor


def _blob(image: Image) -> Array:
    """Turn into float32 ``(1, 3, H, W)``, black added right and below up to multiples of 32, the largest stride."""
    height, width = image.shape[:2]
    padded = np.zeros((1, 3, -(-height // 32) * 32, -(-width // 32) * 32), np.float32)
    padded[0, :, :height, :width] = image.transpose(2, 0, 1)
    return padded


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
