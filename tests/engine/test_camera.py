"""The picture itself: dark, blurred, covered, and of any size."""

from __future__ import annotations

import json
import math

import cv2
import numpy as np
import pytest

from detection.engine.detectors.camera import measure_picture
from detection.engine.observations import VIDEO, Observation
from detection.engine.policy import DEFAULT_RULES, EventType
from tests.engine.observing import START, play, policy, told
from tests.engine.scenes import blurred, lit, noisy

PHOTOS = ("a_1", "a_2", "b_1", "c_1", "d_1")


def enter(event: EventType) -> float:
    return DEFAULT_RULES[event].enter


def at_webcam_size(image):
    return cv2.resize(image, (640, 480), interpolation=cv2.INTER_AREA)


def gradient(low: int, high: int) -> np.ndarray:
    """A lens covered by something that light falls on from one side."""
    line = np.linspace(low, high, 640).astype(np.uint8)
    return np.repeat(np.repeat(line[None, :, None], 480, axis=0), 3, axis=2)


@pytest.mark.parametrize("name", PHOTOS)
def test_a_good_picture_is_neither_dark_nor_blurred_nor_covered(photo, name):
    seen = measure_picture(noisy(at_webcam_size(photo(name)), 3))
    assert seen.light > enter(EventType.LOW_LIGHT) * 2
    assert seen.sharpness > DEFAULT_RULES[EventType.BLURRED].exit
    assert seen.detail > DEFAULT_RULES[EventType.CAMERA_COVERED].exit * 1.5


@pytest.mark.parametrize("name", PHOTOS)
def test_a_picture_out_of_focus_is_blurred_and_not_covered(photo, name):
    seen = measure_picture(noisy(blurred(at_webcam_size(photo(name)), 8), 3))
    assert seen.sharpness < enter(EventType.BLURRED)
    assert seen.detail > DEFAULT_RULES[EventType.CAMERA_COVERED].exit


@pytest.mark.parametrize("name", PHOTOS)
def test_a_dark_room_is_dark_and_neither_blurred_nor_covered(photo, name):
    seen = measure_picture(noisy(lit(at_webcam_size(photo(name)), 0.12), 4))
    assert seen.light < enter(EventType.LOW_LIGHT)
    assert seen.sharpness > DEFAULT_RULES[EventType.BLURRED].exit
    assert seen.detail > enter(EventType.CAMERA_COVERED)


@pytest.mark.parametrize("cover", [gradient(2, 6), gradient(30, 60), gradient(90, 150), gradient(235, 255)])
def test_a_covered_lens_shows_nothing_however_bright_it_is(cover):
    assert measure_picture(noisy(cover, 5)).detail < enter(EventType.CAMERA_COVERED)


def test_blur_is_judged_alike_at_every_resolution(photo):
    large = photo("b_1")
    small = cv2.resize(large, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    assert measure_picture(small).sharpness == pytest.approx(measure_picture(large).sharpness, rel=0.05)


def test_noise_is_measured_in_grey_values(photo):
    flat = np.full((480, 640, 3), 120, np.uint8)
    assert measure_picture(noisy(flat, 6)).noise == pytest.approx(6, rel=0.1)
    assert measure_picture(flat).noise == 0


def test_the_light_is_that_of_the_face(pipeline, photo):
    image = photo("a_1")
    face = pipeline.faces.detect(image)[0]
    left, top, right, bottom = (int(edge) for edge in face.box_xyxy)
    dark_face = image.copy()
    dark_face[top:bottom, left:right] = lit(image[top:bottom, left:right], 0.1)
    assert measure_picture(dark_face, face).light < 35 < measure_picture(dark_face).light


@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (900, 1), (2, 3), (7, 5), (4320, 7680)])
@pytest.mark.parametrize("value", [0, 128, 255])
def test_any_shape_gives_finite_measures(shape, value):
    seen = measure_picture(np.full((*shape, 3), value, np.uint8)).to_dict()
    assert json.loads(json.dumps(seen, allow_nan=False)) == seen
    assert all(math.isfinite(number) for name, number in seen.items() if name != "blocks")
    assert seen["detail"] == 0
    assert seen["blocks"] == [value] * 16


# --- What the rules make of it


def seen(at: float, *, faces: int = 1, detail: float = 0.3, light: float = 120.0, sharpness: float = 0.9):
    camera = {"detail": detail, "light": light, "sharpness": sharpness}
    return Observation(
        f"f{at:.3f}", VIDEO, START + at, {"faces": {"count": faces, "possible": faces}, "camera": camera}
    )


def test_covering_the_camera_is_one_incident_and_not_a_missing_face_as_well():
    frames = [seen(k / 2) for k in range(10)]
    frames += [seen(k / 2, faces=0, detail=0.01, light=5.0, sharpness=0.5) for k in range(10, 40)]
    frames += [seen(k / 2) for k in range(40, 50)]
    assert told(play(frames)) == [
        ("CAMERA_COVERED", "opened", 5.0, None),
        ("CAMERA_COVERED", "closed", 5.0, 19.5),
    ]


def test_a_dark_picture_is_not_called_blurred_as_well():
    frames = [seen(k / 2, light=20.0, sharpness=0.5) for k in range(30)]
    assert told(play(frames, end=15)) == [("LOW_LIGHT", "opened", 0.0, None), ("LOW_LIGHT", "closed", 0.0, 14.5)]


def test_a_camera_that_refocuses_is_not_blurred():
    frames = [seen(k / 2, sharpness=0.5 if 10 <= k < 18 else 0.9) for k in range(40)]
    assert told(play(frames)) == []
    slow = policy(BLURRED={"hold_s": 2.0})
    assert [what for what, *_ in told(play(frames, slow))] == ["BLURRED", "BLURRED"]
