"""Hearing speech: found where it is, loud or quiet, alike in windows and in one piece."""

from __future__ import annotations

import numpy as np
import pytest
import soxr

from demo.voices import speak
from detection.engine.media import AudioWindow
from detection.engine.policy import Policy
from detection.engine.samples import AudioJob, AudioSample

RATE = 16_000
SPEECH_AT_S = 3.3
SENTENCE = "The answer to the second question is probably forty two, but look at the diagram again."


@pytest.fixture(scope="module")
def detector(pipeline):
    (found,) = [detector for detector in pipeline._audio if detector.name == "speech"]
    return found


@pytest.fixture(scope="module")
def spoken() -> np.ndarray:
    """A sentence with three seconds of a quiet room before and after; the room's noise at -60 dB."""
    voice, rate = speak(SENTENCE, voice="gmw/en-US")
    speech = soxr.resample(voice, rate, RATE)
    before = np.zeros(int(SPEECH_AT_S * RATE))
    line = np.concatenate([before, speech, np.zeros(3 * RATE)])
    return (line + np.random.default_rng(0).normal(0, 1e-3, len(line))).astype(np.float32)


def windows(line: np.ndarray, *, lead_in: int = RATE // 2) -> list[AudioWindow]:
    """Cut into windows of one second, each with the end of the one before in front."""
    cut = []
    for second in range(len(line) // RATE):
        begin = max(0, second * RATE - lead_in)
        part = line[begin : (second + 1) * RATE]
        cut.append(AudioWindow(f"w{second}", part, second * RATE - begin, 100.0 + second, 101.0 + second))
    return cut


def measure(detector, cut: list[AudioWindow], policy: Policy | None = None):
    return detector.measure([AudioSample(AudioJob(window, policy or Policy())) for window in cut])


@pytest.mark.parametrize("gain", [1.0, 0.1, 0.03])
def test_speech_is_found_where_it_is_loud_or_quiet(detector, spoken, gain):
    measures = measure(detector, windows(spoken * np.float32(gain)))
    shares = [one.share for one in measures]
    assert len(shares) >= 9
    assert shares[:3] == [0, 0, 0]
    assert min(shares[4:7]) > 0.5
    assert shares[-1] == 0
    assert measures[0].first_at is None
    assert measures[3].first_at == pytest.approx(100 + SPEECH_AT_S, abs=0.15)
    assert measures[5].last_at == pytest.approx(106, abs=0.05)


def test_a_window_sounds_as_it_does_within_the_whole(detector, spoken):
    """The lead-in warms the network up: the same chunk is judged alike, and colder without it."""
    whole = detector.probabilities([AudioWindow("all", spoken, 0, 0.0, len(spoken) / RATE)])[0]
    times = np.arange(len(whole)) * 0.032

    def difference(lead_in: int) -> float:
        cut = detector.probabilities(windows(spoken, lead_in=lead_in))
        at = np.concatenate([second + np.arange(len(part)) * 0.032 for second, part in enumerate(cut)])
        return float(np.abs(np.interp(at, times, whole) - np.concatenate(cut)).mean())

    assert difference(RATE // 2) < 0.02
    assert difference(0) > 1.5 * difference(RATE // 2)


def test_candidates_side_by_side_hear_nothing_of_one_another(detector, spoken):
    cut = windows(spoken)
    short = AudioWindow("short", cut[5].samples[:6000], 4000, 5.0, 5.125)
    together = detector.probabilities([*cut, short])
    for window, found in zip([*cut, short], together, strict=True):
        np.testing.assert_allclose(found, detector.probabilities([window])[0], atol=1e-4)


def test_chunks_are_counted_from_the_end_of_the_lead_in(detector, spoken):
    cut = windows(spoken)
    assert [len(one.chunks) for one in measure(detector, cut)] == [31] * len(cut)
    assert len(detector.probabilities([AudioWindow("w", spoken[:8000], 8000, 0, 0)])[0]) == 0
    assert len(detector.probabilities([AudioWindow("w", spoken[:8192], 7000, 0, 0)])[0]) == 2


@pytest.mark.parametrize("samples", [np.zeros(0), np.zeros(100)])
def test_next_to_nothing_is_no_speech(detector, samples):
    (found,) = measure(detector, [AudioWindow("w", samples.astype(np.float32), 0, 1.0, 1.1)])
    assert (found.share, found.peak, found.first_at, found.last_at, found.chunks) == (0, 0, None, None, ())


@pytest.mark.parametrize(
    "sound",
    [
        np.zeros(RATE),
        np.full(RATE, np.nan),
        np.full(RATE, np.inf),
        np.sign(np.sin(np.arange(RATE))) * 40,
        np.random.default_rng(2).normal(0, 0.1, RATE),
        np.sin(np.arange(RATE) / 25) * 0.3,
    ],
    ids=["silence", "nan", "inf", "clipped", "noise", "hum"],
)
def test_what_is_no_speech_is_none(detector, sound):
    (found,) = measure(detector, [AudioWindow("w", sound.astype(np.float32), 0, 1.0, 2.0)])
    assert found.share == 0
    assert np.isfinite(found.chunks).all()


def test_the_policy_sets_the_probability(detector, spoken):
    cut = windows(spoken)[3:6]
    strict = Policy.from_dict({"detectors": {"speech": {"min_probability": 0.99}}})
    assert sum(one.share for one in measure(detector, cut, strict)) < sum(one.share for one in measure(detector, cut))


def test_it_is_stored_in_two_digits(detector, spoken):
    stored = measure(detector, windows(spoken)[3:4])[0].to_dict()
    assert len(stored["chunks"]) == 31
    assert all(0 <= chunk <= 1 and round(chunk, 2) == chunk for chunk in stored["chunks"])
