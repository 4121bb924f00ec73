"""The line of sight, the rest that is learnt, and what the rules make of it."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from detection.engine import centre, rules
from detection.engine.canonical_face import CANONICAL_FACE, read_vertices
from detection.engine.detectors.gaze import EYEBALL_CM, GazeDetector
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


def face(geometry, *, head=(0, 0, 0), beside=(0.0, 0.0)):
    """Return the landmarks of a face whose irises stand ``beside`` the middle of the corners, in centimetres."""
    vertices = read_vertices(geometry)
    irises = np.zeros((10, 3))
    for first, corners in ((0, (33, 133)), (5, (362, 263))):
        irises[first] = vertices[list(corners)].mean(axis=0) + np.array([*beside, 0])
    turned = np.vstack([vertices, irises]) @ rotation(*head).T
    points = turned * [20, -20, -20] + [320, 240, 0]
    return LandmarksMeasure(points, 1.0, np.zeros(52, np.float32))


def test_straight_eyes_look_where_the_head_points(geometry):
    detector = GazeDetector(geometry)
    straight = detector.of_landmarks(face(geometry))
    assert (straight.yaw_deg, straight.pitch_deg) == pytest.approx((0, 0), abs=0.5)
    turned = detector.of_landmarks(face(geometry, head=(0, 20, 0)))
    assert 8 < turned.yaw_deg < 25


def test_an_iris_beside_the_middle_looks_to_that_side(geometry):
    detector = GazeDetector(geometry)
    sine = np.sin(np.radians(15)) * EYEBALL_CM
    right = detector.of_landmarks(face(geometry, beside=(sine, 0)))
    assert (right.yaw_deg, right.pitch_deg) == pytest.approx((15, 0), abs=1)
    up = detector.of_landmarks(face(geometry, beside=(0, sine)))
    assert (up.yaw_deg, up.pitch_deg) == pytest.approx((0, 15), abs=1)


def test_a_mirrored_photograph_looks_to_the_other_side(pipeline, photo, frame_job):
    seen = pipeline.analyse_frames([frame_job(photo("b_1"))])[0].measures["gaze"]
    mirrored = pipeline.analyse_frames([frame_job(np.ascontiguousarray(photo("b_1")[:, ::-1]))])[0].measures["gaze"]
    assert mirrored["yaw_deg"] == pytest.approx(-seen["yaw_deg"], abs=4)
    assert mirrored["pitch_deg"] == pytest.approx(seen["pitch_deg"], abs=4)
    assert seen["closed"] < 0.5


# --- Learning the rest


def test_the_rest_is_the_densest_place_not_the_mean(rng):
    state: dict = {}
    for number in range(centre.LEARNT_FROM):
        place = (4.0, 9.0) if number % 3 else (-28.0, 0.0)  # a third of the time at the notes
        state = centre.learn(state, (place[0] + rng.normal(0, 1.5), place[1] + rng.normal(0, 1.5)), usual=USUAL)
        assert len(str(state)) < 1500
    rest = centre.rest_of(state, usual=USUAL)
    assert (rest.yaw_deg, rest.pitch_deg) == pytest.approx((4, 9), abs=1.5)
    assert rest.calibrated
    assert "samples" not in state


def test_the_rest_follows_a_drift_but_not_a_look_elsewhere():
    state: dict = {"rest": [0.0, 0.0, 2.0]}
    for _ in range(200):
        state = centre.learn(state, (30.0, 0.0), usual=USUAL)
    assert centre.rest_of(state, usual=USUAL).yaw_deg == 0
    for _ in range(200):
        state = centre.learn(state, (5.0, 0.0), usual=USUAL)
    assert centre.rest_of(state, usual=USUAL).yaw_deg == pytest.approx(5, abs=0.5)


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
            measure = {"yaw_deg": yaw + rng.normal(0, 1.5), "pitch_deg": pitch + rng.normal(0, 1.5), "closed": 0.1}
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


@pytest.mark.parametrize("rest", [(0, 5), (9, -4), (-12, 14)])
def test_looking_away_for_some_seconds_is_one_incident_wherever_the_camera_stands(rng, rest):
    away = (rest[0] + 26, rest[1])
    found = findings(looks(rng, [(20, *rest), (4, *away), (10, *rest)]))
    assert [(event, started) for event, started, _ in found] == [
        (EventType.GAZE_OFF_SCREEN, pytest.approx(20, abs=0.6))
    ]


def test_glances_and_reading_open_nothing(rng):
    script = [(12, 0, 5)]
    for _ in range(10):
        script += [(1, 24, 5), (6, 0, 5), (2, -9, 1), (2, 9, 1)]
    assert findings(looks(rng, script)) == []


def test_before_the_rest_is_known_nobody_is_accused(rng):
    assert findings(looks(rng, [(3.5, 30, 0)])) == []


def test_a_turned_head_is_one_incident_and_not_a_gaze_as_well(rng):
    heads = looks(rng, [(15, 2, -4), (6, 45, -4), (10, 2, -4)], detector="head_pose")
    eyes = looks(rng, [(15, 1, 6), (6, 50, 6), (10, 1, 6)])
    frames = [replace(head, measures={**head.measures, **eye.measures}) for head, eye in zip(heads, eyes, strict=True)]
    events = [event for event, _, _ in findings(frames)]
    assert events.count(EventType.HEAD_TURNED) == 1
    assert len(events) == events.count(EventType.HEAD_TURNED) + events.count(EventType.GAZE_OFF_SCREEN)
    assert events.count(EventType.GAZE_OFF_SCREEN) <= 1  # it may have opened first: then the turned head ends it


def derive(learner, measures, *, state=None, at=1000.0):
    state, derived = learner.learn(state or {}, Observation("f", VIDEO, at, measures), Policy())
    return state, derived


@pytest.mark.parametrize(
    ("yaw", "pitch", "direction"),
    [(0, 5, "center"), (25, 5, "right"), (-25, 5, "left"), (0, 25, "up"), (0, -20, "down")],
)
def test_the_direction_is_named_as_the_picture_shows_it(yaw, pitch, direction):
    state = {"centre": {"rest": [0.0, 5.0, 2.0]}, "closed": 0.1}
    _, derived = derive(GazeLine(), {"gaze": {"yaw_deg": yaw, "pitch_deg": pitch, "closed": 0.1}}, state=state)
    assert (derived["direction"], derived["calibrated"]) == (direction, True)


def test_a_blink_is_no_look_down_but_lowered_lids_are():
    state = {"centre": {"rest": [0.0, 5.0, 2.0]}}
    state, before = derive(GazeLine(), {"gaze": {"yaw_deg": 0, "pitch_deg": 5, "closed": 0.1}}, state=state)
    down = {"gaze": {"yaw_deg": 0, "pitch_deg": -12, "closed": 0.7}}
    state, blink = derive(GazeLine(), down, state=state)
    assert blink == before
    _, lowered = derive(GazeLine(), down, state=state)
    assert lowered["direction"] == "down"


def test_without_a_face_nothing_is_derived_and_nothing_forgotten():
    for learner in (GazeLine(), HeadLine()):
        assert learner.learn({"rest": [1, 2, 3]}, Observation("f", VIDEO, 1.0, {}), Policy()) == (
            {"rest": [1, 2, 3]},
            None,
        )


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
