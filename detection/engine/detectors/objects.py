"""Find people and things: EfficientDet-Lite2 (COCO, Apache-2.0) in LiteRT; its graph decodes boxes and merges them.

COCO has no headphones, tablets, smart watches or sheets of paper: what it never saw it does not find.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from detection.engine.model import OBJECT_DETECTOR, Model
from detection.engine.observations import VIDEO
from detection.engine.samples import VideoSample

MODEL_NAME = OBJECT_DETECTOR

KINDS: Mapping[int, str] = {0: "person", 71: "screen", 72: "laptop", 74: "remote", 76: "phone", 83: "book"}
"""COCO's category number less one → our word. A phone that lies flat is often taken for a remote control."""
FLOOR = 0.2
"""What is less certain is not reported."""
_SIDE = 448
"""The network's input is so many pixels square."""
_INPUT = "serving_default_images:0"

Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Thing:
    """A person or thing in a picture: its kind, the network's score (0 to 1) and its box in the picture's pixels."""

    kind: str
    score: float
    box_xyxy: tuple[float, float, float, float]

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-able form, the box in whole pixels."""
        return {
            "kind": self.kind,
            "score": round(self.score, 3),
            "box_xyxy": [round(edge) for edge in self.box_xyxy],
        }


@dataclass(frozen=True, slots=True)
class ObjectsMeasure:
    """What is in the picture, the most certain first, and the picture's size, so that boxes can be related to it."""

    found: tuple[Thing, ...]
    size_wh: tuple[int, int]

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-able form."""
        return {"found": [thing.to_dict() for thing in self.found], "size_wh": list(self.size_wh)}


class ObjectDetector:
    """Finds people, phones, books, laptops and screens in a picture."""

    name = "objects"
    stream = VIDEO

    def __init__(self, model: Model) -> None:
        self._model = model
        self.models = (model,)

    def detect(self, image: Image) -> list[Thing]:
        """Find things, the most certain first; empty when there are none. ``image`` is BGR uint8 ``(H, W, 3)``."""
        height, width = image.shape[:2]
        boxes, categories, scores, _ = self._model.run({_INPUT: _square(image)})
        scale = max(height, width)  # boxes are shares of the square, which is the longer side
        found = [
            Thing(KINDS[int(category)], float(score), _clip(box * scale, width, height))
            for box, category, score in zip(boxes[0], categories[0], scores[0], strict=True)
            if score >= FLOOR and int(category) in KINDS
        ]
        return sorted(found, key=lambda thing: -thing.score)

    def due(self, sample: VideoSample) -> bool:
        """Look each ``interval_s``."""
        parameters = sample.job.policy.detectors.objects
        return parameters.enabled and sample.is_due(parameters.interval_s)

    def measure(self, samples: Sequence[VideoSample]) -> list[ObjectsMeasure]:
        """Look at each frame; the network takes one picture at a time."""
        images = [sample.job.frame.image for sample in samples]
        return [ObjectsMeasure(tuple(self.detect(image)), (image.shape[1], image.shape[0])) for image in images]


def _square(image: Image) -> Image:
    """Scale the longer side to the network's, keep the shape, fill up with black: RGB uint8 ``(1, S, S, 3)``."""
    height, width = image.shape[:2]
    factor = _SIDE / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    scaled = cv2.resize(image, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
    square = np.zeros((1, _SIDE, _SIDE, 3), np.uint8)
    square[0, : size[1], : size[0]] = scaled[..., ::-1]
    return square


def _clip(box_yxyx: NDArray[np.float32], width: int, height: int) -> tuple[float, float, float, float]:
    """Return a box as left, top, right, bottom, inside the picture."""
    top, left, bottom, right = (float(edge) for edge in box_yxyx)
    return (
        min(max(left, 0.0), width),
        min(max(top, 0.0), height),
        min(max(right, 0.0), width),
        min(max(bottom, 0.0), height),
    )
