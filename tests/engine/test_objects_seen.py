"""Things are seen when looks agree: votes, places, sizes; and the rules over them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from detection.engine.learners.objects_seen import LOOKS, ObjectsSeen
from detection.engine.observations import VIDEO, Observation
from detection.engine.policy import Policy
from tests.engine.observing import START, play, told

FACE = [280, 100, 360, 200]
PHONE = (100, 300, 150, 390)


def look(at: float, *things: tuple[str, float, tuple[int, int, int, int]], face: list[int] | None = FACE):
    """A frame of 640 x 480 at which things were looked for."""
    found = [{"kind": kind, "score": score, "box_xyxy": list(box)} for kind, score, box in things]
    faces: dict[str, Any] = {"count": 1, "possible": 1, "boxes_xyxy": [face], "scores": [0.9]}
    if face is None:
        faces = {"count": 0, "possible": 0, "boxes_xyxy": [], "scores": []}
    measures = {"faces": faces, "objects": {"found": found, "size_wh": [640, 480]}}
    return Observation(f"f{at:.3f}", VIDEO, START + at, measures)


def plain(at: float):
    return Observation(f"f{at:.3f}", VIDEO, START + at, {"faces": {"count": 1, "possible": 1}})


def learn(*observations: Observation) -> list[dict[str, Any] | None]:
    """Show a session's frames to the learner, its state through JSON each time."""
    state: Any = {}
    derived: list[Any] = []
    for observation in observations:
        state, found = ObjectsSeen().learn(json.loads(json.dumps(state)), observation, Policy())
        derived.append(found)
    return derived


def phone(at: float, score: float, *, box: tuple[int, int, int, int] = PHONE, kind: str = "phone"):
    return look(at, (kind, score, box))


def test_one_look_decides_nothing_and_two_agree_on_the_lesser_score():
    first, second = learn(phone(0, 0.9), phone(2, 0.6))
    assert first == {"phone": 0.0, "book": 0.0, "screen": 0.0}
    assert second == {"phone": 0.6, "phone_since": START, "phone_until": START + 2, "book": 0.0, "screen": 0.0}


def test_the_best_two_of_the_last_four_looks_count():
    *_, fourth, fifth, sixth = learn(phone(0, 0.8), look(2), phone(4, 0.3), phone(6, 0.7), look(8), look(10))
    assert (fourth["phone"], fourth["phone_since"], fourth["phone_until"]) == (0.7, START, START + 6)
    assert fifth["phone"] == 0.3
    assert sixth["phone"] == 0.3


def test_looks_agree_only_on_one_place():
    assert learn(phone(0, 0.9), phone(2, 0.9, box=(500, 60, 550, 150)))[-1]["phone"] == 0.0
    assert learn(phone(0, 0.9), phone(2, 0.9, box=(130, 330, 180, 420)))[-1]["phone"] == 0.9


def test_two_things_in_one_picture_are_not_two_looks():
    assert learn(look(0, ("phone", 0.9, PHONE), ("phone", 0.8, PHONE)))[-1]["phone"] == 0.0


@pytest.mark.parametrize(
    ("kind", "word"),
    [("phone", "phone"), ("remote", "phone"), ("book", "book"), ("laptop", "screen"), ("screen", "screen")],
)
def test_kinds_count_as_what_they_may_be(kind, word):
    derived = learn(phone(0, 0.7, kind=kind), phone(2, 0.7, kind=kind))[-1]
    assert {name: derived[name] for name in ("phone", "book", "screen") if derived[name]} == {word: 0.7}


def test_people_are_no_things():
    assert learn(phone(0, 0.7, kind="person"), phone(2, 0.7, kind="person"))[-1]["phone"] == 0.0


@pytest.mark.parametrize(
    ("box", "counts"),
    [
        ((100, 300, 130, 330), True),
        ((100, 300, 112, 312), False),  # as long as a seventh of the face is wide
        ((0, 150, 330, 470), False),  # more than four faces long
    ],
)
def test_a_phone_has_a_size_that_a_phone_can_have_beside_the_face(box, counts):
    assert bool(learn(phone(0, 0.9, box=box), phone(2, 0.9, box=box))[-1]["phone"]) is counts


def test_a_phone_that_fills_the_picture_is_none_without_a_face_too():
    large = ("phone", 0.9, (0, 0, 500, 400))
    assert learn(look(0, large, face=None), look(2, large, face=None))[-1]["phone"] == 0.0


def test_books_on_a_shelf_are_furniture_also_while_the_candidate_looks_down():
    shelf, desk = ("book", 0.9, (20, 20, 90, 160)), ("book", 0.8, (200, 300, 400, 460))
    assert learn(look(0, shelf), look(2, shelf), look(4, shelf, face=None))[-1]["book"] == 0.0
    assert learn(look(0, shelf, desk), look(2, shelf, desk))[-1]["book"] == 0.8


def test_frames_between_looks_say_nothing_and_keep_what_is_known():
    _, between, second = learn(phone(0, 0.7), plain(1), phone(2, 0.7))
    assert between is None
    assert second["phone"] == 0.7


def test_looks_of_a_stretch_long_ago_do_not_vote():
    assert learn(phone(0, 0.9), phone(60, 0.9))[-1]["phone"] == 0.0


def test_the_state_stays_small():
    things = [("book", 0.5, (10 * n, 300, 10 * n + 9, 340)) for n in range(25)]
    state: Any = {}
    for number in range(20):
        state, _ = ObjectsSeen().learn(state, look(2.0 * number, *things), Policy())
    assert len(state["looks"]) == LOOKS
    assert len(json.dumps(state)) < 6000


# --- Rules


def test_a_phone_in_two_looks_is_one_incident_from_the_first_to_the_last_of_them():
    looks = [look(0), phone(2, 0.7), phone(4, 0.6), phone(6, 0.8), *(look(at) for at in (8, 10, 12, 14, 16, 18))]
    assert told(play(looks)) == [("PHONE", "opened", 2.0, None), ("PHONE", "closed", 2.0, 6.0)]


def test_one_look_or_a_doubtful_thing_is_no_incident():
    assert told(play([phone(0, 0.95), look(2), look(4), look(6), look(8)], end=10)) == []
    assert told(play([phone(at, 0.45) for at in (0, 2, 4, 6)], end=8)) == []


def test_a_phone_that_flickers_is_one_incident():
    looks = [phone(at, 0.7) if at % 4 == 0 else look(at) for at in range(0, 20, 2)]
    assert told(play(looks, end=20)) == [("PHONE", "opened", 0.0, None), ("PHONE", "closed", 0.0, 16.0)]


def test_books_and_screens_have_their_own_events():
    things = [("book", 0.7, (200, 300, 400, 460)), ("laptop", 0.8, (420, 200, 620, 330))]
    opened = [
        what for what, phase, *_ in told(play([look(at, *things) for at in range(0, 12, 2)])) if phase == "opened"
    ]
    assert sorted(opened) == ["BOOK", "SECOND_SCREEN"]
    [change, *_] = play([look(at, things[0]) for at in range(0, 6, 2)])
    assert change.model == "efficientdet-lite2"
    assert change.measures["decision"]["objects_seen"]["book"] == 0.7
