"""Knowing a recording in a loop from a live room."""

from __future__ import annotations

import json

import numpy as np
import pytest

from detection.engine.detectors.sounds import BITS, FRAMES_PER_SECOND, SoundsDetector, fingerprint
from detection.engine.learners import sound_loops
from detection.engine.learners.sound_loops import SoundLoops
from detection.engine.media import AudioWindow
from detection.engine.observations import AUDIO, Observation, without_private
from detection.engine.policy import Policy
from tests.engine.observing import START, play, told
from tests.engine.talk import ANNA, BERT, RATE, room, samples_of, says

RNG = np.random.default_rng(3)


def observe(line: np.ndarray) -> list[Observation]:
    """Fingerprint a line window by window."""
    samples = samples_of(line, started_at=START)
    return [
        Observation(
            window.window_id,
            AUDIO,
            window.ended_at,
            {"sounds": measure.to_dict()},
            started_at=window.started_at,
        )
        for window, measure in zip(
            (sample.job.window for sample in samples), SoundsDetector().measure(samples), strict=True
        )
    ]


def derive(line: np.ndarray) -> list[dict]:
    """Return what the learner derives, its state through JSON's form each time."""
    state, derived = {}, []
    for observation in observe(line):
        state, found = SoundLoops().learn(state, observation, Policy())
        state = json.loads(json.dumps(state))
        derived.append(found)
    assert len(json.dumps(state)) < 4000
    return derived


def quiet_room(length_s: float) -> np.ndarray:
    return RNG.normal(0, 2e-3, round(length_s * RATE)).astype(np.float32)


def again(line: np.ndarray, length_s: float) -> np.ndarray:
    """Repeat a line to a length, each time with a little noise of its own, as a codec adds."""
    whole = np.tile(line, int(length_s * RATE / len(line)) + 1)[: round(length_s * RATE)]
    noise = RNG.normal(0, 0.03 * float(np.sqrt(np.mean(line**2))), len(whole))
    return (whole + noise).astype(np.float32)


@pytest.mark.parametrize("period_s", [10.0, 17.37])
def test_a_quiet_room_in_a_loop_is_known_again(period_s):
    derived = derive(again(quiet_room(period_s), 40))
    first = int(np.ceil(period_s))
    assert max(each["loop_s"] for each in derived[:first]) < 3
    assert derived[first + 9]["loop_s"] >= 8
    assert derived[first + 7]["period_s"] == pytest.approx(period_s, abs=0.05)


def test_speech_in_a_loop_is_known_again():
    spoken = room((0.5, says(ANNA, 0)), (7, says(BERT, 1)), length_s=14)
    assert max(each["loop_s"] for each in derive(again(spoken, 40))) > 10


@pytest.mark.parametrize("kind", ["noise", "hum", "clock", "talk"])
def test_a_live_room_never_repeats_itself(kind):
    t = np.arange(60 * RATE) / RATE
    line = quiet_room(60)
    if kind == "hum":
        line = line + 0.02 * sum(np.sin(2 * np.pi * 50 * k * t) / k for k in range(1, 20))
    elif kind == "clock":
        line = line + 0.05 * np.exp(-(t % 1) * 80) * np.sin(2 * np.pi * 1800 * t)
    elif kind == "talk":
        line = line + room((1, says(ANNA, 0)), (10, says(ANNA, 1)), (20, says(BERT, 2)), length_s=60)
    assert max(each["loop_s"] for each in derive(line.astype(np.float32))) < 3


def test_silence_is_no_loop():
    assert max(each["loop_s"] for each in derive(np.zeros(30 * RATE, np.float32))) == 0


def test_a_loop_is_one_incident():
    line = np.concatenate([again(quiet_room(10), 40), quiet_room(20)])
    (opened, closed) = told(play(observe(line), end=60))
    assert opened[:2] == ("LOOPED_AUDIO", "opened")
    assert opened[2] == pytest.approx(10, abs=1.1)
    assert closed[3] == pytest.approx(40, abs=2.1)


def test_what_is_kept_comes_back_from_its_packing():
    at = np.arange(0, 7680, 16) + 108_800_000_000
    kept = RNG.integers(0, 1 << BITS, len(at))
    packed = json.loads(json.dumps(sound_loops._pack(at, kept)))
    back_at, back_kept = sound_loops._unpack(packed["kept"], packed["start"])
    assert list(back_at) == list(at)
    assert list(back_kept) == list(kept)


def test_a_window_has_a_fingerprint_per_frame():
    sample = samples_of(quiet_room(3))[1]
    (measure,) = SoundsDetector().measure([sample])
    assert len(measure.fingerprint) == FRAMES_PER_SECOND
    assert all(0 <= word < 1 << BITS for word in measure.fingerprint)
    assert without_private({"sounds": measure.to_dict()}) == {"sounds": {}}


@pytest.mark.parametrize("sound", [np.zeros(0), np.zeros(300), np.zeros(RATE), np.full(RATE, np.nan), np.ones(700)])
def test_next_to_nothing_has_none(sound):
    assert fingerprint(AudioWindow("w", sound.astype(np.float32), 0, 1.0, 2.0)) == ()
