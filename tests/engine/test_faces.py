"""Finding faces in photographs, webcam pictures and nothing."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from detection.engine import geometry
from detection.engine.detectors.faces import FaceDetector
from detection.engine.policy import Policy
from detection.engine.samples import VideoSample
from tests.engine.scenes import blurred, lit, noisy, room

NAMES = ["a_1", "a_2", "b_1", "b_2", "c_1", "d_1"]


@pytest.fixture(scope="module")
def detector(pipeline) -> FaceDetector:
    return pipeline.faces


@pytest.fixture(scope="module")
def person(detector, photo):
    """Return a function from a name and a face width to what ``room`` wants, placed at x, y."""

    def placed(name: str, width_px: float, x: int, y: int):
        image = photo(name)
        return image, width_px / detector.detect(image)[0].width_px, x, y

    return placed


class FakeModel:
    """A network that answers with the real one and notes the shapes it saw."""

    def __init__(self, model, *, batches: bool) -> None:
        self._model, self.batches = model, batches
        self.name, self.provider, self.mean_ms, self.shapes = "fake", "none", 0.0, []

    def run(self, feeds):
        self.shapes.append(feeds["input"].shape)
        return self._model.run(feeds)


@pytest.mark.parametrize("name", NAMES)
def test_it_agrees_with_opencv(detector, photo, weights_dir, name):
    image = photo(name)
    height, width = image.shape[:2]
    scale = min(1.0, 640 / max(height, width))
    small = cv2.resize(image, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    reference = cv2.FaceDetectorYN.create(
        str(weights_dir / "face_detection_yunet_2023mar.onnx"), "", small.shape[1::-1], 0.5, 0.3
    )
    (expected,) = reference.detect(small)[1]
    (face,) = detector.detect(small)
    left, top, wide, high = expected[:4]
    np.testing.assert_allclose(face.box_xyxy, (left, top, left + wide, top + high), atol=0.5)
    np.testing.assert_allclose(face.landmarks.ravel(), expected[4:14], atol=0.5)
    assert face.score == pytest.approx(float(expected[14]), abs=1e-3)
    (in_original,) = detector.detect(image)
    np.testing.assert_allclose(in_original.box_xyxy, np.array(face.box_xyxy) / scale, atol=2)


def test_landmarks_go_from_the_images_left_to_its_right(detector, photo):
    (face,) = detector.detect(photo("a_1"))
    left_eye, right_eye, nose, left_mouth, right_mouth = face.landmarks
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_mouth[0] < right_mouth[0]
    assert left_eye[1] < nose[1] < left_mouth[1]


@pytest.mark.parametrize("width_px", [60, 40, 30, 24, 20, 16])
def test_a_second_person_far_behind_is_found(detector, person, width_px):
    picture = room(person("a_1", 157, 20, 100), person("b_1", width_px, 450, 100))
    faces = detector.detect(picture)
    assert len(faces) == 2
    assert faces[0].width_px == pytest.approx(157, rel=0.1)
    assert faces[1].width_px == pytest.approx(width_px, rel=0.25)
    assert min(face.score for face in faces) >= 0.8


def test_everybody_in_the_room_is_found_largest_first(detector, person):
    people = [("a_1", 120, 0, 180), ("b_1", 90, 200, 200), ("c_1", 70, 350, 10), ("d_1", 50, 500, 200)]
    faces = detector.detect(room(*(person(*each) for each in people)))
    assert len(faces) == 4
    assert [face.width_px for face in faces] == sorted((face.width_px for face in faces), reverse=True)


@pytest.mark.parametrize("turns", [1, 3])
@pytest.mark.parametrize("name", ["a_1", "b_1", "d_1"])
def test_a_photograph_lying_on_its_side_is_found_when_looked_at_thoroughly(detector, photo, name, turns):
    upright = photo(name)
    (expected,) = detector.detect(upright)
    lying = np.ascontiguousarray(np.rot90(upright, turns))
    (face,) = detector.detect(lying, thorough=True)
    assert face.score >= 0.8
    difference = geometry.align(lying, face.landmarks).astype(float) - geometry.align(upright, expected.landmarks)
    assert np.abs(difference).mean() < 10


def test_a_small_tight_face_is_found_when_looked_at_thoroughly(detector, photo):
    left, top, right, bottom = (int(edge) for edge in detector.detect(photo("b_1"))[0].box_xyxy)
    tiny = cv2.resize(photo("b_1")[top:bottom, left:right], (11, 14), interpolation=cv2.INTER_AREA)
    assert detector.detect(tiny) == []
    (face,) = detector.detect(tiny, thorough=True)
    assert 0 <= face.landmarks.min() <= face.landmarks.max() <= 14


def test_a_face_in_the_dark_is_found_by_stretching_tones(detector, person):
    dark = noisy(lit(room(person("a_1", 150, 180, 100)), 0.05), 3)
    assert len(detector.detect(dark)) == 1
    assert detector.detect(noisy(lit(room(), 0.05), 3)) == []


@pytest.mark.parametrize(("cut", "low", "high"), [(0.0, 0.9, 1.0), (0.3, 0.6, 0.85), (0.5, 0.4, 0.7)])
@pytest.mark.parametrize("side", ["left", "right", "bottom", "top"])
def test_how_much_of_a_face_the_edge_cuts_off(detector, person, frame_job, cut, low, high, side):
    picture = room(person("a_1", 140, 150, 60))
    left, top, right, bottom = detector.detect(picture)[0].box_xyxy
    across, down = (right - left) * cut, (bottom - top) * cut
    part = {
        "left": picture[:, int(left + across) :],
        "right": picture[:, : int(right - across)],
        "bottom": picture[: int(bottom - down)],
        "top": picture[int(top + down) :],
    }[side]
    (measure,) = detector.measure([VideoSample(frame_job(np.ascontiguousarray(part)))])
    assert low <= measure.visible_share <= high


@pytest.mark.parametrize("name", ["a_1", "b_1", "c_1"])
@pytest.mark.parametrize("margin", [0.2, 0.0, -0.1, -0.2, -0.3])
def test_a_face_that_fills_or_overflows_the_picture_is_one_sure_face(detector, photo, name, margin):
    image = photo(name)
    left, top, right, bottom = detector.detect(image)[0].box_xyxy
    across, down = (right - left) * margin, (bottom - top) * margin
    crop = image[max(0, int(top - down)) : int(bottom + down), max(0, int(left - across)) : int(right + across)]
    (face,) = detector.detect(cv2.resize(crop, None, fx=640 / max(crop.shape), fy=640 / max(crop.shape)))
    assert face.score >= 0.8


@pytest.mark.parametrize("worse", [lambda i: blurred(i, 4), lambda i: lit(i, 0.15), lambda i: noisy(i, 25)])
def test_a_poor_picture_still_shows_that_somebody_is_there(detector, person, worse):
    assert len(detector.detect(worse(room(person("a_1", 140, 180, 100))))) == 1


def test_large_frames_keep_their_own_pixels(detector, person):
    (face,) = detector.detect(room(person("a_1", 300, 400, 50), size_wh=(1280, 720)))
    assert face.width_px == pytest.approx(300, rel=0.1)
    assert face.box_xyxy[0] > 400


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((480, 640, 3), np.uint8),
        np.full((480, 640, 3), 255, np.uint8),
        np.random.default_rng(1).integers(0, 256, (480, 640, 3)).astype(np.uint8),
        np.zeros((1, 1, 3), np.uint8),
        np.zeros((3, 2000, 3), np.uint8),
        np.zeros((4320, 7680, 3), np.uint8),
    ],
    ids=["black", "white", "noise", "1x1", "2000x3", "8K"],
)
def test_nobody_is_an_empty_list(detector, picture):
    assert detector.detect(picture) == []


def test_a_gpu_gets_pictures_together_as_squares_and_gives_the_same(detector, person, photo):
    real = detector.models[0]
    pictures = [room(person("a_1", 157, 20, 100)), room(person("b_1", 100, 300, 50)), photo("c_1")]
    alone, together = FakeModel(real, batches=False), FakeModel(real, batches=True)
    expected = FaceDetector(alone).detect_many(pictures)
    found = FaceDetector(together).detect_many(pictures)
    assert [shape[0] for shape in alone.shapes] == [1, 1, 1]
    assert together.shapes == [(8, 3, 640, 640)], "whatever their shapes"
    assert [len(faces) for faces in found] == [1, 1, 1]
    for one, other in zip(expected, found, strict=True):
        # The black beside a picture is seen by the network, where a picture's own border is not.
        np.testing.assert_allclose(one[0].box_xyxy, other[0].box_xyxy, atol=0.005 * one[0].width_px)


def test_the_policy_decides_what_counts(detector, person, frame_job):
    picture = blurred(room(person("a_1", 157, 20, 100), person("b_1", 20, 450, 100)), 2.5)
    scores = [face.score for face in detector.detect(picture)]
    assert len(scores) == 2
    between = round((min(scores) + max(scores)) / 2, 3)
    sure = Policy.from_dict({"detectors": {"faces": {"sure_score": between}}})
    (measure,) = detector.measure([VideoSample(frame_job(picture, policy=sure))])
    assert (measure.to_dict()["count"], measure.to_dict()["possible"]) == (1, 2)
    strict = Policy.from_dict({"detectors": {"faces": {"min_score": between, "sure_score": between}}})
    (measure,) = detector.measure([VideoSample(frame_job(picture, policy=strict))])
    assert (measure.to_dict()["count"], measure.to_dict()["possible"]) == (1, 1)
    assert len(measure.to_dict()["boxes_xyxy"]) == len(measure.to_dict()["scores"]) == 1
