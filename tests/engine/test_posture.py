"""Where somebody sits and how they move, learnt in the session; and the rules over it."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from detection.engine.learners.posture import NEW_SEAT_LOOKS, Posture
from detection.engine.observations import VIDEO, Observation
from detection.engine.policy import Policy
from tests.engine.observing import START, play, policy, told

WIDTH = 0.3
SEAT = (0.5, 0.55)


def look(
    at: float,
    *,
    x: float = SEAT[0],
    y: float = SEAT[1],
    width: float = WIDTH,
    hand: float = 10.0,
    visible: float = 0.9,
    faces: int = 1,
):
    body = {
        "score": 0.99,
        "shoulders_xy": [x, y],
        "shoulder_width": width,
        "visible": visible,
        "hand_distance": hand,
        "hand_side": "left" if hand < 10 else "",
    }
    measures: dict[str, Any] = {"faces": {"count": faces, "possible": faces}}
    return Observation(f"f{at:.3f}", VIDEO, START + at, {**measures, "body": body} if faces else measures)


def sitting(begin: int, end: int, *, restless: float = 0.01, **values: Any) -> list[Observation]:
    """A look each two seconds at somebody who sits, trembling by ``restless`` shoulder widths."""
    rng = np.random.default_rng(begin)
    off = rng.normal(0, restless * WIDTH, (end, 2))
    x, y = values.pop("x", SEAT[0]), values.pop("y", SEAT[1])
    return [look(at, x=x + off[at, 0], y=y + off[at, 1], **values) for at in range(begin, end, 2)]


def learn(observations: list[Observation]) -> list[Any]:
    state: Any = {}
    derived = []
    for observation in observations:
        state, found = Posture().learn(json.loads(json.dumps(state)), observation, Policy())
        derived.append(found)
        assert len(json.dumps(state)) < 1500
    return derived


def test_the_seat_is_known_after_twenty_seconds():
    derived = learn(sitting(0, 30))
    assert "shift" not in derived[8]
    assert [0 <= found["shift"] < 0.1 for found in derived[10:]] == [True] * 5


@pytest.mark.parametrize(
    ("place", "shift"),
    [
        ({"x": SEAT[0] + WIDTH}, 1.0),
        ({"y": SEAT[1] - 1.5 * WIDTH}, 1.5),
        ({"width": WIDTH / 2}, 1.0),  # twice as far away
        ({"width": WIDTH * 1.5}, 0.0),  # leaning in
        ({"x": SEAT[0] + 0.3 * WIDTH}, 0.3),
    ],
)
def test_a_shift_is_counted_in_shoulder_widths(place, shift):
    assert learn([*sitting(0, 40), look(40, **place)])[-1]["shift"] == pytest.approx(shift, abs=0.06)


def test_a_false_start_does_not_become_the_seat():
    settling = [look(at, x=0.2, y=0.3) for at in (0, 2, 4)]
    assert learn([*settling, *sitting(6, 40)])[-1]["shift"] < 0.1


def test_a_new_place_is_the_new_seat_after_two_minutes():
    elsewhere = sitting(40, 40 + 2 * NEW_SEAT_LOOKS + 10, x=0.2)
    derived = learn([*sitting(0, 40), *elsewhere])
    assert derived[20 + NEW_SEAT_LOOKS - 2]["shift"] == pytest.approx(1.0, abs=0.1)
    assert derived[-1]["shift"] < 0.1


def test_shoulders_that_are_not_seen_say_nothing_about_the_seat():
    derived = learn([*sitting(0, 40), look(40, x=0.1, visible=0.3)])
    assert "shift" not in derived[-1]


def test_movement_is_relative_to_the_candidates_own():
    calm, lively = learn(sitting(0, 160))[-1], learn(sitting(0, 160, restless=0.1))[-1]
    assert calm["movement"] < 1.5
    assert 0.4 < lively["movement"] < 2
    assert learn([*sitting(0, 120), *sitting(120, 140, restless=0.3)])[-1]["movement"] > 4
    assert "movement" not in learn(sitting(0, 60))[-1]


def test_a_hand_counts_when_two_of_three_looks_saw_it():
    hands = (10.0, 0.1, 10.0, 0.0, 10.0, 10.0)
    derived = learn([look(2 * number, hand=hand) for number, hand in enumerate(hands)])
    assert [found.get("hand_distance") for found in derived] == [None, 10.0, 10.0, 0.1, 10.0, 10.0]


# --- Rules


def test_moving_away_from_the_seat_is_one_incident():
    away = sitting(60, 72, x=SEAT[0] + 1.3 * WIDTH)
    assert told(play([*sitting(0, 60), *away, *sitting(72, 90)])) == [
        ("LEFT_SEAT", "opened", 60.0, None),
        ("LEFT_SEAT", "closed", 60.0, 70.0),
    ]


def test_leaning_aside_is_none():
    assert told(play([*sitting(0, 60), *sitting(60, 80, x=SEAT[0] + 0.5 * WIDTH), *sitting(80, 90)])) == []


def test_leaving_is_one_incident_without_a_face():
    rising = [look(60, y=SEAT[1] - 1.2 * WIDTH), look(61, y=SEAT[1] - 1.5 * WIDTH)]
    gone = [look(61.5 + 0.5 * number, faces=0) for number in range(40)]
    changes = told(play([*sitting(0, 60), *rising, *gone], end=90))
    assert [what for what, phase, *_ in changes if phase == "opened"] == ["NO_FACE"]


SWITCHED_ON = policy(HAND_TO_FACE={"enabled": True}, BODY_MOVEMENT={"enabled": True})


def test_hands_and_restlessness_accuse_nobody_unless_a_policy_asks():
    assert told(play([*sitting(0, 200), *sitting(200, 230, restless=0.4), *sitting(230, 260, hand=0.0)])) == []


def test_a_hand_at_the_face_for_ten_seconds_is_a_slight_incident():
    changes = play([*sitting(0, 30), *sitting(30, 50, hand=0.1), *sitting(50, 70)], SWITCHED_ON)
    assert [(change.event_type, change.phase) for change in changes] == [
        ("HAND_TO_FACE", "opened"),
        ("HAND_TO_FACE", "closed"),
    ]
    assert changes[0].rule.severity <= 0.1
    assert changes[0].model == "pose-landmarker-lite"


def test_a_short_scratch_is_none():
    assert told(play([*sitting(0, 30), *sitting(30, 38, hand=0.1), *sitting(38, 60)], SWITCHED_ON)) == []


def test_fidgeting_much_more_than_usual_is_an_incident_and_a_lively_candidate_is_not_accused():
    moving = [*sitting(0, 200), *sitting(200, 230, restless=0.4), *sitting(230, 260)]
    restless = play(moving, SWITCHED_ON)
    assert {change.event_type for change in restless} == {"BODY_MOVEMENT"}
    assert told(play(sitting(0, 400, restless=0.25), SWITCHED_ON)) == []


def test_breathing_and_trembling_accuse_nobody():
    breathing = [look(at, y=SEAT[1] + 0.02 * WIDTH * math.sin(at)) for at in range(0, 600, 2)]
    assert told(play(breathing, SWITCHED_ON)) == []
