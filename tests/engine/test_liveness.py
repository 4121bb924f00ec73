"""Prints and screens, told from live faces: per frame, over time, and by what moves with the face."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from detection.engine.detectors.liveness import LivenessDetector, cut_out, evidence, frame_around, moire_on
from detection.engine.learners.liveness_pool import LivenessPool
from detection.engine.learners.rigidity import RigidityLearner
from detection.engine.learners.stillness import StillnessLearner
from detection.engine.media import Frame
from detection.engine.observations import VIDEO, Face, FacesMeasure, Observation, without_private
from detection.engine.policy import Policy
from detection.engine.samples import FrameJob, VideoSample
from detection.engine.surroundings import HIDDEN, SHAPE, place, surroundings, to_text
from tests.engine.observing import START, play, told
from tests.engine.scenes import blurred, lit, noisy

PHOTOS = ("a_1", "a_2", "b_1", "b_2", "d_1")


class Saying:
    """A network that says the same of every face."""

    name, provider, batches, mean_ms = "fake", "CPUExecutionProvider", False, 0.0

    def __init__(self, *values: float) -> None:
        self.values = values
        self.seen: list[np.ndarray] = []

    def run(self, feeds):
        (picture,) = feeds.values()
        self.seen.append(picture)
        return [np.array([self.values], np.float32)]


def face_at(x: float, y: float, width: float) -> Face:
    """A face looking into the camera, its box's middle at x, y."""
    points = np.array([[-0.2, -0.12], [0.2, -0.12], [0, 0.08], [-0.16, 0.28], [0.16, 0.28]], np.float32)
    box = (x - width / 2, y - width * 0.65, x + width / 2, y + width * 0.65)
    return Face(box, 0.95, points * width + np.array([x, y], np.float32))


def look(detector: LivenessDetector, image, face: Face) -> dict:
    sample = VideoSample(FrameJob(Frame("f", image, 10.0), None, 9.0, Policy()))
    sample.found["faces"] = FacesMeasure((face,), count=1)
    assert detector.due(sample)
    return detector.measure([sample])[0].to_dict()


@pytest.fixture(scope="module")
def detector(pipeline) -> LivenessDetector:
    return next(found for found in pipeline._video if found.name == "liveness")


# --- One frame


@pytest.mark.parametrize("name", PHOTOS)
def test_the_network_takes_a_photograph_of_a_person_for_live(detector, pipeline, photo, name):
    image = photo(name)
    found = look(detector, image, pipeline.faces.detect(image)[0])
    assert found["decided"], found["reason"]
    assert found["live"] > 0.8


def test_the_margin_is_that_of_live_over_the_likelier_attack():
    found = look(LivenessDetector(Saying(-1.0, 4.0, 1.5)), textured(), face_at(320, 240, 150))
    assert found["margin"] == 2.5
    assert found["live"] == pytest.approx(1 / (1 + np.exp(-2.5)), abs=1e-3)
    assert look(LivenessDetector(Saying(40.0, -40.0, 0.0)), textured(), face_at(320, 240, 150))["margin"] == -12


def test_the_network_sees_the_face_enlarged_in_blue_green_red():
    image = np.zeros((480, 640, 3), np.uint8)
    image[:, :, 0] = 200
    image[100:380, 200:440] = (0, 0, 250)
    network = Saying(0.0, 1.0, 0.0)
    look(LivenessDetector(network), image, face_at(320, 240, 100))
    (picture,) = network.seen
    assert picture.shape == (1, 80, 80, 3)
    assert picture.dtype == np.float32
    assert picture[0, 40, 40].tolist() == [0, 0, 250]
    assert picture[0, 2, 2].tolist() == [200, 0, 0]


@pytest.mark.parametrize("where", [(5, 5, 150), (635, 470, 150), (320, 240, 900), (-200, -200, 60), (900, 700, 60)])
def test_a_face_at_the_edge_or_larger_than_the_picture_is_cut_out_all_the_same(where):
    assert cut_out(textured(), face_at(*where)).shape == (80, 80, 3)


@pytest.mark.parametrize(
    ("spoilt", "reason"),
    [
        (lambda image: lit(image, 0.2), "dark"),
        (lambda image: blurred(image, 12), "blurred"),
        (lambda image: np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8), "no_colour"),
    ],
)
def test_a_poor_picture_decides_nothing(detector, pipeline, photo, spoilt, reason):
    image = photo("a_1")
    face = pipeline.faces.detect(image)[0]
    found = look(detector, spoilt(image), face)
    assert (found["decided"], found["reason"]) == (False, reason)


def test_a_small_or_turned_face_decides_nothing(detector):
    assert look(detector, textured(), face_at(320, 240, 40))["reason"] == "face_too_small"
    turned = face_at(320, 240, 150)
    turned.landmarks[2, 0] += 40
    assert look(detector, textured(), turned)["reason"] == "turned"


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 200, 3), (130, 2, 3), (4320, 7680, 3)])
def test_pictures_of_any_shape_give_finite_measures(detector, shape):
    image = np.full(shape, 90, np.uint8)
    found = look(detector, image, face_at(shape[1] / 2, shape[0] / 2, 80))
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def textured(seed: int = 1, size_wh: tuple[int, int] = (640, 480)) -> np.ndarray:
    """A room with things in it, in colour."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(40, 220, (12, 16, 3)).astype(np.float32)
    return np.clip(cv2.resize(coarse, size_wh, interpolation=cv2.INTER_CUBIC), 0, 255).astype(np.uint8)


def test_a_regular_pattern_on_the_face_is_moire(photo, pipeline):
    image = photo("b_1")
    face = pipeline.faces.detect(image)[0]
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    waves = 9 * np.sin(2 * np.pi * (0.21 * x + 0.13 * y))
    screen = np.clip(image + waves[..., None], 0, 255).astype(np.uint8)
    assert moire_on(noisy(image, 4), face) < 1.3
    assert moire_on(noisy(screen, 4), face) > 1.6


def test_an_edge_on_three_sides_of_the_face_is_a_frame():
    face = face_at(320, 200, 120)
    card = np.full((480, 640, 3), 60, np.uint8)
    cv2.rectangle(card, (200, 60), (440, 440), (190, 200, 210), -1)
    assert frame_around(card, face) > 0.95
    beside = np.full((480, 640, 3), 60, np.uint8)
    beside[:, 440:] = 200  # one door post
    assert frame_around(beside, face) < 0.2
    assert evidence(6.0, 0.0, 1.0) < 0 < evidence(6.0, 0.0, 0.7)


# --- What moves with the face


def moving(at: float, x: float, room: np.ndarray, *, with_face: bool) -> Observation:
    """A face that moves to x, its surroundings with it or not."""
    shifted = np.roll(room, round(x - 320), axis=1) if with_face else room
    face = face_at(x, 220, 110)
    found = {"decided": False, "place": list(place(face)), "surroundings": to_text(surroundings(shifted, face))}
    return Observation(f"f{at}", VIDEO, START + at, {"faces": {"count": 1, "possible": 1}, "liveness": found})


def sway(room: np.ndarray, *, with_face: bool, amplitude: float = 60) -> list[Observation]:
    return [
        moving(float(k), 320 + amplitude * float(np.sin(1.3 * k)), noisy(room, 3), with_face=with_face)
        for k in range(20)
    ]


def derived(observations, learner=None):
    state, found = {}, []
    for observation in observations:
        state, measure = (learner or RigidityLearner()).learn(state, observation, Policy())
        state = json.loads(json.dumps(state))
        found.append(measure)
    return found, state


@pytest.mark.parametrize("seed", range(3))
def test_a_background_that_moves_with_the_face_is_that_of_a_print(seed):
    held, _ = derived(sway(textured(seed), with_face=True))
    sitting, _ = derived(sway(textured(seed), with_face=False))
    assert held[-1]["rigidity"] > 0.75
    assert sitting[-1]["rigidity"] < -0.2
    assert [what for what, *_ in told(play(sway(textured(seed), with_face=True)))] == ["PRESENTATION_ATTACK"]
    assert told(play(sway(textured(seed), with_face=False))) == []


def test_of_a_face_that_keeps_still_or_a_bare_wall_nothing_is_told():
    assert derived(sway(textured(), with_face=True, amplitude=5))[0][-1] is None
    assert derived(sway(np.full((480, 640, 3), 150, np.uint8), with_face=True))[0][-1] is None


def test_the_surroundings_leave_out_the_face_and_are_never_stored():
    image = textured()
    cells = surroundings(image, face_at(320, 240, 100))
    assert cells.shape == SHAPE
    assert (cells[3:, 6:10] == HIDDEN).all()
    assert (cells[:, 0] != HIDDEN).all()
    stored = without_private(moving(0.0, 320, image, with_face=True).measures)
    assert "surroundings" not in stored["liveness"]


# --- Over time


def looking(at: float, live: float, *, decided: bool = True, **cues: float) -> Observation:
    found = {"live": live, "decided": decided, "margin": 5.0, "moire": 0.9, "frame": 0.3} | cues
    return Observation(f"f{at}", VIDEO, START + at, {"liveness": found})


def test_an_attack_is_told_after_eight_seconds_of_looks_and_two_of_doubt():
    (opened, *_) = told(play([looking(float(k), 0.02, margin=-4.0) for k in range(30)]))
    assert opened[:2] == ("PRESENTATION_ATTACK", "opened")
    assert opened[2] == 8.0
    assert told(play([looking(float(k), 0.02, margin=-4.0) for k in range(10)])) == []


def test_single_looks_accuse_nobody():
    spoilt = [looking(float(k), 0.001 if k % 4 == 0 else 0.99) for k in range(60)]
    assert told(play(spoilt)) == []


def test_looks_that_decide_nothing_do_not_count():
    assert told(play([looking(float(k), 0.01, decided=False) for k in range(40)])) == []


@pytest.mark.parametrize(
    ("cues", "reason"), [({"margin": -4.0}, "network"), ({"moire": 1.8}, "moire"), ({"frame": 1.0}, "frame")]
)
def test_the_reason_names_what_says_most_of_it(cues, reason):
    measures, state = derived([looking(float(k), 0.05, **cues) for k in range(200)], LivenessPool())
    assert measures[5] is None
    assert measures[-1]["reason"] == reason
    assert measures[-1]["attack"] > 0.8
    assert len(json.dumps(state)) < 1500


def test_a_background_that_stays_behind_the_face_outweighs_a_slight_doubt_and_no_strong_one():
    def attack(live: float) -> float:
        stays = {"rigidity": {"rigidity": -0.6, "comparisons": 8}}
        looks = [looking(float(k), live) for k in range(12)]
        seen = [Observation(o.sample_id, VIDEO, o.captured_at, o.measures | stays) for o in looks]
        return derived(seen, LivenessPool())[0][-1]["attack"]

    assert attack(0.2) < 0.5
    assert attack(0.005) > 0.75


# --- Lids and lips


def staring(at: float, *, closed: float = 0.2, mouth: float = 0.01, live: float = 0.7) -> Observation:
    measures = looking(at, live, margin=0.8).measures | {
        "gaze": {"closed": closed, "yaw_deg": 0.0, "pitch_deg": -5.0, "uncertainty_deg": 2.0},
        "mouth": {"open": mouth},
    }
    return Observation(f"f{at}", VIDEO, START + at, measures)


def test_a_doubtful_face_whose_lids_and_lips_never_move_is_a_photograph():
    rng = np.random.default_rng(2)
    photograph = [staring(float(k), closed=0.25 + float(rng.uniform(0, 0.1))) for k in range(160)]
    (opened, *_) = told(play(photograph))
    assert opened[:2] == ("PRESENTATION_ATTACK", "opened")
    assert opened[2] > 90
    blinking = [staring(float(k), closed=0.8 if k % 45 == 44 else 0.25) for k in range(160)]
    assert told(play(blinking)) == []
    talking = [staring(float(k), mouth=0.1 * (k % 40 == 39)) for k in range(160)]
    assert told(play(talking)) == []


def test_a_face_that_looks_live_may_stare():
    assert told(play([staring(float(k), live=0.97) for k in range(300)])) == []


def test_stillness_starts_anew_after_a_pause():
    before, after = [staring(float(k)) for k in range(80)], [staring(100.0 + k) for k in range(10)]
    measures, _ = derived([*before, *after], StillnessLearner())
    assert measures[79]["still_s"] == 79
    assert measures[-1]["still_s"] == 9
