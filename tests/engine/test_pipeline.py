"""The cascade over samples of many candidates, and what happens when a part of it fails."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass

import numpy as np
import pytest

from detection.engine.detectors import DETECTORS, DetectorEntry
from detection.engine.media import AudioWindow
from detection.engine.pipeline import AudioJob, Pipeline, PipelineError
from detection.engine.policy import Detectors, Policy
from detection.engine.samples import VideoSample
from detection.engine.weights import load_manifest
from tests.engine.scenes import room


@dataclass(frozen=True)
class Shade:
    """A measure of a detector made for these tests."""

    value: float

    def to_dict(self):
        return {"value": self.value}


class Shader:
    """A detector that measures how bright a frame is, and cannot bear green."""

    name, stream, models = "shade", "video", ()

    def __init__(self) -> None:
        self.batches: list[int] = []

    def due(self, sample) -> bool:
        return sample.job.frame.captured_at >= 0

    def measure(self, samples):
        self.batches.append(len(samples))
        if any(sample.job.frame.image[0, 0, 1] == 255 for sample in samples):
            raise ValueError("green")
        return [Shade(float(sample.job.frame.image.mean())) for sample in samples]


def flat(*bgr: int) -> np.ndarray:
    return np.full((8, 8, 3), bgr, np.uint8)


def sound(window_id: str = "w", at: float = 5.0) -> AudioJob:
    noise = np.random.default_rng(1).normal(0, 0.01, 24000).astype(np.float32)
    return AudioJob(AudioWindow(window_id, noise, 8000, at, at + 1), Policy())


def test_frames_of_several_candidates_come_back_in_order(pipeline, photo, frame_job):
    template = pipeline.embedder.embed(photo("a_1"), pipeline.faces.detect(photo("a_1"))[0])
    jobs = [
        frame_job(photo("a_2"), frame_id="mine", template=template, attentive=True),
        frame_job(photo("c_1"), frame_id="stranger", template=template, attentive=True),
        frame_job(np.zeros((480, 640, 3), np.uint8), frame_id="nobody", at=12.0, previous=11.5, attentive=True),
        frame_job(room((photo("a_2"), 0.4, 0, 0), (photo("b_1"), 0.4, 320, 0)), frame_id="two", at=11.0, previous=10.5),
    ]
    mine, stranger, nobody, two = pipeline.analyse_frames(jobs)
    assert [o.sample_id for o in (mine, stranger, nobody, two)] == ["mine", "stranger", "nobody", "two"]
    assert {o.stream for o in (mine, stranger, nobody, two)} == {"video"}
    assert (mine.captured_at, two.captured_at) == (10.0, 11.0)
    assert mine.measures["identity"]["similarity"] > 0.95
    assert stranger.measures["identity"]["similarity"] < 0.5
    nothing = {"count": 0, "possible": 0, "boxes_xyxy": [], "scores": [], "width_px": None, "visible_share": None}
    assert nobody.measures["faces"] == nothing
    assert "identity" not in nobody.measures
    assert nobody.measures["objects"] == {"found": [], "size_wh": [640, 480]}
    assert two.measures["faces"]["count"] == 2
    assert "identity" not in two.measures


def test_measures_are_json(pipeline, photo, frame_job):
    template = pipeline.embedder.embed(photo("a_1"), pipeline.faces.detect(photo("a_1"))[0])
    (seen,) = pipeline.analyse_frames([frame_job(photo("a_2"), template=template, attentive=True)])
    (heard,) = pipeline.analyse_audio([sound()])
    for observation in (seen, heard):
        text = json.dumps(observation.to_dict(), allow_nan=False)
        assert type(observation).from_dict(json.loads(text)) == observation


def test_windows_come_back_with_their_span(pipeline):
    first, second = pipeline.analyse_audio([sound("w1", 5.0), sound("w2", 7.0)])
    assert (first.sample_id, first.stream, first.span) == ("w1", "audio", (5.0, 6.0))
    assert (second.sample_id, second.span) == ("w2", (7.0, 8.0))
    assert first.measures["level"]["rms_dbfs"] == pytest.approx(-40, abs=0.2)
    assert first.measures["speech"]["share"] == 0


def test_no_jobs_are_no_observations(pipeline):
    assert pipeline.analyse_frames([]) == []
    assert pipeline.analyse_audio([]) == []


def test_what_the_policy_switches_off_is_not_measured(pipeline, photo, frame_job):
    off = Policy.from_dict({"detectors": {name: {"enabled": False} for name in DETECTORS}})
    assert pipeline.analyse_frames([frame_job(photo("a_1"), policy=off)])[0].measures == {}
    assert pipeline.analyse_audio([AudioJob(sound().window, off)])[0].measures == {}


# --- When something fails


def test_a_detector_that_raises_on_a_frame_fails_on_that_frame_alone(frame_job, caplog):
    shader = Shader()
    jobs = [frame_job(flat(0, 0, 9)), frame_job(flat(0, 255, 0)), frame_job(flat(0, 0, 60))]
    with caplog.at_level(logging.ERROR):
        observations = Pipeline({"shade": shader}).analyse_frames(jobs)
    assert [observation.measures for observation in observations] == [
        {"shade": {"value": 3.0}},
        {"errors": {"shade": "ValueError: green"}},
        {"shade": {"value": 20.0}},
    ]
    assert shader.batches == [3, 1, 1, 1]
    assert "shade" in caplog.text


def test_the_other_detectors_go_on(pipeline, frame_job):
    both = Pipeline({"shade": Shader(), "faces": pipeline.faces})
    (seen,) = both.analyse_frames([frame_job(flat(0, 255, 0))])
    assert seen.measures["errors"] == {"shade": "ValueError: green"}
    assert seen.measures["faces"]["count"] == 0


def test_a_detector_with_too_few_answers_is_at_fault(frame_job):
    class Forgetful(Shader):
        def measure(self, samples):
            return super().measure(samples)[1:]

    seen = Pipeline({"shade": Forgetful()}).analyse_frames([frame_job(flat(0, 0, 9))])[0]
    assert "ValueError" in seen.measures["errors"]["shade"]


def test_a_broken_template_fails_its_own_frame(pipeline, photo, frame_job):
    good = pipeline.embedder.embed(photo("a_1"), pipeline.faces.detect(photo("a_1"))[0])
    jobs = [frame_job(photo("a_2"), template=template, attentive=True) for template in (good, good[:64])]
    fine, broken = pipeline.analyse_frames(jobs)
    assert fine.measures["identity"]["decided"]
    assert "errors" not in fine.measures
    assert "shape" in broken.measures["errors"]["identity"]
    assert broken.measures["faces"]["count"] == 1


def test_a_detector_without_weights_is_switched_off_loudly(tmp_path, monkeypatch, caplog, frame_job):
    monkeypatch.setenv("WEIGHTS_DIR", str(tmp_path))
    with caplog.at_level(logging.ERROR):
        loaded = Pipeline.load()
    assert set(loaded.unavailable) == {name for name, entry in DETECTORS.items() if entry.weights or entry.assets}
    assert {"faces", "identity", "speech"} < set(loaded.unavailable)
    assert "make weights" in loaded.unavailable["faces"]
    assert "Detector faces is switched off" in caplog.text
    with pytest.raises(PipelineError, match="FaceDetector is switched off"):
        loaded.faces  # noqa: B018
    with pytest.raises(PipelineError, match="FaceEmbedder is switched off"):
        loaded.embedder  # noqa: B018
    assert set(loaded.analyse_frames([frame_job(flat(0, 0, 0))])[0].measures) == {"camera"}
    assert set(loaded.analyse_audio([sound()])[0].measures) == {"level", "sounds"}


# --- The list of detectors


def test_every_detector_has_its_weights_and_its_section_in_the_policy():
    sections = set(Detectors.__dataclass_fields__)
    assert set(DETECTORS) == sections
    for entry in DETECTORS.values():
        assert isinstance(entry, DetectorEntry)
        assert {weight.partition("!")[0] for weight in (*entry.weights, *entry.assets)} <= set(load_manifest())


def test_a_loaded_pipeline_tells_what_runs_where(pipeline):
    needed = {name: entry for name, entry in DETECTORS.items() if not entry.is_optional}
    models = [model for name in needed for model in pipeline.detector(name).models]
    assert {model.name for model in models} == {w for entry in needed.values() for w in entry.weights}
    assert {model.provider for model in models} == {"CPUExecutionProvider", "LiteRT"}
    assert all(model.mean_ms > 0 for model in models)
    order = [detector.name for detector in (*pipeline._video, *pipeline._audio)]
    assert [name for name in order if name in needed] == list(needed)


def test_sessions_do_not_all_look_at_the_same_moment(frame_job):
    def looks(phase):
        """Return the seconds at which a look each two seconds is due."""
        jobs = [frame_job(flat(0, 0, 0), at=at, previous=at - 0.5, phase=phase) for at in np.arange(10.0, 20.0, 0.5)]
        return [job.frame.captured_at for job in jobs if VideoSample(job).is_due(2.0)]

    assert looks(0.0) == [10, 12, 14, 16, 18]
    assert looks(0.5) == [11, 13, 15, 17, 19]
    assert looks(0.25) == [11.5, 13.5, 15.5, 17.5, 19.5]
