"""Learners see observations in the order of capture, keep what they know in the rules' state, and forget at the end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from detection.engine import learners, rules
from detection.engine.learners import State, learn_all
from detection.engine.observations import AUDIO, ERRORS, VIDEO, Observation, without_private
from detection.engine.policy import Policy


class Counting:
    """Counts what it sees; derives the capture times so far."""

    name = "counting"
    streams = frozenset({VIDEO})

    def learn(self, state: State, observation: Observation, policy: Policy) -> tuple[State, Mapping[str, Any] | None]:
        times = [*state.get("times", []), observation.captured_at]
        return {"times": times}, {"count": len(times), "times": times}


class Reading:
    """Derives from what the learner before it derived."""

    name = "reading"
    streams = frozenset({VIDEO})

    def learn(self, state: State, observation: Observation, policy: Policy) -> tuple[State, Mapping[str, Any] | None]:
        return {}, {"double": 2 * observation.measures["counting"]["count"]}


class Failing:
    name = "failing"
    streams = frozenset({VIDEO})

    def learn(self, state: State, observation: Observation, policy: Policy) -> tuple[State, Mapping[str, Any] | None]:
        if observation.captured_at == 2.0:
            raise ZeroDivisionError("nothing to divide by")
        return {"seen": observation.captured_at}, None


def frame(at: float) -> Observation:
    return Observation(f"f{at}", VIDEO, at, {"faces": {"count": 1}})


def test_a_learner_keeps_a_state_and_adds_to_the_measures() -> None:
    memory: learners.Memory = {}
    for at in (1.0, 2.0):
        memory, seen = learn_all(memory, frame(at), Policy(), learners={"counting": Counting(), "reading": Reading()})
    assert memory == {"counting": {"times": [1.0, 2.0]}}
    assert seen.measures == {
        "faces": {"count": 1},
        "counting": {"count": 2, "times": [1.0, 2.0]},
        "reading": {"double": 4},
    }


def test_a_learner_sees_its_streams_only() -> None:
    sound = Observation("a", AUDIO, 1.0, {}, started_at=0.0)
    assert learn_all({}, sound, Policy(), learners={"counting": Counting()}) == ({}, sound)


def test_a_learner_that_raises_keeps_its_state_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    memory, _ = learn_all({}, frame(1.0), Policy(), learners={"failing": Failing()})
    memory, seen = learn_all(memory, frame(2.0), Policy(), learners={"failing": Failing()})
    assert memory == {"failing": {"seen": 1.0}}
    assert seen.measures[ERRORS] == {"failing": "ZeroDivisionError: nothing to divide by"}
    assert "Learner failed" in caplog.text or "failing" in caplog.text


def test_the_rules_hand_observations_on_in_order_of_capture_and_remember(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learners.learn_all, "__kwdefaults__", {"learners": {"counting": Counting()}})
    state = rules.RulesState()
    for batch in ([frame(2.0), frame(1.0)], [frame(4.0), frame(3.0)]):
        step = rules.advance(state, batch, Policy(), flush=True)
        state = rules.RulesState.from_dict(json.loads(json.dumps(step.state.to_dict())))
    assert state.memory == {"counting": {"times": [1.0, 2.0, 3.0, 4.0]}}
    assert rules.close(state, 5.0, Policy()).state.memory == {}


def test_what_is_private_is_left_out_of_what_is_stored() -> None:
    measures = {"voice": {"embedding": [1, 2], "seconds": 3.0}, "faces": {"count": 1}, ERRORS: {"gaze": "it broke"}}
    assert without_private(measures) == {"voice": {"seconds": 3.0}, "faces": {"count": 1}, ERRORS: {"gaze": "it broke"}}
