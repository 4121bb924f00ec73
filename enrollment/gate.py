"""What pictures must be like to enrol with, and how several of them become one template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import combinations
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from prometheus_client import Counter

from accounts.problems import Problem
from detection.engine.adapters.arcface import similarity_of
from enrollment.embedding import ImageReading

_FULL_WIDTH_PX: Final = 112.0
"""The width faces are scaled to for the model: wider ones hold no more for it."""
_FULL_SHARPNESS: Final = 0.02
"""What a sharp face has at least (``detection.engine.quality.sharpness``)."""
_LEAST_WEIGHT: Final = 0.05

PICTURES_REFUSED = Counter("sdproctor_pictures_refused_total", "What was wrong with pictures of candidates.", ["code"])


def readings_require_good(readings: Sequence[ImageReading]) -> None:
    """Raise ``Problem`` with the first thing wrong; its member ``problems`` lists them all, ``image`` by position."""
    found: list[dict[str, Any]] = [
        {"image": index} | asdict(problem) for index, reading in enumerate(readings) for problem in reading.problems
    ]
    if not found:
        return
    for problem in found:
        PICTURES_REFUSED.labels(problem["code"]).inc()
    first = dict(found[0])
    raise Problem(first.pop("code"), first.pop("detail"), **first, problems=found)


def readings_require_one_person(readings: Sequence[ImageReading], *, threshold: float) -> None:
    """Raise ``Problem`` (``faces_differ``) when two pictures are less similar than ``threshold``."""
    embeddings = _embeddings(readings)
    clarity = [reading.quality.get("clarity", 1.0) for reading in readings]
    pairs = {
        (i, j): similarity_of(readings[0].model, float(np.dot(embeddings[i], embeddings[j])), clarity[i], clarity[j])
        for i, j in combinations(range(len(embeddings)), 2)
    }
    if not pairs:
        return
    (first, second), measured = min(pairs.items(), key=lambda pair: pair[1])
    if measured < threshold:
        raise Problem(
            "faces_differ",
            f"Pictures {first + 1} and {second + 1} do not seem to show the same person.",  # people count from 1
            images=[first, second],
            measured=round(measured, 4),
            threshold=threshold,
        )


def combine(readings: Sequence[ImageReading]) -> NDArray[np.float32]:
    """Return the mean of the embeddings weighted by quality, L2-normalised: float32 of the model's dimension."""
    weights = np.array([_weight(reading.quality) for reading in readings], dtype=np.float32)
    mean = (np.stack(_embeddings(readings)) * weights[:, None]).sum(axis=0)
    return np.asarray(mean / np.linalg.norm(mean), dtype=np.float32)


def _weight(quality: dict[str, float]) -> float:
    """Return 0.05 to 1: how large, sharp and frontal the face is."""
    size = min(1.0, quality["width_px"] / _FULL_WIDTH_PX)
    sharpness = min(1.0, quality["sharpness"] / _FULL_SHARPNESS)
    frontal = float(np.cos(np.radians(min(90.0, abs(quality["yaw_deg"])))))
    return max(_LEAST_WEIGHT, size * sharpness * frontal)


def _embeddings(readings: Sequence[ImageReading]) -> list[NDArray[np.float32]]:
    return [reading.embedding for reading in readings if reading.embedding is not None]
