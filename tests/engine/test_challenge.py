"""The challenge at check-in: what counts as done, in which order and time, and what comes of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest

from detection.engine.challenge import Posture, Prompt, share_of
from detection.engine.learners import challenge, learn_all
from detection.engine.learners.challenge import progress
from detection.engine.observations import BROWSER, VIDEO, Observation
from detection.engine.policy import Policy, merge
from detection.engine.rules import RulesState, advance
from detection.messages import Browser
from tests.engine.observing import START, play, policy, told

ID = "6f0c6a52-7f6e-4b57-9d6c-8f6ad0f6c111"
SEQUENCE = ("turn_left", "come_closer", "look_up")
REST = {"yaw_deg": 2.0, "pitch_deg": -8.0, "width_px": 140.0, "mouth": 0.02}
MOVED: Mapping[str, dict[str, float]] = {
    "turn_left": {"yaw_deg": 24.0},
    "turn_right": {"yaw_deg": -20.0},
    "look_up": {"pitch_deg": 6.0},
    "come_closer": {"width_px": 170.0},
    "open_mouth": {"mouth": 0.5},
}
SHOWN = (4.0, 12.0, 20.0)
"""When the page shows each movement, seconds after the start; the challenge is issued at 1."""


def frame(at: float, **posture: float) -> Observation:
    """A frame in which the candidate sits like that; ``width_px`` 0: nobody is seen."""
    now = REST | posture
    faces: dict[str, Any] = {"count": 1, "possible": 1, "width_px": now["width_px"], "visible_share": 1.0}
    measures: dict[str, Any] = {"faces": faces}
    if now["width_px"]:
        pose = {"yaw_deg": now["yaw_deg"], "pitch_deg": now["pitch_deg"], "roll_deg": 0.0}
        measures |= {"head_pose": pose, "mouth": {"open": now["mouth"], "jaw": 0.1}}
    else:
        faces |= {"count": 0, "possible": 0, "width_px": None, "visible_share": None}
    return Observation(f"f{at:.3f}", VIDEO, START + at, measures)


def issued(at: float = 1.0, *, prompts: Sequence[str] = SEQUENCE, challenge_id: str = ID, lasts_s: float = 60):
    told = {"challenge_id": challenge_id, "prompts": list(prompts), "expires_at": START + at + lasts_s}
    measure = {"kind": "CHALLENGE", "ended": False, **told}
    return Observation(f"c{at:.3f}", BROWSER, START + at, {BROWSER: measure})


def shown(step: int, at: float, *, challenge_id: str = ID) -> Observation:
    measure = {"kind": "CHALLENGE_STEP", "ended": False, "challenge_id": challenge_id, "step": step}
    return Observation(f"s{step}:{at:.3f}", BROWSER, START + at, {BROWSER: measure})


def moving(movements: Mapping[float, str], *, end: float = 45, fps: float = 2.0, lasts_s: float = 1.6):
    """Frames of somebody who makes each movement for a moment, from its time on."""
    found = []
    for number in range(round(end * fps)):
        at = number / fps
        doing = [name for start, name in movements.items() if start <= at < start + lasts_s]
        found.append(frame(at, **(MOVED[doing[0]] if doing else {})))
    return found


ANSWERED = {6.0: "turn_left", 14.0: "come_closer", 21.0: "look_up"}


def session(movements: Mapping[float, str], *, steps: Sequence[tuple[int, float]] | None = None, **issue: Any):
    """A session with a challenge, in order of capture."""
    steps = list(enumerate(SHOWN)) if steps is None else steps
    observations = [*moving(movements), issued(**issue), *(shown(step, at) for step, at in steps)]
    return sorted(observations, key=lambda o: o.captured_at)


def learn(observations: Iterable[Observation], rules: Policy | None = None):
    """Let all learners see observations, their memory through JSON's form; return it, and what each frame derived."""
    memory: dict[str, Any] = {}
    derived = []
    for observation in observations:
        new, seen = learn_all(memory, observation, rules or Policy())
        memory = json.loads(json.dumps(new))
        derived.append(seen.measures)
    return memory, derived


def results(memory: Mapping[str, Any]) -> tuple[str, list[str]]:
    found = progress(memory["challenge"])
    assert found is not None
    return found["outcome"], [step["result"] for step in found["steps"]]


def test_kinds_and_outcomes_are_those_that_travel() -> None:
    assert (Browser.CHALLENGE.value, Browser.CHALLENGE_STEP.value) == (challenge.ISSUED, challenge.SHOWN)


@pytest.mark.parametrize("prompt", list(Prompt))
def test_a_movement_counts_for_itself_and_for_no_other(prompt: Prompt) -> None:
    rest, moved = Posture(*REST.values()), Posture(*(REST | MOVED[prompt]).values())
    assert share_of(prompt, moved, rest) >= 1
    assert share_of(prompt, rest, rest) == 0
    assert all(share_of(other, moved, rest) <= 0 for other in Prompt if other is not prompt)


def test_left_is_the_candidates_own() -> None:
    rest, nose_to_image_right = Posture(*REST.values()), Posture(*(REST | {"yaw_deg": 30.0}).values())
    assert share_of(Prompt.TURN_LEFT, nose_to_image_right, rest) > 1


def test_who_does_all_in_order_and_in_time_passes_with_the_time_of_each() -> None:
    memory, _ = learn(session(ANSWERED))
    assert results(memory) == ("passed", ["done"] * 3)
    steps = memory["challenge"]["steps"]
    assert [step["shown_at"] - START for step in steps] == list(SHOWN)
    assert [step["done_at"] - START for step in steps] == pytest.approx([6.5, 14.5, 21.5])
    assert "postures" not in memory["challenge"]


def test_one_frame_is_too_little_and_at_slow_sampling_enough() -> None:
    single = [o for o in session(ANSWERED) if not (21.2 < o.captured_at - START < 23 and o.stream == VIDEO)]
    assert results(learn(single)[0])[1][2] == "missed"
    slow = Policy.from_dict(merge(Policy().to_dict(), {"sampling": {"frames_per_second": 1}}))
    assert results(learn(single, slow)[0])[1][2] == "done"


@pytest.mark.parametrize(
    ("movements", "expected"),
    [
        ({}, ["missed"] * 3),
        ({6.0: "turn_right", 14.0: "come_closer", 21.0: "look_up"}, ["missed", "done", "done"]),
        ({2.0: "turn_left", 14.0: "come_closer", 21.0: "look_up"}, ["missed", "done", "done"]),
        ({6.0: "turn_left", 10.0: "come_closer", 21.0: "look_up"}, ["done", "missed", "done"]),
        ({6.0: "turn_left", 14.0: "look_up", 21.0: "come_closer"}, ["done", "missed", "missed"]),
        ({6.0: "turn_left", 14.0: "come_closer", 28.5: "look_up"}, ["done", "done", "missed"]),
    ],
    ids=["nothing", "other side", "too early", "before it was asked for", "other order", "too late"],
)
def test_what_was_not_asked_for_then_does_not_count(movements: dict[float, str], expected: list[str]) -> None:
    assert results(learn(session(movements))[0]) == ("failed", expected)


def test_rest_is_the_candidates_own() -> None:
    beside = [
        frame(o.captured_at - START, yaw_deg=o.measures["head_pose"]["yaw_deg"] - 25) if o.stream == VIDEO else o
        for o in session({}, prompts=["turn_left"], steps=[(0, 4.0)])
    ]
    assert results(learn(beside)[0]) == ("failed", ["missed"])


def test_without_a_face_nobody_can_tell() -> None:
    observations = [
        frame(o.captured_at - START, width_px=0) if o.stream == VIDEO and o.captured_at > START + 15 else o
        for o in session(ANSWERED)
    ]
    assert results(learn(observations)[0]) == ("unfinished", ["done", "done", "unseen"])


def test_a_page_that_goes_away_leaves_it_unfinished() -> None:
    memory, derived = learn(session({6.0: "turn_left"}, steps=[(0, 4.0)], lasts_s=30))
    assert results(memory) == ("unfinished", ["done", "open", "open"])
    assert all(not measures["challenge"].get("missed") for measures in derived if "challenge" in measures)


def test_a_page_cannot_choose_its_steps_show_one_twice_or_win_time() -> None:
    chosen = session({15.0: "turn_left"}, prompts=["turn_left"], steps=[(0, 4.0), (0, 14.0), (1, 14.0)])
    assert results(learn(chosen)[0]) == ("failed", ["missed"])
    foreign = [*session({}, steps=[]), *(shown(step, at, challenge_id="another") for step, at in enumerate(SHOWN))]
    assert results(learn(sorted(foreign, key=lambda o: o.captured_at))[0]) == ("running", ["open"] * 3)
    after = session({21.0: "turn_left"}, prompts=["turn_left"], steps=[(0, 20.0)], lasts_s=15)
    assert results(learn(after)[0]) == ("unfinished", ["open"])


def test_one_movement_does_not_answer_two_steps() -> None:
    brief = moving({6.0: "turn_left"}, lasts_s=0.9)
    told_at_once = [issued(prompts=["turn_left", "turn_left"]), shown(0, 4.0), shown(1, 4.5)]
    both = sorted([*brief, *told_at_once], key=lambda o: o.captured_at)
    assert results(learn(both)[0]) == ("failed", ["done", "missed"])


def test_a_second_try_counts_for_itself() -> None:
    again = "0e0c6a52-7f6e-4b57-9d6c-8f6ad0f6c222"
    observations = [*moving({36.0: "turn_right"}), issued(), *(shown(step, at) for step, at in enumerate(SHOWN))]
    observations += [issued(32.0, prompts=["turn_right"], challenge_id=again), shown(0, 35.0, challenge_id=again)]
    memory, _ = learn(sorted(observations, key=lambda o: o.captured_at))
    assert (memory["challenge"]["challenge_id"], *results(memory)) == (again, "passed", ["done"])


def test_a_page_that_tells_late_is_judged_by_the_frames_of_that_time() -> None:
    observations = session(ANSWERED)
    late = [o for o in observations if o.sample_id != "s2:20.000"]
    late.insert(next(i for i, o in enumerate(late) if o.captured_at > START + 23), shown(2, 20.0))
    assert results(learn(late)[0]) == ("passed", ["done"] * 3)


def test_through_the_rules_the_same_comes_of_it_in_any_order_of_arrival() -> None:
    observations = session(ANSWERED)
    state = RulesState()
    for batch in (observations[k : k + 7][::-1] for k in range(0, len(observations), 7)):
        state = RulesState.from_dict(json.loads(json.dumps(advance(state, batch, Policy()).state.to_dict())))
    assert results(advance(state, [], Policy(), flush=True).state.memory) == ("passed", ["done"] * 3)


def test_by_default_a_failed_challenge_is_no_incident() -> None:
    assert told(play(session({}), end=45)) == []


def test_where_the_policy_asks_for_it_a_failed_challenge_is_one_incident_and_a_passed_one_none() -> None:
    asking = policy(CHALLENGE_FAILED={"enabled": True})
    (opened, closed) = play(session({6.0: "turn_left"}), asking, end=45)
    assert [change[:3] for change in told([opened, closed])] == [
        ("CHALLENGE_FAILED", "opened", 12.0),
        ("CHALLENGE_FAILED", "closed", 12.0),
    ]
    assert opened.value == 2
    assert opened.measures["decision"]["challenge"]["prompts"] == ["come_closer", "look_up"]
    assert play(session(ANSWERED), asking, end=45) == []
    assert play(session({6.0: "turn_left"}, steps=[(0, 4.0)], lasts_s=30), asking, end=45) == []


def test_movements_that_were_asked_for_are_no_looks_away_and_teach_no_rest() -> None:
    far = [frame(k / 2, yaw_deg=40.0 if 13 <= k / 2 < 19 else 2.0) for k in range(80)]
    slow = Policy.from_dict(merge(Policy().to_dict(), {"check_in": {"step_s": 20}}))
    up = sorted([*far, issued(8.0, prompts=["look_up"], lasts_s=30), shown(0, 12.0)], key=lambda o: o.captured_at)
    assert {name for name, *_ in told(play(far, slow, end=45))} == {"HEAD_TURNED"}
    assert told(play(up, slow, end=45)) == []
    _, derived = learn(up, slow)
    asked = [measures for measures in derived if measures.get("challenge", {}).get("asked")]
    assert asked
    assert not any("head_line" in measures for measures in asked)


def test_an_answer_speaks_for_a_person_for_a_minute() -> None:
    def attack(at: float, **derived: Any) -> float:
        memory: dict[str, Any] = {}
        for number in range(20):
            looks = {"live": 0.25, "margin": -1.0, "moire": 1.0, "frame": 0.0, "decided": True}
            measures = {"liveness": looks, "challenge": derived}
            memory, seen = learn_all(memory, Observation(f"l{number}", VIDEO, START + at + number, measures), Policy())
        return float(seen.measures["liveness_pool"]["attack"])

    # The learner of challenges itself would say nothing here: it has seen none.
    assert attack(0) > 0.6 > attack(0, answered_at=START - 5)
    assert attack(100, answered_at=START) == attack(0)


def test_the_state_stays_small() -> None:
    fast = [frame(number / 10) for number in range(600)]
    memory, _ = learn(sorted([*fast, issued(), shown(0, 4.0)], key=lambda o: o.captured_at))
    assert len(json.dumps(memory["challenge"])) < 16_000
