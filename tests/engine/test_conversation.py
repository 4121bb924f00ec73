"""Adding up a second voice, and knowing the session's own: what learners derive and rules decide from it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from detection.engine.learners import learn_all
from detection.engine.learners.conversation import Conversation
from detection.engine.learners.voices import Voices, cosine
from detection.engine.observations import AUDIO, Observation
from detection.engine.policy import Policy
from tests.engine.observing import START, play, told

ASKED = Policy.from_dict({"rules": {"UNKNOWN_VOICE": {"enabled": True}}})
RNG = np.random.default_rng(0)
MINE, OTHER = ([int(value) for value in RNG.integers(-90, 91, 256)] for _ in range(2))


def near(voice: Sequence[int], cosine_near: float = 0.8) -> list[int]:
    """Return another embedding of a voice."""
    noise = RNG.normal(0, 52 * np.sqrt(1 / cosine_near**2 - 1), 256)
    return [int(value) for value in np.clip(np.array(voice) + noise, -127, 127)]


def heard(at: float, *, seconds: Sequence[tuple[float, float]] | None = None, **voice: Any) -> Observation:
    """A window that ends ``at`` seconds after the start, and what ``speakers`` and ``voice`` found in it."""
    measures: dict[str, Any] = {}
    if seconds is not None:
        measures["speakers"] = {"seconds": [list(second) for second in seconds], "overlap_s": 0, "second_s": 0}
    if voice:
        measures["voice"] = {"seconds": 2.0, "same": None, "embedding": []} | voice
    return Observation(f"w{at}", AUDIO, START + at, measures, started_at=START + at - 1)


def derive(observations: Sequence[Observation]) -> list[Any]:
    """Let both learners see observations; return what they derived, the memory through JSON's form each time."""
    memory, derived = {}, []
    for observation in observations:
        memory, seen = learn_all(
            memory, observation, ASKED, learners={"conversation": Conversation(), "voices": Voices()}
        )
        memory = json.loads(json.dumps(memory))
        derived.append(seen.measures)
    assert len(json.dumps(memory)) < 6000
    return derived


NOBODY = [(0.0, 0.0)] * 10
TALK = [(0.0, 0.0)] * 6 + [(0.5, 0.3)] + [(0.0, 1.0)] + [(0.0, 0.0)] * 2


def test_before_anybody_was_looked_for_nothing_is_derived():
    assert "conversation" not in derive([heard(1)])[0]


def test_a_second_is_counted_once_however_often_it_is_heard():
    again = [(0.5, 0.3)] + [(0.0, 1.0)] + [(0.0, 0.0)] * 8
    first, _, second = derive([heard(12, seconds=TALK), heard(13), heard(18, seconds=again)])
    assert first["conversation"] == {
        "second_s": 1.8,
        "overlap_s": 0.5,
        "first_at": START + 8,
        "last_at": START + 10,
    }
    assert second["conversation"]["second_s"] == 1.8


def test_new_seconds_are_added_and_old_ones_forgotten():
    derived = derive([heard(12, seconds=TALK), heard(18, seconds=TALK), heard(41), heard(60)])
    assert [each["conversation"]["second_s"] for each in derived] == [1.8, 3.6, 1.8, 0]


def test_a_voice_that_sounds_like_the_first_counts_only_where_it_talks_at_once():
    (alike,) = derive([heard(12, seconds=TALK, same=0.6)])
    assert alike["conversation"]["second_s"] == 0.5
    (apart,) = derive([heard(12, seconds=TALK, same=0.1)])
    assert apart["conversation"]["second_s"] == 1.8


def test_a_conversation_is_one_incident_from_its_first_to_its_last_second():
    line = [
        heard(float(at), seconds=TALK if at in (12, 18) else NOBODY if at % 6 == 0 else None) for at in range(1, 70)
    ]
    assert told(play(line)) == [
        ("MULTIPLE_SPEAKERS", "opened", 8, None),
        ("MULTIPLE_SPEAKERS", "closed", 8, 16),
    ]


def test_half_a_second_of_another_voice_is_none():
    line = [heard(float(at), seconds=[*NOBODY[:9], (0.3, 0.2)] if at == 12 else None) for at in range(1, 60)]
    assert play(line) == []


def test_the_voice_is_learnt_then_known():
    derived = derive([heard(18.0 * at, embedding=near(MINE)) for at in range(1, 8)])
    assert ["voices" in each for each in derived] == [False, False, False, True, True, True, True]
    assert min(each["voices"]["score"] for each in derived[3:]) > 0.6
    assert derived[-1]["voices"]["count"] == 5


def test_a_first_voice_heard_but_once_is_not_the_candidate_s():
    derived = derive([heard(18.0, embedding=OTHER), *(heard(18.0 * at, embedding=near(MINE)) for at in range(2, 7))])
    assert derived[-1]["voices"]["score"] > 0.6


def test_too_little_or_two_voices_teach_nothing():
    derived = derive(
        [
            heard(6.0, embedding=[]),
            *(heard(6.0 * at, embedding=near(MINE), same=0.1) for at in range(2, 9)),
        ]
    )
    assert not any("voices" in each for each in derived)


@pytest.mark.parametrize(
    ("strange", "expected"),
    [
        ((), []),
        ((100,), []),
        ((100, 118), [("UNKNOWN_VOICE", "opened", 100, None), ("UNKNOWN_VOICE", "closed", 100, 118)]),
    ],
)
def test_two_comparisons_in_a_row_make_a_stranger(strange, expected):
    def voice(at: int) -> dict[str, Any]:
        return {"embedding": near(OTHER if at in strange else MINE)} if at % 18 == 10 else {}

    line = [heard(float(at), **voice(at)) for at in range(1, 240)]
    assert told(play(line, ASKED)) == expected
    assert told(play(line)) == []  # nobody asked


def test_no_voice_is_kept_unless_a_policy_asks_for_it():
    line = [heard(18.0 * at, embedding=MINE) for at in range(1, 6)]
    memory: Any = {}
    for observation in line:
        memory, _ = learn_all(memory, observation, Policy(), learners={"voices": Voices()})
        assert memory == {}


def test_nobody_is_judged_by_an_old_comparison():
    line = [heard(18.0 * at, embedding=near(MINE)) for at in range(1, 6)]
    derived = derive([*line, heard(160.0), heard(170.0, embedding=near(OTHER))])
    assert "voices" not in derived[-2]
    assert "voices" not in derived[-1]


def test_two_speakers_explain_an_unknown_voice():
    def window(at: int) -> Observation:
        strange = at in (100, 118)
        voice = {"embedding": near(OTHER if strange else MINE)} if at % 18 == 10 else {}
        return heard(float(at), seconds=TALK if at == 97 else None, **voice)

    assert {change[0] for change in told(play([window(at) for at in range(1, 125)]))} == {"MULTIPLE_SPEAKERS"}


def test_the_voice_learnt_stays_what_it_was():
    strangers = [heard(18.0 * at, embedding=near(OTHER)) for at in range(6, 30)]
    derived = derive([*(heard(18.0 * at, embedding=near(MINE)) for at in range(1, 6)), *strangers])
    assert derived[-1]["voices"]["score"] < 0.25


def test_a_cosine_is_one_of_its_own():
    assert cosine(MINE, MINE) == pytest.approx(1)
    assert abs(cosine(MINE, OTHER)) < 0.25
    assert cosine([0, 0], [1, 0]) == 0
