"""Read a photograph for enrolment: what is wrong with it, or the face as the network sees it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detection.engine import quality
from detection.engine.detectors.identity import Probe
from detection.engine.pipeline import Pipeline
from detection.engine.quality import QualityProblem


@dataclass(frozen=True, slots=True)
class Reading:
    """Either a probe, whose embedding becomes the template, or the problems that forbid using the picture."""

    probe: Probe | None
    problems: tuple[QualityProblem, ...] = ()


def read(engine: Pipeline, image: NDArray[np.uint8]) -> Reading:
    """Read one picture, BGR uint8 ``(H, W, 3)``."""
    faces = engine.faces.detect(image, thorough=True)
    problems = quality.assess(image, faces)
    if problems:
        return Reading(None, tuple(problems))
    # The gate lets one person through, and small faces in the background; that person's is the largest certain face.
    face = next(face for face in faces if face.score >= quality.MIN_SCORE)
    return Reading(engine.embedder.probe([(image, face)])[0])
