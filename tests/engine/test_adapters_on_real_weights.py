"""The networks that take a detector's place, on their real weights, where those have been fetched.

They are no part of the set-up: ``python -m detection.engine.weights fetch 6drepnet360``; those of InsightFace are for
non-commercial use, and are looked at only where ``ACCEPT_NON_COMMERCIAL_WEIGHTS`` says so.
"""

from __future__ import annotations

import numpy as np
import pytest

from detection.engine.adapters import chosen_models, with_chosen
from detection.engine.detectors import DETECTORS
from detection.engine.pipeline import Pipeline
from detection.engine.weights import WeightsError, weights_path

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
