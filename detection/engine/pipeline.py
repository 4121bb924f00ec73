"""Run every detector over samples of many candidates: jobs in, observations out. Keeps nothing between calls."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Self, TypeVar

import numpy as np

from detection.engine.adapters import chosen_models, with_chosen
from detection.engine.batching import SIZES
from detection.engine.detectors import DETECTORS, DetectorEntry
from detection.engine.detectors.faces import FaceDetector
from detection.engine.detectors.identity import FaceEmbedder
from detection.engine.media import SAMPLE_RATE_HZ, AudioWindow, Frame
from detection.engine.model import Model
from detection.engine.observations import AUDIO, ERRORS, VIDEO, Face, FacesMeasure, Observation
from detection.engine.policy import Policy
from detection.engine.recogniser import load_recogniser
from detection.engine.runtime import CUDA, RuntimeModelError, load_model, read_part
from detection.engine.samples import AudioJob, AudioSample, Detector, FrameJob, Sample, VideoSample, WarmsUp
from detection.engine.weights import WeightsError, WeightsUnavailableError, converted_path, weights_path

__all__ = ["AudioJob", "FrameJob", "Pipeline", "PipelineError"]

Kind = TypeVar("Kind")

logger = logging.getLogger(__name__)


class PipelineError(RuntimeError):
    """A detector that is asked for is switched off; the message says which and why."""


class Pipeline:
    """The loaded detectors of one process."""

    def __init__(
        self,
        detectors: Mapping[str, Any],
        *,
        unavailable: Mapping[str, str] | None = None,
        not_installed: Mapping[str, str] | None = None,
        stand_ins: Mapping[str, str] | None = None,
    ) -> None:
        """Take built detectors by name, in the order they run; ``unavailable`` are those missing, and why.

        ``not_installed``: optional ones that this installation has not asked for, and what would install them.

        ``stand_ins``: by detector, the network that has taken the place of its own; its measures say so.
        """
        self._stand_ins = dict(stand_ins or {})
        self._detectors = dict(detectors)
        self.unavailable: Mapping[str, str] = dict(unavailable or {})
        self.not_installed: Mapping[str, str] = dict(not_installed or {})
        self._video: list[Detector[VideoSample]] = self._of(VIDEO)
        self._audio: list[Detector[AudioSample]] = self._of(AUDIO)

    @classmethod
    def load(cls, *, device: str = "cpu", entries: Mapping[str, DetectorEntry] | None = None) -> Self:
        """Load every detector's networks on ``device`` and run each once, so that the first candidate need not wait.

        A detector whose weights cannot be had is switched off, loudly: see ``unavailable``. Without ``entries``, all
        detectors with the networks that ``DETECTOR_MODELS`` chooses; raises ``WeightsError`` for an impossible choice.
        """
        chosen = chosen_models() if entries is None else {}
        entries = with_chosen(DETECTORS, chosen) if entries is None else entries
        detectors: dict[str, Any] = {}
        unavailable: dict[str, str] = {}
        not_installed: dict[str, str] = {}
        loaded: dict[str, Model] = {}
        for name, entry in entries.items():
            try:
                for weight in entry.weights:
                    if weight not in loaded:
                        loaded[weight] = _load(weight, device)
                models = [loaded[weight] for weight in entry.weights]
                recogniser = [load_recogniser(entry.recogniser, device)] if entry.recogniser else []
                detectors[name] = entry.build(*models, *(_read(asset) for asset in entry.assets), *recogniser)
            except (WeightsError, RuntimeModelError) as error:
                if entry.is_optional and name not in chosen and isinstance(error, WeightsUnavailableError):
                    logger.info("Detector %s is switched off: %s", name, error)
                    not_installed[name] = str(error)
                    continue
                logger.error("Detector %s is switched off: %s", name, error)
                unavailable[name] = str(error)
        pipeline = cls(detectors, unavailable=unavailable, not_installed=not_installed, stand_ins=chosen)
        pipeline._warm_up()
        return pipeline

    def has(self, name: str) -> bool:
        """Return whether a detector of that name is loaded."""
        return name in self._detectors

    def detector(self, name: str) -> Any:
        """Return one detector; ``PipelineError`` where it is switched off or this pipeline has none of that name."""
        if name not in self._detectors:
            reason = {**self.not_installed, **self.unavailable}.get(name, "it is not part of this pipeline")
            raise PipelineError(f"The detector {name} is switched off: {reason}")
        return self._detectors[name]

    @property
    def models(self) -> list[Model]:
        """Return every loaded network once, for health and metrics; detectors may share one."""
        models = [model for detector in self._detectors.values() for model in detector.models]
        return list({id(model): model for model in models}.values())

    @property
    def faces(self) -> FaceDetector:
        """Return the face detector; switched off: ``PipelineError``."""
        return _expect(self._detectors.get("faces"), FaceDetector, self.unavailable)

    @property
    def embedder(self) -> FaceEmbedder:
        """Return the face embedder; switched off: ``PipelineError``."""
        return _expect(self._detectors.get("identity"), FaceEmbedder, self.unavailable)

    def analyse_frames(self, jobs: Sequence[FrameJob]) -> list[Observation]:
        """Measure frames of many candidates; one observation per job, in order.

        A detector that raises on a frame fails on that frame alone, and says so under ``measures["errors"]``.
        """
        samples = [VideoSample(job) for job in jobs]
        for detector in self._video:
            _run(detector, samples)
        return [
            Observation(sample.job.frame.frame_id, VIDEO, sample.job.frame.captured_at, self._measures(sample))
            for sample in samples
        ]

    def analyse_audio(self, jobs: Sequence[AudioJob]) -> list[Observation]:
        """Measure audio windows of many candidates; one observation per job, in order. Errors as with frames."""
        samples = [AudioSample(job) for job in jobs]
        for detector in self._audio:
            _run(detector, samples)
        return [self._heard(sample) for sample in samples]

    def _heard(self, sample: AudioSample) -> Observation:
        window, measures = sample.job.window, self._measures(sample)
        return Observation(window.window_id, AUDIO, window.ended_at, measures, started_at=window.started_at)

    def _measures(self, sample: VideoSample | AudioSample) -> dict[str, Any]:
        measures: dict[str, Any] = {name: measure.to_dict() for name, measure in sample.found.items()}
        for name in self._stand_ins.keys() & measures.keys():
            measures[name]["model"] = self._stand_ins[name]
        if sample.errors:
            measures[ERRORS] = sample.errors
        return measures

    def _of(self, stream: str) -> list[Any]:
        return [detector for detector in self._detectors.values() if detector.stream == stream]

    def _warm_up(self) -> None:
        """Run each network on nothing; on a GPU on one input and on a batch, because a first run prepares its shape."""
        for count in SIZES if any(model.batches for model in self.models) else SIZES[:1]:
            self._look_at_nothing(count)
        for detector in self._detectors.values():
            if isinstance(detector, WarmsUp):
                detector.warm_up()

    def _look_at_nothing(self, count: int) -> None:
        frame = Frame("", np.zeros((480, 640, 3), np.uint8), 0.0)
        self.analyse_frames([FrameJob(frame, None, None, Policy())] * count)
        silence = np.zeros(SAMPLE_RATE_HZ, np.float32)
        self.analyse_audio([AudioJob(AudioWindow("", silence, 0, 0.0, 1.0), Policy())])
        somewhere = np.array([[300, 200], [340, 200], [320, 225], [305, 245], [335, 245]], np.float32)
        face = Face((280.0, 160.0, 360.0, 260.0), 1.0, somewhere)
        job, faces = FrameJob(frame, None, None, Policy()), FacesMeasure((face,), count=1)
        seated = [VideoSample(job, found={"faces": faces}) for _ in range(count)]
        for detector in self._video:
            if detector.name != "faces":  # it would find nobody
                _run(detector, seated)
        if "identity" in self._detectors:
            self.embedder.probe([(frame.image, face)] * count)


def _load(reference: str, device: str) -> Model:
    """Load ``NAME`` of the manifest, or a bundle's part ``NAME!PART``; on a GPU its conversion where there is one."""
    name, _, part = reference.partition("!")
    if device == "cuda" and (converted := converted_path(reference)) is not None:
        model = load_model(converted, device=device, name=reference)
        if model.provider == CUDA:
            return model
    return load_model(weights_path(name), device=device, name=reference, part=part)


def _read(reference: str) -> bytes:
    """Read a file of the manifest that is no network, or one part of a bundle."""
    name, _, part = reference.partition("!")
    return read_part(weights_path(name), part) if part else weights_path(name).read_bytes()


def _expect(detector: Any, kind: type[Kind], unavailable: Mapping[str, str]) -> Kind:
    if not isinstance(detector, kind):
        raise PipelineError(f"The {kind.__name__} is switched off: {unavailable or 'it is not part of this pipeline'}")
    return detector


def _run(detector: Detector[Sample], samples: Sequence[Sample]) -> None:
    """Let a detector measure the samples that want it, together; where that fails, each alone."""
    due = [sample for sample in samples if detector.due(sample)]
    if not due:
        return
    try:
        measures = detector.measure(due)
        for sample, measure in zip(due, measures, strict=True):
            sample.found[detector.name] = measure
    except Exception as error:
        logger.exception("Detector %s failed on %d samples", detector.name, len(due))
        if len(due) > 1:
            for sample in due:
                _run(detector, [sample])
        else:
            due[0].found.pop(detector.name, None)
            due[0].errors[detector.name] = f"{type(error).__name__}: {error}"
