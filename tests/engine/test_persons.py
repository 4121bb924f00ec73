"""Counting people: faces, people without a visible face, and pictures on the wall."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from typing import Any

import pytest

from detection.engine.learners.persons import Persons
from detection.engine.observations import VIDEO, Observation
from detection.engine.policy import Policy
from tests.engine.observing import START, play, told

Box = tuple[float, float, float, float]
FACE: Box = (280, 150, 360, 250)
BODY: Box = (180, 120, 460, 480)
OTHER_BODY: Box = (470, 60, 630, 480)
POSTER: Box = (60, 40, 120, 115)


def seen(at: float, faces: Sequence[Box], people: Sequence[Box] | None = None, *, score: float = 0.9):
    """A frame of 640 x 480 with faces beyond doubt; ``people`` None: nobody looked for things in it."""
    measures: dict[str, Any] = {
        "faces": {
            "count": len(faces),
            "possible": len(faces),
            "boxes_xyxy": [list(box) for box in faces],
            "scores": [0.9] * len(faces),
        }
    }
    if people is not None:
        found = [{"kind": "person", "score": score, "box_xyxy": list(box)} for box in people]
        measures["objects"] = {"found": found, "size_wh": [640, 480]}
    return Observation(f"f{at:.3f}", VIDEO, START + at, measures)


def learn(observations: Sequence[Observation]) -> dict[str, Any]:
    state: Any = {}
    derived: Any = None
    for observation in observations:
        state, derived = Persons().learn(json.loads(json.dumps(state)), observation, Policy())
    assert len(json.dumps(state)) < 2000
    return dict(derived)


def test_the_candidates_own_body_is_nobody_else():
    assert learn([seen(at, [FACE], [BODY]) for at in (0, 2, 4)]) == {
        "count": 1,
        "faces": 1,
        "visible": 1,
        "faceless": 0,
        "pictures": 0,
    }


def test_a_person_without_a_face_counts_when_two_looks_saw_them():
    assert learn([seen(0, [FACE], [BODY, OTHER_BODY])])["count"] == 1
    assert learn([seen(0, [FACE], [BODY, OTHER_BODY]), seen(2, [FACE], [BODY])])["count"] == 1
    twice = [seen(0, [FACE], [BODY, OTHER_BODY]), seen(2, [FACE], [BODY]), seen(4, [FACE], [BODY, OTHER_BODY])]
    assert learn(twice)["count"] == 2
    assert learn([*twice, seen(4.5, [FACE])])["count"] == 2  # also on frames between the looks
    assert learn([*twice, seen(60, [FACE])])["count"] == 1  # but not for ever


def test_somebody_whose_face_is_seen_counts_once():
    other_face = (520, 80, 580, 160)
    looks = [seen(at, [FACE, other_face], [BODY, OTHER_BODY]) for at in (0, 2, 4)]
    assert learn(looks)["count"] == 2


def test_a_candidate_who_looks_down_is_still_one_person():
    assert learn([seen(at, [], [BODY]) for at in (0, 2, 4)])["count"] == 0
    assert learn([seen(at, [], [BODY, OTHER_BODY]) for at in (0, 2, 4)])["count"] == 1


@pytest.mark.parametrize(
    "part",
    [
        (180, 380, 330, 480),  # an arm
        (190, 110, 470, 470),  # the same person once more
        (600, 200, 620, 250),  # too small
    ],
)
def test_parts_doubles_and_tiny_people_do_not_count(part):
    assert learn([seen(at, [FACE], [BODY, part]) for at in (0, 2, 4)])["count"] == 1


def test_a_doubtful_person_does_not_count():
    assert learn([seen(at, [FACE], [BODY, OTHER_BODY], score=0.45) for at in (0, 2, 4)])["count"] == 1


def test_an_observation_without_boxes_counts_its_faces():
    bare = Observation("f", VIDEO, START, {"faces": {"count": 2, "possible": 3}})
    assert learn([bare]) == {"count": 2, "faces": 2, "visible": 3, "faceless": 0, "pictures": 0}


# --- Pictures on the wall


def sway(box: Box, at: float, share: float = 0.3) -> Box:
    """A box as of somebody who moves to and fro by a share of the face's width."""
    off = share * (box[2] - box[0]) * math.sin(at / 3)
    return (box[0] + off, box[1], box[2] + off, box[3])


def session(seconds: float, other: Any) -> list[Observation]:
    times = [0.5 * number for number in range(int(seconds * 2))]
    return [seen(at, [sway(FACE, at), other(at)]) for at in times]


def test_a_face_that_never_moves_while_the_candidate_does_is_a_picture_after_a_minute():
    assert learn(session(55, lambda at: POSTER))["count"] == 2
    after = learn(session(65, lambda at: POSTER))
    assert (after["count"], after["visible"], after["pictures"]) == (1, 1, 1)


def test_a_picture_trembles_as_boxes_do():
    assert learn(session(70, lambda at: sway(POSTER, 7 * at, 0.03)))["pictures"] == 1


def test_a_person_moves():
    assert learn(session(180, lambda at: sway(POSTER, at, 0.2)))["count"] == 2


def test_a_camera_that_moves_shows_nothing_about_pictures():
    moved = [seen(0.5 * n, [sway(FACE, 0.5 * n), sway(POSTER, 0.5 * n)]) for n in range(200)]
    assert learn(moved)["pictures"] == 0


def test_two_faces_that_both_keep_still_are_not_told_apart():
    assert learn([seen(0.5 * n, [FACE, POSTER]) for n in range(200)])["pictures"] == 0


def test_a_picture_that_was_hidden_for_a_while_is_still_one():
    gone = [seen(65 + 0.5 * n, [sway(FACE, n)]) for n in range(20)]
    assert learn([*session(65, lambda at: POSTER), *gone, seen(76, [FACE, POSTER])])["pictures"] == 1


# --- The rule


def test_a_person_without_a_face_is_an_incident():
    observations = [
        seen(0.5 * n, [FACE], ([BODY, OTHER_BODY] if 4 <= n <= 24 else [BODY]) if n % 4 == 0 else None)
        for n in range(60)
    ]
    [(what, phase, began, _), closed] = told(play(observations))
    assert (what, phase) == ("MULTIPLE_PERSONS", "opened")
    assert 2 <= began <= 4.5
    assert 12 <= closed[3] <= 16.5


def test_a_poster_is_an_incident_that_ends():
    changes = told(play(session(90, lambda at: POSTER)))
    assert [(what, phase) for what, phase, *_ in changes] == [
        ("MULTIPLE_PERSONS", "opened"),
        ("MULTIPLE_PERSONS", "closed"),
    ]
    assert 58 <= changes[1][3] <= 63


def left_alone(poster_s: float, alone_s: float, *, moves: bool = False) -> list[Observation]:
    """A candidate before a poster, who goes away after a while; or it is no poster."""
    alone = [poster_s + 0.5 * number for number in range(int(alone_s * 2))]
    return [
        *session(poster_s, lambda at: POSTER),
        *(seen(at, [sway(POSTER, at) if moves else POSTER]) for at in alone),
    ]


def test_a_poster_does_not_stand_in_for_a_candidate_who_left():
    """For as long as it lasts: longer, too, than the place where the candidate sat is remembered."""
    changes = [change for change in told(play(left_alone(90, 400))) if change[0] != "MULTIPLE_PERSONS"]
    assert changes == [("NO_FACE", "opened", 90.0, None)]


def test_its_incident_says_that_there_is_a_picture_only():
    (opened,) = [change for change in play(left_alone(90, 20)) if change.event_type == "NO_FACE"]
    assert opened.measures["decision"]["persons"] | {"faceless": 0} == {
        "count": 0,
        "faces": 0,
        "visible": 0,
        "faceless": 0,
        "pictures": 1,
    }


def test_a_face_that_moves_is_somebody_whatever_it_was_taken_for():
    assert "NO_FACE" not in {name for name, *_ in told(play(left_alone(90, 60, moves=True)))}


def test_the_face_on_a_poster_is_not_compared_with_a_candidate_who_left():
    compared = {"similarity": 0.01, "comparison_score": -0.1, "decided": True}
    seen_alone = [
        dataclasses.replace(each, measures={**each.measures, "identity": compared}) if at >= 180 else each
        for at, each in enumerate(left_alone(90, 60))
    ]
    assert {name for name, *_ in told(play(seen_alone))} == {"MULTIPLE_PERSONS", "NO_FACE"}
