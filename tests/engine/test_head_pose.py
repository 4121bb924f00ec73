"""Landmarks and head pose on real photographs, and on a face whose angles are known exactly."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from detection.engine.canonical_face import CANONICAL_FACE, read_vertices
from detection.engine.detectors.head_pose import HeadPoseDetector, euler
from detection.engine.detectors.landmarks import POINTS, LandmarkDetector
from detection.engine.media import Frame
from detection.engine.model import FACE_LANDMARKER
from detection.engine.pipeline import FrameJob
from detection.engine.policy import Policy
from detection.engine.runtime import read_part
from detection.engine.weights import weights_path


@pytest.fixture
def photograph(photo):
    """B, whose head is turned."""
    return photo("b_1")


@pytest.fixture(scope="module")
def vertices(weights_dir):
    return read_vertices(read_part(weights_path(FACE_LANDMARKER), CANONICAL_FACE.partition("!")[2]))


@pytest.fixture(scope="module")
def detector(weights_dir):
    return HeadPoseDetector(read_part(weights_path(FACE_LANDMARKER), CANONICAL_FACE.partition("!")[2]))


def measure(pipeline, image, *, previous_captured_at=None, **detectors):
    policy = Policy.from_dict({"detectors": detectors})
    job = FrameJob(Frame("f", image, 10.0), None, previous_captured_at, policy)
    return pipeline.analyse_frames([job])[0].measures


def rotation(pitch_deg, yaw_deg, roll_deg):
    """Turn about z, then y, then x, as AFLW2000's labels do: signs of the glossary, axes x right, y up, z to camera."""
    p, y, r = (math.radians(angle) for angle in (-pitch_deg, yaw_deg, -roll_deg))
    about_x = np.array([[1, 0, 0], [0, math.cos(p), -math.sin(p)], [0, math.sin(p), math.cos(p)]])
    about_y = np.array([[math.cos(y), 0, math.sin(y)], [0, 1, 0], [-math.sin(y), 0, math.cos(y)]])
    about_z = np.array([[math.cos(r), -math.sin(r), 0], [math.sin(r), math.cos(r), 0], [0, 0, 1]])
    return about_x @ about_y @ about_z


@pytest.mark.parametrize("angles", [(0, 0, 0), (20, 0, 0), (0, 35, 0), (0, 0, 15), (-12, -40, 25), (10, 60, -8)])
def test_the_angles_of_a_known_face_are_found(detector, vertices, angles):
    turned = vertices @ rotation(*angles).T
    points = np.column_stack([320 + 12 * turned[:, 0], 240 - 12 * turned[:, 1]])  # y points down in pictures
    np.testing.assert_allclose(detector.angles(points), angles, atol=1e-6)


def test_the_signs_are_those_of_the_glossary(vertices):
    nose = 1  # the tip
    ahead = vertices[nose] - vertices.mean(axis=0)
    for angles, axis in (((0, 30, 0), 0), ((30, 0, 0), 1)):  # to image right; up
        assert (rotation(*angles) @ ahead)[axis] > ahead[axis] + 1
    crown = rotation(0, 0, 30) @ [0, 1, 0]
    assert crown[0] > 0.4  # clockwise: the top of the head goes to image right
    np.testing.assert_allclose(euler(rotation(5, -10, 15)), (5, -10, 15), atol=1e-9)


def test_tilting_the_head_leaves_where_the_nose_points(vertices):
    nose = [0, 0, 1]
    for roll in (0, 40, -90):
        pitch, yaw, found = euler(rotation(15, 50, roll))
        np.testing.assert_allclose((pitch, yaw, found), (15, 50, roll), atol=1e-9)
        right, up, _ = rotation(15, 50, roll) @ nose
        assert right == pytest.approx(math.sin(math.radians(50)))
        assert up == pytest.approx(math.sin(math.radians(15)) * math.cos(math.radians(50)))


def test_a_photograph_has_its_points_where_the_face_is(pipeline, photograph):
    faces = pipeline.faces.detect(photograph)
    landmarks = pipeline._detectors["landmarks"]
    assert isinstance(landmarks, LandmarkDetector)
    found = landmarks.find(photograph, faces[0])
    assert found.points.shape == (POINTS, 3)
    assert found.presence > 0.99
    left, _, right, _ = faces[0].box_xyxy
    assert left - 30 < found.points[:, 0].min() < found.points[:, 0].max() < right + 30
    for eye, iris in ((0, 468), (1, 473)):  # YuNet's eyes are the irises' centres
        assert np.hypot(*(found.points[iris, :2] - faces[0].landmarks[eye])) < 0.04 * (right - left)
    assert found.blendshapes.shape == (52,)
    assert found.mirrored is None


def test_a_turned_picture_turns_the_head_by_as_much(pipeline, photograph):
    before = measure(pipeline, photograph)["head_pose"]
    height, width = photograph.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), -12, 1.0)  # negative: clockwise
    after = measure(pipeline, cv2.warpAffine(photograph, turn, (width, height)))["head_pose"]
    assert after["roll_deg"] - before["roll_deg"] == pytest.approx(12, abs=1)
    assert after["yaw_deg"] == pytest.approx(before["yaw_deg"], abs=3)


def test_a_still_of_somebody_lying_has_a_pose(pipeline, photo):
    upright = measure(pipeline, photo("c_1"))["head_pose"]
    lying = np.ascontiguousarray(cv2.rotate(photo("c_1"), cv2.ROTATE_90_CLOCKWISE))
    still, live = measure(pipeline, lying), measure(pipeline, lying, previous_captured_at=9.5)
    assert still["head_pose"]["roll_deg"] == pytest.approx(upright["roll_deg"] + 90, abs=3)
    assert "head_pose" not in live or abs(live["head_pose"]["roll_deg"] - 90) > 45  # in a stream nobody lies


def test_a_still_cut_off_within_the_face_has_a_pose(pipeline, photo):
    image = photo("a_1")
    left, top, right, bottom = pipeline.faces.detect(image)[0].box_xyxy
    across, down = (right - left) / 10, (bottom - top) / 10
    cut = image[int(top + down) : int(bottom - down), int(left + across) : int(right - across)]
    small = cv2.resize(cut, (112 * cut.shape[1] // cut.shape[0], 112), interpolation=cv2.INTER_AREA)
    found, whole = (measure(pipeline, each)["head_pose"] for each in (small, image))
    assert all(found[angle] == pytest.approx(whole[angle], abs=10) for angle in whole)


def test_the_mirror_turns_yaw_and_roll_around(pipeline, photograph):
    seen = measure(pipeline, photograph)["head_pose"]
    mirrored = measure(pipeline, np.ascontiguousarray(photograph[:, ::-1]))["head_pose"]
    assert abs(seen["yaw_deg"]) > 5
    assert mirrored["yaw_deg"] == pytest.approx(-seen["yaw_deg"], abs=1.5)
    assert mirrored["roll_deg"] == pytest.approx(-seen["roll_deg"], abs=1.5)
    assert mirrored["pitch_deg"] == pytest.approx(seen["pitch_deg"], abs=1.5)


def test_a_frame_in_a_row_is_looked_at_once_and_agrees(pipeline, photograph):
    still = measure(pipeline, photograph)["head_pose"]
    live = measure(pipeline, photograph, previous_captured_at=9.5)["head_pose"]
    assert all(live[name] == pytest.approx(still[name], abs=4) for name in ("pitch_deg", "yaw_deg", "roll_deg"))


def test_without_a_face_or_switched_off_there_is_no_head_pose(pipeline, photograph):
    nobody = measure(pipeline, np.zeros((480, 640, 3), np.uint8))
    assert not {"landmarks", "head_pose"} & nobody.keys()
    off = measure(pipeline, photograph, landmarks={"enabled": False})
    assert not {"landmarks", "head_pose"} & off.keys()
    assert "head_pose" not in measure(pipeline, photograph, head_pose={"enabled": False})
