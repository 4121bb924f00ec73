"""Compare a converted graph with LiteRT on what the detectors feed it for real photographs."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from detection.engine.detectors import DETECTORS
from detection.engine.detectors.objects import FLOOR
from detection.engine.media import Frame
from detection.engine.model import Array, Model
from detection.engine.pipeline import Pipeline
from detection.engine.policy import Policy
from detection.engine.samples import FrameJob

Feeds = Mapping[str, Array]
Image = NDArray[np.uint8]


class Recorder:
    """A network that notes what it is fed."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.name, self.provider, self.batches, self.input_names = model.name, model.provider, False, model.input_names
        self.mean_ms = 0.0
        self.feeds: list[Feeds] = []

    def run(self, feeds: Feeds) -> list[Array]:
        """Run the network."""
        self.feeds.append(feeds)
        return self._model.run(feeds)


def recorded(models: Mapping[str, Model], images: Sequence[Image]) -> dict[str, list[Feeds]]:
    """Return what each network is fed when the product looks at ``images`` (BGR), and at them in the mirror.

    ``models``: every network that a video detector needs to look, by its name among ``DETECTORS``' weights; detectors
    that need another are left out.
    """
    recorders = {name: Recorder(model) for name, model in models.items()}
    detectors = {
        name: entry.build(*(recorders[weight] for weight in entry.weights))
        for name, entry in DETECTORS.items()
        if entry.weights and set(entry.weights) <= recorders.keys() and not entry.assets
    }
    pipeline = Pipeline(detectors)
    frames = [Frame("", each, 0.0) for image in images for each in (image, np.ascontiguousarray(image[:, ::-1]))]
    pipeline.analyse_frames([FrameJob(frame, None, None, Policy()) for frame in frames])
    return {name: recorder.feeds for name, recorder in recorders.items()}


def greatest_difference(expected: Iterable[Sequence[Array]], found: Iterable[Sequence[Array]]) -> float:
    """Return the greatest absolute difference between outputs, one sequence of them per input.

    Infinite for what is no number, for outputs of another size, and for nothing at all.
    """
    differences = [
        float(np.abs(one.astype(np.float64).ravel() - other.ravel()).max()) if one.size == other.size else math.inf
        for outputs, others in zip(expected, found, strict=True)
        for one, other in zip(outputs, others, strict=False)  # what nobody reads is not converted
    ]
    return max(differences, default=math.inf) if not any(map(math.isnan, differences)) else math.inf


def greatest_miss(expected: Iterable[Sequence[Array]], found: Iterable[Sequence[Array]], *, tolerance: float) -> float:
    """Return the greatest difference in score or box (shares of the picture) between things found, either way.

    Things that are ``tolerance`` above the least score that the product reads must be found by both; 1 for one that is
    not.
    """
    greatest = 0.0
    for outputs, others in zip(expected, found, strict=True):
        for wanted, present in ((_things(outputs), _things(others)), (_things(others), _things(outputs))):
            for category, *numbers in wanted:
                if numbers[0] >= FLOOR + tolerance:
                    same = (other for kind, *other in present if kind == category)
                    misses = (max(abs(a - b) for a, b in zip(numbers, other, strict=True)) for other in same)
                    greatest = max(greatest, min(misses, default=1.0))
    return greatest


def milliseconds(model: Model, feeds: Sequence[Feeds]) -> float:
    """Return the median time of a run."""
    times = []
    for each in feeds:
        started = time.perf_counter()
        model.run(each)
        times.append(time.perf_counter() - started)
    return float(np.median(times)) * 1000


def _things(outputs: Sequence[Array]) -> list[tuple[float, ...]]:
    """Return category, score and box of each thing."""
    boxes, categories, scores = (np.asarray(output[0], np.float64) for output in outputs[:3])
    return [
        (float(category), float(score), *map(float, box))
        for box, category, score in zip(boxes, categories, scores, strict=True)
    ]
