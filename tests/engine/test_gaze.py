"""The line of sight, the rest that is learnt, and what the rules make of it."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest

from detection.engine import centre, rules
from detection.engine.canonical_face import CANONICAL_FACE, read_vertices
from detection.engine.detectors.gaze import BALL_CM, EYEBALL_CM, GazeDetector
from detection.engine.learners.gaze_line import USUAL, GazeLine
from detection.engine.learners.head_line import HeadLine
from detection.engine.learners.lips import Lips
from detection.engine.model import FACE_LANDMARKER
from detection.engine.observations import AUDIO, VIDEO, LandmarksMeasure, Observation
from detection.engine.policy import DEFAULT_POLICY, EventType, Policy
from detection.engine.runtime import read_part
from detection.engine.weights import weights_path
from tests.engine.test_head_pose import rotation


@pytest.fixture(scope="module")
def geometry(weights_dir):
    return read_part(weights_path(FACE_LANDMARKER), CANONICAL_FACE.partition("!")[2])


def face(geometry, *, head=(0, 0, 0), yaw_deg=0.0, pitch_deg=0.0, pixels_per_cm=20.0, other_eye_deg=None):
    """Return the landmarks of a face whose eyes are turned in the head by so much."""
    vertices = read_vertices(geometry)
    irises = np.zeros((10, 3))
    for first, corners, yaw in (
        (0, (33, 133), yaw_deg),
        (5, (362, 263), yaw_deg if other_eye_deg is None else other_eye_deg),
    ):
        line = rotation(pitch_deg, yaw, 0) @ [0, 0, EYEBALL_CM]
        irises[first] = vertices[list(corners)].mean(axis=0) + BALL_CM + line
    turned = np.vstack([vertices, irises]) @ rotation(*head).T
    points = turned * [pixels_per_cm, -pixels_per_cm, -pixels_per_cm] + [320, 240, 0]
    return LandmarksMeasure(points, 1.0, np.zeros(52, np.float32))


@pytest.mark.parametrize("head", [(0, 0, 0), (0, 20, 0), (-15, 0, 0), (0, 0, 30), (10, -25, -20)])
def test_straight_eyes_look_where_the_head_points(geometry, head):
    straight = GazeDetector(geometry).of_landmarks(face(geometry, head=head))
    ahead = rotation(*head) @ [0, 0, 1]
    assert (straight.yaw_deg, straight.pitch_deg) == pytest.approx(np.degrees(np.arcsin(ahead[:2])), abs=0.5)


def test_eyes_that_counter_the_heads_turn_look_into_the_lens(geometry):
    straight = GazeDetector(geometry).of_landmarks(face(geometry, head=(0, 20, 0), yaw_deg=-20))
    assert (straight.yaw_deg, straight.pitch_deg) == pytest.approx((0, 0), abs=1)


def test_turned_eyes_look_to_that_side(geometry):
    detector = GazeDetector(geometry)
    right = detector.of_landmarks(face(geometry, yaw_deg=15))
    assert (right.yaw_deg, right.pitch_deg) == pytest.approx((15, 0), abs=0.5)
    up = detector.of_landmarks(face(geometry, pitch_deg=15))
    assert (up.yaw_deg, up.pitch_deg) == pytest.approx((0, 15), abs=0.5)


def test_small_faces_and_eyes_that_disagree_are_uncertain(geometry):
    detector = GazeDetector(geometry)
    near, far = (detector.of_landmarks(face(geometry, pixels_per_cm=scale)) for scale in (12.0, 2.0))
    assert near.uncertainty_deg < 2.5
    assert far.uncertainty_deg > 6
    glare = detector.of_landmarks(face(geometry, pixels_per_cm=12.0, yaw_deg=-15, other_eye_deg=25))
    assert glare.uncertainty_deg > 6


def test_a_mirrored_photograph_looks_to_the_other_side(pipeline, photo, frame_job):
    seen = pipeline.analyse_frames([frame_job(photo("b_1"))])[0].measures["gaze"]
    mirrored = pipeline.analyse_frames([frame_job(np.ascontiguousarray(photo("b_1")[:, ::-1]))])[0].measures["gaze"]
    assert mirrored["yaw_deg"] == pytest.approx(-seen["yaw_deg"], abs=4)
    assert mirrored["pitch_deg"] == pytest.approx(seen["pitch_deg"], abs=4)
    assert seen["closed"] < 0.5


# --- Learning the rest


def learnt(places, state=None, *, start=0.0, interval_s=0.5):
    for number, (yaw, pitch) in enumerate(places):
        place = float(yaw), float(pitch)
        state = centre.learn(state or {}, place, start + number * interval_s, usual=USUAL)
    assert len(json.dumps(state)) < 1500
    return state


def test_the_rest_is_the_densest_place_not_the_mean(rng):
    places = [(4, -2) if number % 3 else (-28, -8) for number in range(60)]  # a third of the time at the notes
    rest = centre.rest_of(learnt(rng.normal(places, 1.5)), usual=USUAL)
    assert (rest.yaw_deg, rest.pitch_deg) == pytest.approx((4, -2), abs=1.5)
    assert rest.calibrated


def test_the_rest_is_the_middle_of_a_screen_that_is_read_all_over(rng):
    places = rng.uniform((-8, -16), (14, -2), (120, 2))
    rest = centre.rest_of(learnt(places), usual=USUAL)
    assert (rest.yaw_deg, rest.pitch_deg) == pytest.approx((3, -9), abs=3)


def test_a_minute_of_looking_elsewhere_moves_nothing_and_three_of_sitting_elsewhere_do(rng):
    state = learnt(rng.normal((0, -5), 1.5, (120, 2)))
    state = learnt(rng.normal((30, -5), 1.5, (120, 2)), state, start=60.0)
    assert centre.rest_of(state, usual=USUAL).yaw_deg == pytest.approx(0, abs=1.5)
    state = learnt(rng.normal((12, -14), 1.5, (480, 2)), state, start=120.0)
    rest = centre.rest_of(state, usual=USUAL)
    assert (rest.yaw_deg, rest.pitch_deg) == pytest.approx((12, -14), abs=1.5)


def test_before_anything_is_seen_the_rest_is_what_is_usual_and_not_trusted():
    rest = centre.rest_of({}, usual=USUAL)
    assert (rest.yaw_deg, rest.pitch_deg, rest.calibrated) == (*USUAL, False)


# --- From measures to findings

_ids = itertools.count()


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def looks(rng, script, *, detector="gaze", rate=2.0):
    """Return frames of somebody who looks by ``script``: seconds, yaw, pitch."""
    at, frames = 1000.0, []
    for seconds, yaw, pitch in script:
        for _ in range(round(seconds * rate)):
            measure = {"yaw_deg": yaw + rng.normal(0, 1.5), "pitch_deg": pitch + rng.normal(0, 1.5)}
            measure |= {"closed": 0.1, "uncertainty_deg": 2.0}
            measures = {"faces": {"count": 1, "possible": 1}, detector: measure}
            previous = frames[-1].captured_at if frames else None
            frames.append(Observation(f"f{next(_ids)}", VIDEO, at, measures, previous_at=previous))
            at += 1 / rate
    return frames


def findings(frames, policy=DEFAULT_POLICY):
    state, changes = rules.RulesState(), []
    for frame in frames:
        step = rules.advance(state, [frame], policy)
        state, changes = rules.RulesState.from_dict(step.state.to_dict()), changes + step.changes
    changes += rules.close(state, frames[-1].captured_at + 1, policy).changes
    return [(change.event_type, change.started_at - 1000, change.ended_at) for change in changes if change.ended_at]


@pytest.mark.parametrize("rest", [(0, -5), (9, -14), (-12, 4)])
def test_looking_away_for_some_seconds_is_one_incident_wherever_the_camera_stands(rng, rest):
    away = (rest[0] + 26, rest[1])
    found = findings(looks(rng, [(20, *rest), (4, *away), (10, *rest)]))
    assert [(event, started) for event, started, _ in found] == [
        (EventType.GAZE_OFF_SCREEN, pytest.approx(20, abs=0.6))
    ]


def test_glances_and_reading_open_nothing(rng):
    script = [(12, 0, -5)]
    for _ in range(10):
        script += [(1, 24, -5), (6, 0, -5), (2, -11, -9), (2, 11, -1)]
    assert findings(looks(rng, script)) == []


def test_before_the_rest_is_known_nobody_is_accused(rng):
    assert findings(looks(rng, [(3.5, 30, 0)])) == []


def test_a_turned_head_is_one_incident_and_not_a_gaze_as_well(rng):
    heads = looks(rng, [(15, 2, -4), (6, 45, -4), (10, 2, -4)], detector="head_pose")
    eyes = looks(rng, [(15, 1, -6), (6, 50, -6), (10, 1, -6)])
    frames = [replace(head, measures={**head.measures, **eye.measures}) for head, eye in zip(heads, eyes, strict=True)]
    events = [event for event, _, _ in findings(frames)]
    assert events.count(EventType.HEAD_TURNED) == 1
    assert len(events) == events.count(EventType.HEAD_TURNED) + events.count(EventType.GAZE_OFF_SCREEN)
    assert events.count(EventType.GAZE_OFF_SCREEN) <= 1  # it may have opened first: then the turned head ends it


def derive(learner, measures, *, state=None, at=1000.0):
    state, derived = learner.learn(state or {}, Observation("f", VIDEO, at, measures), Policy())
    return state, derived


def gaze(yaw_deg, pitch_deg, *, closed=0.1, uncertainty_deg=2.0, **others):
    measure = {"yaw_deg": yaw_deg, "pitch_deg": pitch_deg, "closed": closed, "uncertainty_deg": uncertainty_deg}
    return {"gaze": measure, **others}


@pytest.fixture
def calibrated():
    """What is known of somebody who rests at 0, -5."""
    return {"centre": learnt([(0.0, -5.0)] * 40), "shut": False}


@pytest.mark.parametrize(
    ("yaw", "pitch", "direction"),
    [(0, -5, "center"), (25, -5, "right"), (-25, -5, "left"), (0, 15, "up"), (0, -25, "down")],
)
def test_the_direction_is_named_as_the_picture_shows_it(calibrated, yaw, pitch, direction):
    _, derived = derive(GazeLine(), gaze(yaw, pitch), state=calibrated)
    assert (derived["direction"], derived["calibrated"]) == (direction, True)


def test_the_corner_of_a_large_screen_is_no_look_away(calibrated, rng):
    _, small = derive(GazeLine(), gaze(19, -5), state=calibrated)
    assert (small["direction"], small["off_deg"]) == ("right", pytest.approx(19, abs=1))
    large = {"centre": learnt(rng.uniform((-18, -10), (18, 0), (60, 2)))}
    _, derived = derive(GazeLine(), gaze(19, -5), state=large)
    assert derived["direction"] == "center"
    _, derived = derive(GazeLine(), gaze(32, -5), state=large)
    assert derived["direction"] == "right"


def test_a_blink_says_nothing_and_lowered_lids_look_down(calibrated):
    state, blink = derive(GazeLine(), gaze(0, -11, closed=0.7), state=calibrated)
    assert not {"direction", "off_deg"} & blink.keys()
    state, lowered = derive(GazeLine(), gaze(0, -11, closed=0.7), state=state)
    assert (lowered["direction"], lowered["off_deg"]) == ("down", 25)
    _, opened = derive(GazeLine(), gaze(0, -5), state=state)
    assert opened["direction"] == "center"


def test_narrow_eyes_are_not_lowered_once_they_are_known():
    state = {}
    for number in range(150):
        state, derived = derive(GazeLine(), gaze(0, -5, closed=0.55), state=state, at=number / 2)
    assert (derived["direction"], derived["calibrated"]) == ("center", True)


def test_eyes_that_cannot_be_read_say_nothing_and_teach_nothing(calibrated):
    state, derived = derive(GazeLine(), gaze(30, -5, uncertainty_deg=12.0), state=calibrated, at=2000.0)
    assert not {"direction", "off_deg"} & derived.keys()
    assert derived["uncertainty_deg"] > 12
    assert state["centre"] == calibrated["centre"]


def test_nobody_rests_with_the_eyes_turned_far_in_the_head():
    state, ahead = {}, {"yaw_deg": 0.0, "pitch_deg": -5.0}
    for number in range(80):  # from the first second on
        state, derived = derive(GazeLine(), gaze(28, -5, head_pose=ahead), state=state, at=number / 2)
    assert not derived["calibrated"]
    turned = {"yaw_deg": 26.0, "pitch_deg": -5.0}  # a camera at the side sees head and eyes turned alike
    state = {}
    for number in range(80):
        state, derived = derive(GazeLine(), gaze(28, -5, head_pose=turned), state=state, at=number / 2)
    assert (derived["direction"], derived["calibrated"]) == ("center", True)


def test_without_a_face_nothing_is_derived_and_nothing_forgotten(calibrated):
    for learner, state in ((GazeLine(), calibrated), (HeadLine(), calibrated["centre"])):
        assert learner.learn(state, Observation("f", VIDEO, 1.0, {}), Policy()) == (state, None)


# --- Lips and sound


def talk(openings, shares):
    """Return what ``Lips`` derives from three seconds of mouth and speech."""
    state, derived = {}, None
    for number, opening in enumerate(openings):
        seen = Observation("f", VIDEO, number / 2, {"mouth": {"open": opening, "jaw": opening}})
        state, _ = Lips().learn(state, seen, Policy())
    for number, share in enumerate(shares):
        heard = Observation("a", AUDIO, 1.0 + number, {"speech": {"share": share}}, started_at=float(number))
        state, derived = Lips().learn(state, heard, Policy())
    return derived


def test_speech_with_still_lips_comes_from_elsewhere():
    still, moving = [0.01, 0.02, 0.01, 0.02, 0.01, 0.02], [0.02, 0.25, 0.1, 0.3, 0.05, 0.2]
    assert talk(still, [0.9, 0.8])["off_camera"] > 0.8
    assert talk(moving, [0.9, 0.8])["off_camera"] < 0.1
    assert talk(moving, [0.0, 0.0])["silent"] > 0.8
    assert talk(still, [0.0, 0.0])["silent"] == 0


def test_lips_need_frames_and_sound_to_be_compared():
    assert talk([0.1, 0.2], [0.9]) is None
    assert talk([0.1, 0.2, 0.1, 0.2], []) is None
