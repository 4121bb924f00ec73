"""Follow the challenge at check-in: were the movements that were asked for done, in order and in time?

The server draws the movements and says so (``CHALLENGE``); the page says when it showed each (``CHALLENGE_STEP``); the
frames that are analysed anyway decide. The page cannot choose, leave out or lengthen anything.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from detection.engine.challenge import CHALLENGE, TURNS, Posture, Prompt, share_of
from detection.engine.observations import BROWSER, VIDEO, Observation
from detection.engine.policy import Policy

ISSUED, SHOWN = "CHALLENGE", "CHALLENGE_STEP"
"""Kinds of ``messages.Browser``; a test keeps them equal."""

RUNNING, PASSED, FAILED, UNFINISHED = "running", "passed", "failed", "unfinished"
"""Of a challenge. Unfinished: a movement was never shown, or nobody could see whether it was done."""
OPEN, DONE, MISSED, UNSEEN = "open", "done", "missed", "unseen"
RESULTS: Final = (OPEN, DONE, MISSED, UNSEEN)
"""Of a movement. Unseen: no face was measured while it was asked for."""

_USUAL_DEG = (0.0, -3.0)
"""Yaw and pitch at rest of somebody who was not seen before the first movement."""
_LATE_S = 2.0
"""How long after a movement's time frames of that time may still be judged."""
_APART_S = 0.2
_KEPT = 320
"""Postures kept: five a second for a minute, the longest that a movement may take, and some."""
_ON_END = 2
"""Frames on end that must show a movement; one where the policy samples less than ``_SLOW_FPS`` a second."""
_SLOW_FPS = 1.5

_Seen = tuple[float, Posture]


@dataclass(frozen=True, slots=True)
class Step:
    """One movement: when the page showed it, when it was done, and what became of it."""

    prompt: Prompt
    result: str = OPEN
    shown_at: float | None = None
    done_at: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-able form."""
        return {
            "prompt": self.prompt.value,
            "result": self.result,
            "shown_at": self.shown_at,
            "done_at": self.done_at,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Step:
        """Build from ``to_dict``'s result."""
        return cls(**{**data, "prompt": Prompt(data["prompt"])})


class Challenge:
    """Derives on frames, while a challenge runs or after one.

    ``asked``: the candidate moves because they were asked to. ``missed``: how many movements were not seen, on the
    frame after which that was known, 0 on later ones; ``missed_since``: when the first of them was shown.
    ``answered_at``: when the last movement of a challenge that was passed was done.
    """

    name = CHALLENGE
    streams = frozenset({VIDEO, BROWSER})

    def learn(
        self, state: Mapping[str, Any], observation: Observation, policy: Policy
    ) -> tuple[Mapping[str, Any], Mapping[str, Any] | None]:
        """Take in what server and page tell, and each frame's posture."""
        if observation.stream == BROWSER:
            return self._told(state, observation, policy), None
        if not state:
            return state, None
        state = {**state, "seen_at": observation.captured_at}
        if state["outcome"] == RUNNING:
            state = _judged(_with_posture(state, observation), policy)
        return _derived(state)

    def _told(self, state: Mapping[str, Any], observation: Observation, policy: Policy) -> Mapping[str, Any]:
        told, at = observation.measures[BROWSER], observation.captured_at
        if told["kind"] == ISSUED and at > state.get("issued_at", 0.0):
            return _begun(told, at)
        if told["kind"] != SHOWN or told["challenge_id"] != state.get("challenge_id") or state["outcome"] != RUNNING:
            return state
        steps, index = _steps(state), int(told["step"])
        if not 0 <= index < len(steps) or steps[index].shown_at is not None or at > state["expires_at"]:
            return state
        steps[index] = replace(steps[index], shown_at=max(at, state["issued_at"]))
        return _judged({**state, "steps": [step.to_dict() for step in steps]}, policy)


def progress(state: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what the learner's state says of the latest challenge: id, outcome, steps; None where there is none."""
    if not state:
        return None
    return {key: state[key] for key in ("challenge_id", "outcome", "steps")}


def _begun(told: Mapping[str, Any], at: float) -> dict[str, Any]:
    return {
        "challenge_id": told["challenge_id"],
        "issued_at": at,
        "expires_at": told["expires_at"],
        "outcome": RUNNING,
        "steps": [Step(Prompt(prompt)).to_dict() for prompt in told["prompts"]],
        "postures": [],
        "seen_at": at,
    }


def _steps(state: Mapping[str, Any]) -> list[Step]:
    return [Step.from_dict(step) for step in state["steps"]]


def _postures(state: Mapping[str, Any]) -> list[_Seen]:
    return [(at, Posture.from_list(values)) for at, *values in state["postures"]]


def _with_posture(state: dict[str, Any], observation: Observation) -> dict[str, Any]:
    """Keep a frame's posture, where a face was measured."""
    at, kept = observation.captured_at, state["postures"]
    posture = _posture(observation)
    if posture is None or (kept and at - kept[-1][0] < _APART_S):
        return state
    return {**state, "postures": [*kept, [at, *posture.to_list()]][-_KEPT:]}


def _posture(observation: Observation) -> Posture | None:
    pose, faces, mouth = (observation.measures.get(name) for name in ("head_pose", "faces", "mouth"))
    if not isinstance(pose, Mapping) or not isinstance(faces, Mapping) or faces.get("width_px") is None:
        return None
    opened = float(mouth["open"]) if isinstance(mouth, Mapping) else 0.0
    return Posture(float(pose["yaw_deg"]), float(pose["pitch_deg"]), float(faces["width_px"]), opened)


def _judged(state: dict[str, Any], policy: Policy) -> dict[str, Any]:
    """Judge what can be judged, movement by movement; a challenge that is over keeps no postures."""
    steps, seen, now = _steps(state), _postures(state), state["seen_at"]
    first_at, is_late = steps[0].shown_at, now > state["expires_at"] + _LATE_S
    if first_at is None or not seen:
        return _over(state, steps) if is_late else state
    rest = Posture.from_list(state["rest"]) if "rest" in state else _rest(seen, first_at)
    since = first_at
    for index, step in enumerate(steps):
        if step.result == OPEN and step.shown_at is not None:
            step = steps[index] = _judged_step(step, seen, rest, since, state["expires_at"], now, policy)
        if step.result == OPEN:
            break
        since = step.done_at or since
    state = {**state, "rest": rest.to_list(), "steps": [step.to_dict() for step in steps]}
    waits = any(step.result == OPEN for step in steps)
    return state if waits and not is_late else _over(state, steps)


def _judged_step(
    step: Step, seen: list[_Seen], rest: Posture, since: float, expires_at: float, now: float, policy: Policy
) -> Step:
    """Judge one movement by the postures of its time, later than those that showed the one before."""
    assert step.shown_at is not None
    until = min(step.shown_at + policy.check_in.step_s, expires_at)
    window = [(at, posture) for at, posture in seen if max(since, step.shown_at) < at <= until]
    wanted, on_end = _ON_END if policy.sampling.frames_per_second >= _SLOW_FPS else 1, 0
    for at, posture in window:
        on_end = on_end + 1 if share_of(step.prompt, posture, rest) >= 1 else 0
        if on_end >= wanted:
            return replace(step, result=DONE, done_at=at)
    if now <= until + _LATE_S:
        return step
    return replace(step, result=MISSED if window else UNSEEN)


def _rest(seen: list[_Seen], before: float) -> Posture:
    """Return the middle of the postures before the first movement; without any, the usual angles at the first one."""
    postures = [posture.to_list() for at, posture in seen if at < before]
    if not postures:
        return replace(seen[0][1], yaw_deg=_USUAL_DEG[0], pitch_deg=_USUAL_DEG[1])
    return Posture(*(statistics.median(column) for column in zip(*postures, strict=True)))


def _over(state: dict[str, Any], steps: list[Step]) -> dict[str, Any]:
    results = {step.result for step in steps}
    outcome = PASSED if results == {DONE} else FAILED if MISSED in results else UNFINISHED
    kept = {key: state[key] for key in ("challenge_id", "issued_at", "seen_at", "steps")}
    return {**kept, "outcome": outcome, "untold": outcome == FAILED}


def _derived(state: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the state and what a frame is to know of it; a failure is told of once."""
    steps = _steps(state)
    if state["outcome"] == RUNNING:
        return state, {"asked": steps[0].shown_at is not None}
    derived: dict[str, Any] = {"missed": 0}
    missed = [step for step in steps if step.result == MISSED]
    if state["untold"] and missed:
        derived = {"missed": len(missed), "missed_since": missed[0].shown_at}
        derived |= {"prompts": [step.prompt.value for step in missed]}
    if state["outcome"] == PASSED and TURNS & {step.prompt for step in steps}:
        derived["answered_at"] = max(step.done_at or 0.0 for step in steps)
    return {**state, "untold": False}, derived
