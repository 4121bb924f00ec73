"""Measure what each network costs on this machine, fed by its own detector with a photograph and with sound."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from detection.engine.media import SAMPLE_RATE_HZ, AudioWindow, Frame, decode_image
from detection.engine.model import Array, Model
from detection.engine.pipeline import Pipeline
from detection.engine.policy import Policy
from detection.engine.samples import AudioJob, FrameJob
from detection.engine.weights import WeightsError, weights_path

logger = logging.getLogger(__name__)

PHOTOGRAPH = "photo_a_1"
"""Of the demo's: without a face in the picture, what looks at faces has nothing to do."""


@dataclass(frozen=True, slots=True)
class ModelCost:
    """What one network costs; ``runs_per_sample`` is how often its detector runs it on a frame or a second of sound."""

    model: str
    provider: str
    ms_median: float
    ms_p95: float
    runs_per_sample: float

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-able form."""
        return asdict(self)


@dataclass(slots=True)
class _Times:
    """Milliseconds of each run of a model."""

    model: Model
    ms: list[float] = field(default_factory=list)

    def start(self) -> None:
        """Time the model's runs from now on."""
        run = self.model.run

        def timed(feeds: Mapping[str, Array]) -> list[Array]:
            started = time.perf_counter()
            outputs = run(feeds)
            self.ms.append((time.perf_counter() - started) * 1000)
            return outputs

        setattr(self.model, "run", timed)  # noqa: B010  # an attribute of this very model, before its class's method


def bench(pipeline: Pipeline, *, samples: int) -> Iterator[ModelCost]:
    """Run every detector on ``samples`` frames and seconds of sound; yield the cost of each network that had to run."""
    frame = FrameJob(_photograph(), None, None, Policy(), attentive=True)
    sound = np.random.default_rng(0).normal(0, 0.05, SAMPLE_RATE_HZ).astype(np.float32)
    window = AudioJob(AudioWindow("", sound, 0, 0.0, 1.0), Policy())
    frame = FrameJob(frame.frame, _template(pipeline, frame), None, Policy(), True, _template_model(pipeline))
    times = [_Times(model) for model in pipeline.models]
    for each in times:
        each.start()
    for _ in range(samples):
        pipeline.analyse_frames([frame])
        pipeline.analyse_audio([window])
    for each in times:
        if each.ms:
            yield _cost(each, samples)
        else:
            logger.warning("%s had nothing to do: is the demo's photograph there (make weights)?", each.model.name)


def _cost(times: _Times, samples: int) -> ModelCost:
    median, p95 = np.percentile(times.ms, [50, 95])
    return ModelCost(
        times.model.name,
        times.model.provider,
        round(float(median), 3),
        round(float(p95), 3),
        round(len(times.ms) / samples, 2),
    )


def _photograph() -> Frame:
    try:
        image = decode_image(weights_path(PHOTOGRAPH).read_bytes())
    except WeightsError:
        image = np.zeros((480, 640, 3), np.uint8)
    return Frame("", image, 0.0)


def _template(pipeline: Pipeline, job: FrameJob) -> Any:
    if "identity" in pipeline.unavailable or "faces" in pipeline.unavailable:
        return None
    faces = pipeline.faces.detect(job.frame.image)
    return pipeline.embedder.embed(job.frame.image, faces[0]) if faces else None


def _template_model(pipeline: Pipeline) -> str:
    return "" if "identity" in pipeline.unavailable else pipeline.embedder.model_name
