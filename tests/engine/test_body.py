"""Shoulders and hands: where the network sees them in real photographs, and where a fake one is told to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from detection.engine.detectors.body import FAR, MODEL_NAMES, BodyDetector, BodyMeasure
from detection.engine.model import Array
from detection.engine.observations import Face, FacesMeasure
from detection.engine.runtime import load_model
from detection.engine.samples import VideoSample
from detection.engine.weights import weights_path
from tests.engine import scenes

FACE = Face((300.0, 100.0, 340.0, 150.0), 0.9, np.zeros((5, 2), np.float32))
"""Forty pixels wide: the network's square of 480 has its middle at 320, 265, so that 1 of its 256 is 1.875 pixels."""
WHERE = {"right_shoulder": 12, "left_shoulder": 11, "right_wrist": 16, "left_index": 19}
SHOULDERS = {"right_shoulder": (280.0, 200.0), "left_shoulder": (360.0, 200.0)}


@pytest.fixture(scope="module")
def detector(weights_dir: Path) -> BodyDetector:
    name, _, part = MODEL_NAMES[0].partition("!")
    return BodyDetector(load_model(weights_path(name), part=part))


class Posed:
    """A network that sees points at given places of a picture of 640 x 480 in which ``FACE`` is, and no others."""

    name, provider, batches, mean_ms = "posed", "test", False, 0.0

    def __init__(self, **places: tuple[float, float]) -> None:
        self.fed = np.zeros(0)
        self.raw = np.zeros((39, 5), np.float32)
        self.raw[:, 3] = -9
        for name, (x, y) in places.items():
            self.raw[WHERE[name], :4] = ((x - 320) / 1.875 + 128, (y - 265) / 1.875 + 128, 0, 9)

    def run(self, feeds: Mapping[str, Array]) -> list[Array]:
        (self.fed,) = feeds.values()
        return [self.raw.reshape(1, 195), np.array([[0.9]], np.float32)]


@pytest.fixture
def pose(frame_job):
    """Measure a picture of 640 x 480 in which ``FACE`` was found and a network sees the given points."""

    def measure(**places: tuple[float, float]) -> BodyMeasure:
        sample = VideoSample(frame_job(scenes.room()), {"faces": FacesMeasure((FACE,), 1)})
        return BodyDetector(Posed(**places)).measure([sample])[0]

    return measure


def test_points_come_back_to_where_they_are_in_the_picture(pose):
    measured = pose(**SHOULDERS)
    assert measured.shoulders_xy == pytest.approx((320 / 640, 200 / 640), abs=1e-4)
    assert measured.shoulder_width == pytest.approx(80 / 640, abs=1e-4)
    assert measured.visible > 0.99
    assert (measured.hand_distance, measured.hand_side) == (FAR, "")


@pytest.mark.parametrize(
    ("hand", "distance", "side"),
    [
        ({"right_wrist": (280.0, 120.0)}, 0.5, "left"),  # 20 pixels beside a face 40 wide
        ({"left_index": (320.0, 120.0)}, 0.0, "right"),
        ({"left_index": (343.0, 154.0), "right_wrist": (200.0, 400.0)}, 0.125, "right"),
        ({"right_wrist": (320.0, 500.0)}, FAR, ""),  # below the picture: guessed, not seen
    ],
)
def test_a_hand_is_as_far_from_the_face_as_its_nearest_visible_point(pose, hand, distance, side):
    measured = pose(**SHOULDERS, **hand)
    assert measured.hand_distance == pytest.approx(distance, abs=0.01)
    assert measured.hand_side == side


@pytest.mark.parametrize("name", ["a_1", "b_1", "c_1", "d_1"])
def test_shoulders_of_real_people_lie_below_the_face_on_either_side(detector, pipeline, photo, name):
    picture = scenes.room((photo(name), 200 / photo(name).shape[1], 200, 150))
    [face, *_] = pipeline.faces.detect(picture)
    points, score = detector.points(picture, face)
    left, right = points[12], points[11]
    assert score > 0.5
    assert left[0] < (face.box_xyxy[0] + face.box_xyxy[2]) / 2 < right[0]
    assert min(left[1], right[1]) > face.landmarks[2, 1]
    assert 0.8 < (right[0] - left[0]) / face.width_px < 3.5
    nose = points[0, :2]
    assert np.hypot(*(nose - face.landmarks[2])) < 0.6 * face.width_px


def test_a_mirrored_picture_has_mirrored_shoulders(detector, pipeline, photo):
    picture = scenes.room((photo("b_1"), 200 / photo("b_1").shape[1], 100, 150))
    sides = []
    for image in (picture, np.ascontiguousarray(picture[:, ::-1])):
        points, _ = detector.points(image, pipeline.faces.detect(image)[0])
        sides.append((points[12, 0], points[11, 0]))
    assert sides[1] == pytest.approx((639 - sides[0][1], 639 - sides[0][0]), abs=12)


def test_without_a_face_nothing_is_measured(pipeline, frame_job):
    [nobody, somebody] = pipeline.analyse_frames([frame_job(scenes.room(), at=10.0), frame_job(scenes.room(), at=10.5)])
    assert "body" not in nobody.measures
    assert "body" not in somebody.measures


def test_looks_are_two_seconds_apart(pipeline, photo, frame_job):
    picture = scenes.room((photo("a_2"), 0.3, 200, 100))
    jobs = [frame_job(picture, at=at, previous=at - 0.5) for at in (10.0, 10.5, 12.0)]
    seen = [observation.measures.get("body") for observation in pipeline.analyse_frames(jobs)]
    assert [measure is not None for measure in seen] == [True, False, True]
    assert set(seen[0]) == {"score", "shoulders_xy", "shoulder_width", "visible", "hand_distance", "hand_side"}
    assert seen[0] == seen[2]


@pytest.mark.parametrize("box", [(0.0, 0.0, 0.0, 0.0), (-50.0, -50.0, 5.0, 5.0), (0.0, 0.0, 5000.0, 5000.0)])
def test_odd_faces_do_no_harm(detector, frame_job, box):
    face = Face(box, 0.9, np.zeros((5, 2), np.float32))
    sample = VideoSample(frame_job(scenes.room()), {"faces": FacesMeasure((face,), 1)})
    measure = detector.measure([sample])[0].to_dict()
    assert all(np.isfinite(measure[name]) for name in ("score", "shoulder_width", "hand_distance", "visible"))
