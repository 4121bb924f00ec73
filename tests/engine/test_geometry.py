"""Alignment and head turn from five landmarks."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from detection.engine.geometry import align, head_turn, similarity_transform

HEAD_MM = np.array([[-31, 0, 0], [31, 0, 0], [0, 38, -27], [-25, 67, 1], [25, 67, 1]], np.float64)
"""Image-left and image-right eye, nose, mouth corners; x right, y down, z away from the camera."""


def seen(*, yaw_deg: float = 0, pitch_deg: float = 0, roll_deg: float = 0) -> np.ndarray:
    """Turn the head by the glossary's signs and project it: 700 mm away, in pixels of a webcam."""
    yaw, pitch, roll = np.radians([-yaw_deg, -pitch_deg, roll_deg])
    about_x = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    about_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    about_z = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    points = HEAD_MM @ (about_z @ about_y @ about_x).T + [0, 0, 700]
    return (points[:, :2] / points[:, 2:] * 800 + [320, 240]).astype(np.float32)


@pytest.mark.parametrize("roll_deg", [0, -25, 40])
@pytest.mark.parametrize("yaw_deg", [-45, -20, 0, 20, 45])
def test_yaw_is_told_with_its_sign_whatever_the_tilt(yaw_deg, roll_deg):
    yaw, pitch = head_turn(seen(yaw_deg=yaw_deg, roll_deg=roll_deg))
    assert yaw == pytest.approx(yaw_deg, abs=8)
    assert abs(pitch) < 10


@pytest.mark.parametrize("roll_deg", [0, -25, 40])
@pytest.mark.parametrize("pitch_deg", [-30, -15, 0, 15, 30])
def test_pitch_is_told_with_its_sign_whatever_the_tilt(pitch_deg, roll_deg):
    yaw, pitch = head_turn(seen(pitch_deg=pitch_deg, roll_deg=roll_deg))
    assert pitch == pytest.approx(pitch_deg, abs=8)
    assert abs(yaw) < 8


def test_a_nose_to_the_right_of_the_image_is_a_positive_yaw():
    frontal = seen()
    frontal[2, 0] += 10
    assert head_turn(frontal)[0] > 10


def test_a_face_seen_from_the_side_is_turned_as_far_as_can_be():
    line = np.array([[5, 0], [5, 0], [5, 3], [5, 6], [5, 6]], np.float32)
    assert head_turn(line) == (90.0, 0.0)


def test_the_transform_is_found_again():
    points = seen()
    turn = np.array([[0.9, -0.5], [0.5, 0.9]])
    matrix = similarity_transform(points, points.astype(np.float64) @ turn.T + [7, -3])
    np.testing.assert_allclose(matrix, np.hstack([turn, [[7], [-3]]]), atol=1e-6)


def test_landmarks_in_one_point_are_refused():
    with pytest.raises(ValueError, match="coincide"):
        similarity_transform(np.full((5, 2), 3, np.float32), np.zeros((5, 2)))


def test_alignment_agrees_with_opencv(pipeline, photo, weights_dir):
    reference = cv2.FaceRecognizerSF.create(str(weights_dir / "face_recognition_sface_2021dec.onnx"), "")
    for name in ("a_1", "a_2", "b_2", "d_1"):
        image = photo(name)
        face = pipeline.faces.detect(image)[0]
        row = np.array([[*face.box_xyxy, *face.landmarks.ravel(), face.score]], np.float32)
        difference = np.abs(align(image, face.landmarks).astype(int) - reference.alignCrop(image, row))
        assert difference.max() <= 2
