"""Frozen pictures and recordings in a loop, told from live ones by block means."""

from __future__ import annotations

import json

import numpy as np
import pytest

from detection.engine.learners.loops import LoopLearner
from detection.engine.observations import VIDEO, Observation
from detection.engine.policy import Policy
from tests.engine.observing import START, play, told

FPS = 2.0
RNG_SEED = 11


def live(seconds: float, *, seed: int = RNG_SEED, per_second: int = 30) -> np.ndarray:
    """Block means of a picture in which somebody moves: smooth, never the same twice, 30 a second."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(0, 1, (int(seconds * per_second) + 60, 16))
    path = np.stack([np.convolve(steps[:, k], np.hanning(45), "same") for k in range(16)], axis=1)
    return 120 + 3 * path


def filmed(path: np.ndarray, *, noise: float = 0.3, jitter_s: float = 0.02, per_second: int = 30) -> list[Observation]:
    """Frames sampled twice a second, not to the millisecond, with the noise of an encoder."""
    rng = np.random.default_rng(5)
    times = np.arange(0.1, len(path) / per_second - 0.1, 1 / FPS).tolist()
    return [
        picture(at, path[int((at + rng.uniform(0, jitter_s)) * per_second)] + rng.normal(0, noise, 16)) for at in times
    ]


def picture(at: float, blocks, *, faces: int = 1) -> Observation:
    camera = {"blocks": [round(float(block), 1) for block in np.clip(blocks, 0, 255)]}
    measures = {"camera": camera, "faces": {"count": faces, "possible": faces}}
    return Observation(f"f{at:.3f}", VIDEO, START + at, measures)


def learn(observations):
    """Let the learner see observations, its state through JSON's form; return what it derived, and the last state."""
    state, derived = {}, []
    for observation in observations:
        new, found = LoopLearner().learn(state, observation, Policy())
        state = json.loads(json.dumps(new))
        derived.append(found)
    return derived, state


def opened(changes) -> list[tuple[str, str, float, float | None]]:
    return [change for change in told(changes) if change[1] == "opened"]


@pytest.mark.parametrize("length_s", [5.0, 8.3, 14.2, 37.7, 61.0])
def test_a_recording_in_a_loop_is_found_with_its_length(length_s):
    recording = live(length_s)[: int(length_s * 30)]
    film = filmed(np.concatenate([recording] * 30)[: int((3 * length_s + 45) * 30)])
    derived, _ = learn(film)
    assert derived[-1]["mismatch"] < 0.4
    turns = derived[-1]["lag_s"] / length_s
    assert turns == pytest.approx(round(turns), abs=0.5 / length_s)
    (attack,) = opened(play(film))
    assert attack[0] == "PRESENTATION_ATTACK"


@pytest.mark.parametrize("seed", range(6))
def test_a_live_picture_never_repeats(seed):
    film = filmed(live(150, seed=seed))
    derived, _ = learn(film)
    told_of = [found["mismatch"] for found in derived if found["mismatch"] is not None]
    assert len(told_of) > 100
    assert min(told_of) > 0.6
    assert told(play(film)) == []


def test_somebody_who_changes_between_two_postures_is_no_loop():
    rng = np.random.default_rng(3)
    postures = np.array([rng.uniform(60, 180, 16), rng.uniform(60, 180, 16)])
    path = np.repeat(postures[np.arange(40) % 2], 300, axis=0)[: 150 * 30]
    swaying = path + (live(150)[: len(path)] - 120) * 0.4
    assert told(play(filmed(swaying))) == []


def test_a_frozen_picture_with_somebody_in_it_is_static_since_it_froze():
    path = live(20)[: 20 * 30]
    frozen = np.concatenate([path, np.repeat(path[-1:], 40 * 30, axis=0)])
    (static,) = opened(play(filmed(frozen, noise=0.05)))
    assert static[0] == "CAMERA_STATIC"
    assert static[2] == pytest.approx(20, abs=1)


def test_one_key_frame_does_not_wake_a_frozen_picture():
    film = [picture(k / 2, np.full(16, 100.0 + (3.0 if k == 20 else 0.0))) for k in range(50)]
    assert opened(play(film)) == [("CAMERA_STATIC", "opened", 0.0, None)]


def test_an_empty_room_may_stand_still():
    film = [picture(k / 2, np.full(16, 100.0), faces=0) for k in range(60)]
    assert "CAMERA_STATIC" not in {what for what, *_ in told(play(film))}


def test_a_pause_starts_the_history_anew():
    recording = live(10)[:300]
    before, after = filmed(np.concatenate([recording] * 3)), filmed(np.concatenate([recording] * 2))
    later = [picture(o.captured_at - START + 60, o.measures["camera"]["blocks"]) for o in after]
    derived, _ = learn([*before, *later])
    assert derived[len(before) - 1]["mismatch"] is not None
    assert {found["mismatch"] for found in derived[len(before) :]} == {None}
    assert "PRESENTATION_ATTACK" not in {what for what, *_ in told(play([*before, *later]))}


def test_the_state_stays_small():
    _, state = learn(filmed(live(400)))
    assert len(json.dumps(state)) < 12_000


def test_looking_for_loops_can_be_switched_off():
    film = filmed(np.concatenate([live(8)[:240]] * 8))
    off = Policy.from_dict({"detectors": {"camera": {"find_loops": False}}})
    assert "PRESENTATION_ATTACK" in {what for what, *_ in told(play(film))}
    assert told(play(film, off)) == []
