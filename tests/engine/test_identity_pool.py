"""Several frames together decide whose face it is; not knowing is told apart from knowing that it is somebody else."""

from __future__ import annotations

import json

import pytest

from detection.engine import likeness, rules
from detection.engine.learners.identity_pool import IdentityPool, wants_more
from detection.engine.observations import VIDEO, Observation
from detection.engine.policy import EventType, Policy

POLICY = Policy()


def compared(at: float, score: float, clarity: float = 0.9, **more) -> Observation:
    """A frame that was compared: as the identity detector would put it."""
    found, below = likeness.similarity(score, clarity), likeness.mismatch_similarity(0.75, clarity)
    decided = found >= 0.75 or (found < below and clarity >= 0.3)
    measure = {"similarity": found, "mismatch_below": below, "clarity": clarity, "comparison_score": score}
    identity = measure | {"decided": decided, "reason": "" if decided else "blurred"} | more
    return Observation(f"f{at}", VIDEO, at, {"faces": {"possible": 1, "count": 1}, "identity": identity})


def seen(at: float, *, faces: int = 1) -> Observation:
    """A frame that was not compared."""
    return Observation(f"f{at}", VIDEO, at, {"faces": {"possible": faces, "count": faces}})


def learnt(*observations: Observation):
    """Return what was derived from each, and the last state."""
    state, derived = {}, []
    for observation in observations:
        state, measure = IdentityPool().learn(state, observation, POLICY)
        json.dumps(state)
        derived.append(measure or {})
    return derived, state


def verdicts(*observations: Observation) -> list[str | None]:
    return [measure.get("verdict") for measure in learnt(*observations)[0]]


def test_one_frame_matches_and_no_single_one_accuses():
    assert verdicts(compared(0, 0.6)) == ["match"]
    assert verdicts(compared(0, 0.05)) == ["unsure"]
    assert verdicts(compared(0, 0.05), compared(0.5, 0.0)) == ["unsure", "mismatch"]


def test_poor_frames_must_be_more_and_further_off_to_accuse():
    assert verdicts(*(compared(at / 2, -0.15, 0.4) for at in range(4))) == ["unsure", "unsure", "mismatch", "mismatch"]
    assert set(verdicts(*(compared(at / 2, 0.08, 0.4) for at in range(8)))) == {"unsure"}


def test_undecided_frames_become_a_match_together_with_a_sure_one():
    assert verdicts(compared(0, 0.4, 0.5), compared(5, 0.27, 0.5)) == ["match", "match"]


def test_a_sure_frame_to_the_contrary_begins_anew():
    assert verdicts(compared(0, 0.7), compared(5, 0.0), compared(5.5, 0.0)) == ["match", "unsure", "mismatch"]
    stranger_leaves = verdicts(compared(0, 0.0), compared(0.5, 0.0), compared(1, 0.6), compared(1.5, 0.6))
    assert stranger_leaves == ["unsure", "mismatch", "match", "match"]


def test_whoever_comes_after_an_empty_frame_is_looked_at_anew():
    derived, state = learnt(compared(0, 0.7), seen(1, faces=0))
    assert (derived[-1], state) == ({}, {})


@pytest.mark.parametrize("reason", ["turned", "dark", "face_too_small"])
def test_a_face_that_cannot_be_judged_says_nothing(reason):
    assert verdicts(*(compared(at, 0.0, decided=False, reason=reason) for at in range(6))) == ["unsure"] * 6


def test_a_smeared_face_never_accuses_but_may_match():
    smeared = {"quality": {"evenness": 0.3, "sharpness": 0.008}}
    assert verdicts(*(compared(at, 0.1, **smeared) for at in range(6))) == ["unsure"] * 6
    assert verdicts(compared(0, 0.5, **smeared)) == ["match"]


def test_how_long_it_could_not_be_told():
    derived, _ = learnt(
        compared(0, 0.2, 0.5), seen(1), seen(4), compared(5, 0.2, 0.5), seen(7), compared(10, 0.6), seen(11)
    )
    assert [measure.get("cannot_tell_s") for measure in derived] == [0, 1, 4, 5, 7, None, None]
    derived, _ = learnt(compared(0, 0.2, 0.5), seen(30))
    assert derived[-1] == {}  # nobody compares any more


def test_the_next_frame_is_compared_until_it_is_clear_or_cannot_be():
    def more(*observations):
        return wants_more(learnt(*observations)[1])

    assert not more()
    assert not more(compared(0, 0.6))
    assert more(compared(0, 0.0))
    assert more(compared(0, 0.2, 0.5))
    assert not more(*(compared(at / 2, 0.2, 0.5) for at in range(4)))


def test_the_state_stays_small():
    _, state = learnt(*(compared(at / 2, 0.0) for at in range(100)))
    assert len(state["frames"]) == 8


# --- With the rules


def opened(observations) -> dict[EventType, float]:
    """Return the event types that opened, and when they began."""
    step = rules.advance(rules.RulesState(), observations, POLICY, flush=True)
    return {change.event_type: change.started_at for change in step.changes if change.phase == "opened"}


def test_a_stranger_is_one_incident_from_the_first_frame_on():
    assert opened([compared(10 + at / 2, 0.02) for at in range(6)]) == {EventType.FACE_MISMATCH: 10.0}
    assert opened([compared(10 + at / 2, 0.6) for at in range(20)]) == {}


def test_not_knowing_for_half_a_minute_is_a_technical_event():
    frames = [compared(10 + at / 2, 0.2, 0.5) if at % 10 == 0 else seen(10 + at / 2) for at in range(70)]
    assert opened(frames[:58]) == {}
    assert opened(frames) == {EventType.IDENTITY_UNSURE: 10.0}


def test_a_cut_off_or_distant_face_is_told_and_yields_to_no_face():
    def framed(at: float, **more) -> Observation:
        return Observation(f"f{at}", VIDEO, at, {"faces": {"possible": 1, "count": 1, "width_px": 120} | more})

    assert opened([framed(at / 2, visible_share=0.6) for at in range(10)]) == {EventType.FACE_PARTIAL: 0.0}
    assert opened([framed(at / 2, visible_share=0.95) for at in range(20)]) == {}
    assert opened([framed(at / 2, width_px=14.0) for at in range(12)]) == {EventType.FACE_TOO_FAR: 0.0}
    leaving = [framed(at / 2, visible_share=0.6) for at in range(4)] + [seen(2 + at / 2, faces=0) for at in range(10)]
    assert opened(leaving) == {EventType.NO_FACE: 2.0}
