"""Things in pictures: the network's boxes on real photographs, and odd pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from detection.engine import boxes
from detection.engine.detectors.objects import MODEL_NAME, ObjectDetector
from detection.engine.model import Array
from detection.engine.pipeline import Pipeline
from detection.engine.policy import Policy
from detection.engine.runtime import load_model
from detection.engine.weights import weights_path
from tests.engine import scenes
from tests.engine.scenes import Image


@pytest.fixture(scope="module")
def detector(weights_dir: Path) -> ObjectDetector:
    return ObjectDetector(load_model(weights_path(MODEL_NAME)))


class Answering:
    """A network that finds what it is told: category less one, score, box as top, left, bottom, right."""

    name, provider, batches, mean_ms = "answering", "test", False, 0.0

    def __init__(self, *found: tuple[int, float, tuple[float, float, float, float]]) -> None:
        self.found, self.fed = found, np.zeros(0)

    def run(self, feeds: Mapping[str, Array]) -> list[Array]:
        (self.fed,) = feeds.values()
        rows = [*self.found, *[(0, 0.0, (0.0, 0.0, 0.0, 0.0))] * (25 - len(self.found))]
        columns = [np.array([[row[index] for row in rows]], np.float32) for index in (2, 0, 1)]
        return [*columns, np.array([25.0], np.float32)]


@pytest.mark.parametrize(("left", "top", "factor"), [(40, 60, 0.3), (330, 10, 0.3), (150, 100, 0.45)])
def test_a_person_is_found_where_the_photograph_lies(
    detector: ObjectDetector, photo: Callable[[str], Image], left: int, top: int, factor: float
) -> None:
    person = photo("a_2")
    height, width = (round(side * factor) for side in person.shape[:2])
    picture = scenes.room((person, factor, left, top))
    [found] = [thing for thing in detector.detect(picture) if thing.kind == "person" and thing.score > 0.5]
    laid = (left, top, min(left + width, 640), min(top + height, 480))
    assert boxes.shared(found.box_xyxy, laid) > 0.9
    assert boxes.area(found.box_xyxy) > 0.4 * boxes.area(laid)


def test_the_box_follows_the_face_of_a_real_photograph_whatever_its_shape(
    detector: ObjectDetector, pipeline: Pipeline, photo: Callable[[str], Image]
) -> None:
    for name in ("a_1", "b_1", "c_1", "d_1"):
        whole = photo(name)
        for picture in (whole, np.pad(whole, ((300, 0), (0, 500), (0, 0))), np.pad(whole, ((0, 0), (900, 0), (0, 0)))):
            faces = pipeline.faces.detect(picture)
            people = [thing for thing in detector.detect(picture) if thing.kind == "person" and thing.score > 0.4]
            assert faces
            assert people, name
            assert boxes.contains(people[0].box_xyxy, boxes.middle(faces[0].box_xyxy)), name


def test_an_empty_room_holds_nothing(detector: ObjectDetector) -> None:
    assert [thing for thing in detector.detect(scenes.room()) if thing.score >= 0.4] == []


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 4000, 3), (4320, 7680, 3), (480, 640, 3)])
@pytest.mark.parametrize("value", [0, 255])
def test_odd_pictures_do_no_harm(detector: ObjectDetector, shape: tuple[int, ...], value: int) -> None:
    picture = np.full(shape, value, np.uint8)
    for thing in detector.detect(picture):
        left, top, right, bottom = thing.box_xyxy
        assert 0 <= left <= right <= shape[1]
        assert 0 <= top <= bottom <= shape[0]


def test_the_picture_keeps_its_shape_and_its_colours_are_turned_to_rgb() -> None:
    model = Answering()
    picture = np.zeros((224, 448, 3), np.uint8)
    picture[..., 0] = 200  # blue
    ObjectDetector(model).detect(picture)
    assert model.fed.shape == (1, 448, 448, 3)
    assert (model.fed[0, :224, :, 2] == 200).all()
    assert not model.fed[0, :, :, :2].any()
    assert not model.fed[0, 224:].any()


def test_boxes_are_in_pixels_of_the_picture_and_end_at_its_edge() -> None:
    model = Answering((76, 0.6, (0.1, 0.2, 0.3, 0.4)), (0, 0.9, (-0.1, 0.5, 0.9, 1.2)))
    found = ObjectDetector(model).detect(np.zeros((480, 640, 3), np.uint8))
    assert [(thing.kind, [round(edge) for edge in thing.box_xyxy]) for thing in found] == [
        ("person", [320, 0, 640, 480]),
        ("phone", [128, 64, 256, 192]),
    ]


def test_other_categories_and_what_is_too_doubtful_are_left_out() -> None:
    model = Answering((2, 0.9, (0, 0, 1, 1)), (83, 0.1, (0, 0, 1, 1)), (83, 0.3, (0, 0, 1, 1)))
    assert [thing.score for thing in ObjectDetector(model).detect(np.zeros((9, 9, 3), np.uint8))] == [
        pytest.approx(0.3)
    ]


def test_looks_are_four_seconds_apart(pipeline: Pipeline, frame_job: Callable[..., object]) -> None:
    jobs = [frame_job(np.zeros((48, 64, 3), np.uint8), at=at, previous=at - 0.5) for at in (8.0, 8.5, 11.5, 12.0)]
    seen = pipeline.analyse_frames(jobs)  # type: ignore[arg-type]
    assert ["objects" in observation.measures for observation in seen] == [True, False, False, True]
    assert seen[0].measures["objects"] == {"found": [], "size_wh": [64, 48]}
    off = Policy.from_dict({"detectors": {"objects": {"enabled": False}}})
    [observation] = pipeline.analyse_frames([frame_job(np.zeros((48, 64, 3), np.uint8), policy=off)])  # type: ignore[list-item]
    assert "objects" not in observation.measures
