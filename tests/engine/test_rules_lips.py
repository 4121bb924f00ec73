"""Lips against heard speech: from mouths and sound of a session to its incidents."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from detection.engine.observations import Observation
from detection.engine.policy import Policy
from tests.engine.observing import frame, play, policy, told, window

SHUT = (0.02, 0.02)
SPEAKING = (0.05, 0.35)
"""How far the mouth is open, from frame to frame."""
BOTH = {"SPEECH_OFF_CAMERA": {"enabled": True}, "LIPS_MOVING": {"enabled": True}}


def session(*parts: tuple[float, tuple[float, float], float], **more: Any) -> list[Observation]:
    """Return frames and windows in order: for so many seconds, with such a mouth, and such a share of speech."""
    seen: list[Observation] = []
    begin = 0
    for length_s, mouth, share in parts:
        for second in range(begin, begin + round(length_s)):
            for at, opening in zip((second, second + 0.5), mouth, strict=True):
                picture = frame(at, **more)
                measures = dict(picture.measures) | ({"mouth": {"open": opening}} if more.get("faces", 1) else {})
                seen.append(dataclasses.replace(picture, measures=measures))
            seen.append(window(second, share=share))
        begin += round(length_s)
    return sorted(seen, key=lambda observation: observation.captured_at)


def incidents(*parts: tuple[float, tuple[float, float], float], rules: Policy | None = None) -> list[tuple[str, str]]:
    changes = play(session(*parts), rules or policy(**BOTH), end=sum(part[0] for part in parts))
    return [(name, phase) for name, phase, *_ in told(changes)]


def test_speech_while_the_lips_are_still_is_one_incident_and_not_speech_as_well():
    found = incidents((6, SHUT, 0.0), (10, SHUT, 0.9), (10, SHUT, 0.0))
    assert found == [("SPEECH_OFF_CAMERA", "opened"), ("SPEECH_OFF_CAMERA", "closed")]


def test_it_begins_when_the_voice_does_and_names_what_was_measured():
    changes = play(session((6, SHUT, 0.0), (10, SHUT, 0.9)), policy(**BOTH))
    (opened,) = changes
    assert opened.started_at - 1_700_000_000 == pytest.approx(7, abs=1.5)
    assert opened.measures["decision"]["lips"]["moving"] == 0
    assert opened.measures["decision"]["lips"]["off_camera"] >= 0.5


def test_a_candidate_who_speaks_is_speech_alone():
    assert incidents((6, SHUT, 0.0), (10, SPEAKING, 0.9), (10, SHUT, 0.0)) == [
        ("SPEECH_DETECTED", "opened"),
        ("SPEECH_DETECTED", "closed"),
    ]


def test_lips_that_move_without_a_sound_are_an_incident_of_their_own():
    assert incidents((6, SHUT, 0.0), (10, SPEAKING, 0.0), (10, SHUT, 0.0)) == [
        ("LIPS_MOVING", "opened"),
        ("LIPS_MOVING", "closed"),
    ]


def test_a_yawn_and_a_word_from_the_corridor_are_no_incidents():
    rules = policy(SPEECH_DETECTED={"enabled": False}, **BOTH)
    assert incidents((6, SHUT, 0.0), (2, SPEAKING, 0.0), (10, SHUT, 0.0), rules=rules) == []
    assert incidents((6, SHUT, 0.0), (1, SHUT, 0.9), (10, SHUT, 0.0), rules=rules) == []


def test_whose_lips_are_not_seen_is_not_said_to_be_silent():
    seen = [each for each in session((6, SHUT, 0.9), (10, SHUT, 0.9)) if "mouth" not in each.measures]
    assert {name for name, *_ in told(play(seen, policy(**BOTH), end=16))} == {"SPEECH_DETECTED"}


def test_a_voice_beside_an_empty_chair_is_not_held_against_lips():
    found = told(play(session((16, SHUT, 0.9), faces=0), policy(**BOTH), end=16))
    assert {name for name, *_ in found} == {"NO_FACE", "SPEECH_DETECTED"}


def test_lips_that_now_and_then_look_still_do_not_hide_that_somebody_speaks():
    """Off camera is suspected again and again, and never holds; the speech is told as speech."""
    rules = policy(SPEECH_OFF_CAMERA={"enabled": True, "enter": 0.5, "exit": 0.5})
    mumbled = [(1.0, (0.03, 0.09), share) for share in (1.0, 0.4) * 5]
    assert incidents((6, (0.03, 0.09), 0.0), *mumbled, rules=rules)[0] == ("SPEECH_DETECTED", "opened")


@pytest.mark.parametrize("length_s", [2, 3, 5])
def test_a_few_words_from_elsewhere_are_one_incident(length_s):
    assert len(incidents((6, SHUT, 0.0), (length_s, SHUT, 0.9), (12, SHUT, 0.0))) == 2


@pytest.mark.parametrize("event", sorted(BOTH))
def test_both_are_off_unless_a_policy_or_an_accommodation_says_otherwise(event):
    assert not Policy().rules[event].enabled
    late = (10, SHUT, 0.9) if event == "SPEECH_OFF_CAMERA" else (10, SPEAKING, 0.0)
    spoken = ((6, SHUT, 0.0), late)
    assert (event, "opened") in incidents(*spoken)
    assert (event, "opened") not in incidents(*spoken, rules=policy(**BOTH | {event: {"enabled": False}}))
