"""The enrolment gate: good pictures pass, poor ones are refused with the reason and what to do."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from detection.engine import quality
from tests.engine.scenes import blurred, lit, moved, room


@pytest.fixture(scope="module")
def problems(pipeline):
    """Return a function from a picture to the codes of what is wrong with it."""
    return lambda image: [problem.code for problem in quality.assess(image, pipeline.faces.detect(image))]


@pytest.mark.parametrize("name", ["a_1", "a_2", "b_1", "b_2", "c_1", "d_1"])
def test_a_good_photograph_passes(problems, photo, name):
    assert problems(photo(name)) == []


def test_a_webcam_picture_passes(problems, photo):
    assert problems(room((photo("a_2"), 0.5, 150, 30))) == []


@pytest.mark.parametrize(
    ("picture", "code"),
    [
        (lambda photo: np.full((480, 640, 3), 90, np.uint8), "face_missing"),
        (lambda photo: room((photo("a_1"), 0.4, 0, 50), (photo("b_1"), 0.4, 330, 50)), "faces_several"),
        (lambda photo: room((photo("a_1"), 0.18, 200, 200)), "face_too_small"),
        (lambda photo: lit(photo("a_1"), 0.2), "image_dark"),
        (lambda photo: lit(photo("a_1"), 0.1) + 60, "image_dark"),
        (lambda photo: lit(photo("b_1"), 2.5), "image_bright"),
        (lambda photo: blurred(photo("a_1"), 12), "image_blurred"),
        (lambda photo: moved(photo("a_1"), 51), "image_blurred"),
        (lambda photo: moved(photo("a_1"), 51, down=True), "image_blurred"),
    ],
    ids=["nobody", "two", "far", "dark", "haze", "glare", "blur", "motion", "motion down"],
)
def test_a_poor_picture_is_refused_with_its_reason(problems, photo, picture, code):
    assert problems(picture(photo)) == [code]


@pytest.mark.parametrize(("landmark", "axis", "by"), [(2, 0, 0.35), (2, 0, -0.35), (2, 1, 0.35), (2, 1, -0.35)])
def test_a_face_turned_away_is_refused(pipeline, photo, landmark, axis, by):
    image = photo("a_1")
    (face,) = pipeline.faces.detect(image)
    turned = face.landmarks.copy()
    turned[landmark, axis] += by * (turned[1, 0] - turned[0, 0])
    (problem,) = quality.assess(image, [dataclasses.replace(face, landmarks=turned)])
    assert problem.code == "face_turned"
    assert 25 < problem.measured < 90


def test_a_face_on_a_poster_far_behind_is_no_second_person(problems, photo):
    assert problems(room((photo("a_2"), 0.5, 0, 30), (photo("b_1"), 0.1, 500, 50))) == []


def test_a_problem_says_what_was_measured_and_what_to_do(pipeline, photo):
    image = blurred(photo("a_1"), 12)
    (problem,) = quality.assess(image, pipeline.faces.detect(image))
    assert problem.threshold == quality.MIN_SHARPNESS
    assert 0 < problem.measured < problem.threshold
    assert problem.message == "The picture is blurred. Hold still, and wipe the lens if it is smeared."


def test_every_problem_has_a_sentence(pipeline, photo):
    far_and_dark = room((lit(photo("a_1"), 0.15), 0.18, 200, 200))
    found = quality.assess(far_and_dark, pipeline.faces.detect(far_and_dark))
    assert {problem.code for problem in found} >= {"face_too_small", "image_dark"}
    assert all(problem.message.endswith(".") and "  " not in problem.message for problem in found)


def test_sharpness_falls_as_blur_grows_and_minds_neither_light_nor_contrast(pipeline, photo):
    image = photo("a_1")
    (face,) = pipeline.faces.detect(image)

    def sharpness(picture) -> float:
        return quality.measure_face(picture, face).sharpness

    falling = [sharpness(blurred(image, sigma)) for sigma in (0.5, 2, 4, 6, 9, 12)]
    assert falling == sorted(falling, reverse=True)
    assert falling[0] > 2 * falling[-1]
    assert sharpness(lit(image, 0.5)) == pytest.approx(sharpness(image), rel=0.05)


def test_a_face_without_any_contrast_has_no_sharpness():
    assert quality.sharpness(np.full((88, 88), 128, np.uint8)) == 0.0
