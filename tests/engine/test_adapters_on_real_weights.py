"""The networks that take a detector's place, on their real weights, where those have been fetched.

They are no part of the set-up: ``python -m detection.engine.weights fetch --group adapters --group whisper-tiny``.
Those of InsightFace are for non-commercial use, and are looked at only where ``ACCEPT_NON_COMMERCIAL_WEIGHTS`` says so.
"""

from __future__ import annotations

import numpy as np
import pytest

from detection.engine.adapters import chosen_models, with_chosen
from detection.engine.detectors import DETECTORS
from detection.engine.pipeline import Pipeline
from detection.engine.policy import Policy
from detection.engine.weights import WeightsError, load_manifest, weights_path
from tests.engine.talk import ANNA, BERT, room, samples_of, says

WORDS = Policy.from_dict({"detectors": {"transcript": {"enabled": True, "keywords": ["whole page", "nose"]}}})
PHOTOS = ("a_1", "a_2", "b_1", "b_2", "c_1", "d_1")


def swapped(monkeypatch: pytest.MonkeyPatch, chosen: str, *detectors: str) -> Pipeline:
    """Load some detectors with networks in their places; skip, with the reason, where the weights are not to be had."""
    for name in chosen.split(","):
        try:
            weights_path(weight := name.partition("=")[2])
        except WeightsError as error:
            pytest.skip(f"{error} Here: python -m detection.engine.weights fetch {weight}")
    monkeypatch.setenv("DETECTOR_MODELS", chosen)
    entries = with_chosen(DETECTORS, chosen_models())
    return Pipeline.load(entries={name: entries[name] for name in detectors})


def angles(measures) -> np.ndarray:
    pose = measures["head_pose"]
    return np.array([pose["pitch_deg"], pose["yaw_deg"], pose["roll_deg"]])


def test_6drepnet_sees_heads_where_the_landmarks_see_them(monkeypatch, pipeline, photo, frame_job):
    net = swapped(monkeypatch, "head_pose=6drepnet360", "faces", "head_pose")
    photos = [photo(name) for name in PHOTOS]
    turned = [np.ascontiguousarray(image[:, ::-1]) for image in photos]
    apart = []
    for image in [*photos, *turned]:
        (found,), (usual,) = (each.analyse_frames([frame_job(image)]) for each in (net, pipeline))
        assert "errors" not in found.measures
        apart.append(np.abs(angles(found.measures) - angles(usual.measures)))
    assert np.mean(apart) < 2.5
    assert np.max(apart) < 8


def test_6drepnet_sees_a_mirrored_head_turned_the_other_way(monkeypatch, photo, frame_job):
    net = swapped(monkeypatch, "head_pose=6drepnet360", "faces", "head_pose")
    mirrored = np.ascontiguousarray(photo("b_1")[:, ::-1])
    as_it_is, other = (angles(net.analyse_frames([frame_job(image)])[0].measures) for image in (photo("b_1"), mirrored))
    assert as_it_is[1] < -8
    assert other[1] > 8


def test_scrfd_finds_the_face_that_yunet_finds(monkeypatch, pipeline, photo):
    net = swapped(monkeypatch, "faces=scrfd-500m", "faces")
    for name in PHOTOS:
        found, usual = net.faces.detect(photo(name))[0], pipeline.faces.detect(photo(name))[0]
        assert np.abs(found.landmarks - usual.landmarks).max() < 0.12 * usual.width_px


def test_arcface_tells_people_apart(monkeypatch, photo):
    net = swapped(monkeypatch, "identity=w600k-mbf", "faces", "identity")
    vectors = {name: net.embedder.embed(photo(name), net.faces.detect(photo(name))[0]) for name in PHOTOS}
    assert min(vectors["a_1"] @ vectors["a_2"], vectors["b_1"] @ vectors["b_2"]) > 0.32
    others = [vectors[a] @ vectors[b] for a in PHOTOS for b in PHOTOS if a[0] < b[0]]
    assert len(others) == 13
    assert max(others) < 0.32


def test_a_smaller_whisper_hears_the_words(monkeypatch):
    net = swapped(monkeypatch, "transcript=whisper-tiny", "speech", "transcript")
    assert net.unavailable == {}
    line = room((1, says(ANNA, 2)), length_s=9)
    jobs = [sample.job for sample in samples_of(line, policy=WORDS)]
    heard = [seen.measures["transcript"] for seen in net.analyse_audio(jobs) if "transcript" in seen.measures]
    assert any(each["keywords"] == ["whole page"] and each["language"] == "en" for each in heard)
    assert all("nose" not in each["keywords"] for each in heard)


def test_segmentation_3_by_way_of_the_adapter_hears_what_it_hears_itself(monkeypatch, tmp_path, pipeline):
    weight = load_manifest()["segmentation-3.0"]
    own = tmp_path / "own.toml"
    own.write_text(
        f'[[file]]\nname = "again"\nsource = "{weights_path(weight.name)}"\nsha256 = "{weight.sha256}"\n'
        'licence = "MIT"\nadapter = "pyannote"\n'
    )
    monkeypatch.setenv("EXTRA_WEIGHTS", str(own))
    net = swapped(monkeypatch, "speakers=again", "speech", "speakers")
    assert net.unavailable == {}
    line = room((1, says(ANNA, 0)), (3, says(BERT, 1)), length_s=10)
    found, usual = (each.detector("speakers").timeline(line) for each in (net, pipeline))
    assert usual.speakers == 2
    assert np.array_equal(found.overlap, usual.overlap)


def test_wespeaker_by_way_of_the_adapter_hears_what_it_hears_itself(monkeypatch, tmp_path, pipeline):
    weight = load_manifest()["wespeaker-resnet34"]
    own = tmp_path / "own.toml"
    own.write_text(
        f'[[file]]\nname = "again"\nsource = "{weights_path(weight.name)}"\nsha256 = "{weight.sha256}"\n'
        'licence = "CC-BY-4.0"\nadapter = "wespeaker"\n'
    )
    monkeypatch.setenv("EXTRA_WEIGHTS", str(own))
    net = swapped(monkeypatch, "voice=again", "speech", "speakers", "voice")
    found, usual = (each.detector("voice").embed(says(ANNA, 0)) for each in (net, pipeline))
    assert np.array_equal(found, usual)
