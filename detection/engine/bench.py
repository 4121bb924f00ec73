"""Measure what each network costs on this machine, fed by its own detector with a photograph and with sound.

The photograph is a candidate who sits there, two frames a second. The sound is noise, taken for somebody who speaks
without a pause: nothing that people said is part of the project, and networks take as long for the one as the other.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detection.engine.detectors import DETECTORS
from detection.engine.media import SAMPLE_RATE_HZ, AudioWindow, Frame, decode_image
from detection.engine.model import Array, Model
from detection.engine.observations import AUDIO, Measure, SpeechMeasure
from detection.engine.pipeline import Pipeline
from detection.engine.policy import Policy
from detection.engine.samples import AudioJob, AudioSample, FrameJob
from detection.engine.segmentation import FRAME_S, STRETCH_S, SpeakersMeasure, Voices
from detection.engine.weights import WeightsError, weights_path

logger = logging.getLogger(__name__)

Image = NDArray[np.uint8]
Sound = NDArray[np.float32]

PHOTOGRAPH = "photo_a_1"
"""Of the demo's: without a face in the picture, what looks at faces has nothing to do."""
_POLICY = Policy.from_dict({"detectors": {"transcript": {"enabled": True, "keywords": ["answer"]}}})
"""The default, and words are listened for where what hears them is installed."""


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
    image = _photograph()
    template = _template(pipeline, image)
    sound = np.random.default_rng(0).normal(0, 0.05, round((STRETCH_S + 1) * SAMPLE_RATE_HZ)).astype(np.float32)
    times = [_Times(model) for model in pipeline.models]
    for each in times:
        each.start()
    for index in range(samples):
        pipeline.analyse_frames([_frame(pipeline, image, template, index)])
        _listen(pipeline, _window(sound, index))
    for each in times:
        if each.ms:
            yield _cost(each, samples)
        else:
            logger.warning("%s had nothing to do: is the demo's photograph there (make weights)?", each.model.name)


def _frame(pipeline: Pipeline, image: Image, template: Any, index: int) -> FrameJob:
    """Return a frame of a session that runs already: what looks each so many seconds looks at the first one too."""
    step_s = 1 / _POLICY.sampling.frames_per_second
    at = index * step_s
    return FrameJob(Frame("", image, at), template, at - step_s, _POLICY, template_model=_template_model(pipeline))


def _window(sound: Sound, index: int) -> AudioJob:
    """Return a second of sound with ten seconds before it, likewise."""
    past, window = sound[:-SAMPLE_RATE_HZ], AudioWindow("", sound[-SAMPLE_RATE_HZ:], 0, index - 1.0, float(index))
    return AudioJob(window, _POLICY, previous_ended_at=index - 1.0, load_past=lambda: past)


def _listen(pipeline: Pipeline, job: AudioJob) -> None:
    """Let every detector of sound hear a window as if one person had spoken all the time."""
    sample = AudioSample(job)
    for name in filter(pipeline.has, DETECTORS):
        detector = pipeline.detector(name)
        if detector.stream == AUDIO and detector.due(sample):
            (measure,) = detector.measure([sample])
            sample.found[name] = _SPOKEN.get(name, measure)


def _one_voice() -> SpeakersMeasure:
    count = round(STRETCH_S / FRAME_S)
    none, speaks = np.zeros(count, np.float32), np.ones(count, np.float32)
    voices = Voices(np.arange(count, dtype=np.float64) * FRAME_S, speaks, none, np.stack([speaks, none], axis=1))
    return SpeakersMeasure(((0.0, 0.0),) * round(STRETCH_S), 0.0, voices)


_SPOKEN: Mapping[str, Measure] = {
    "speech": SpeechMeasure(share=1.0, peak=1.0, first_at=None, last_at=None),
    "speakers": _one_voice(),
}
"""What is found in noise is put in these detectors' places."""


def _cost(times: _Times, samples: int) -> ModelCost:
    median, p95 = np.percentile(times.ms, [50, 95])
    return ModelCost(
        times.model.name,
        times.model.provider,
        round(float(median), 3),
        round(float(p95), 3),
        round(len(times.ms) / samples, 2),
    )


def _photograph() -> Image:
    try:
        return decode_image(weights_path(PHOTOGRAPH).read_bytes())
    except WeightsError:
        return np.zeros((480, 640, 3), np.uint8)


def _template(pipeline: Pipeline, image: Image) -> Any:
    if "identity" in pipeline.unavailable or "faces" in pipeline.unavailable:
        return None
    faces = pipeline.faces.detect(image)
    return pipeline.embedder.embed(image, faces[0]) if faces else None


def _template_model(pipeline: Pipeline) -> str:
    return "" if "identity" in pipeline.unavailable else pipeline.embedder.model_name
