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


def measure_with_past(detector, line: np.ndarray, *, lead_in: int = RATE // 2):
    """Measure the windows of a line as a worker does, the sound before each at hand."""
    return detector.measure(
        [
            AudioSample(AudioJob(window, Policy(), None, lambda end=second * RATE: line[max(0, end - 10 * RATE) : end]))
            for second, window in enumerate(windows(line, lead_in=lead_in))
        ]
    )


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
    """The sound before it warms the network up: the same chunk is judged alike, and colder without."""
    at, whole = detector.timeline(spoken)

    def difference(measures) -> float:
        times = np.concatenate([second + (np.arange(len(m.chunks)) + 0.5) * 0.032 for second, m in enumerate(measures)])
        heard = np.concatenate([one.chunks for one in measures])
        return float(np.abs(np.interp(times, at, whole) - heard).mean())

    warm = difference(measure_with_past(detector, spoken))
    assert warm < 0.02
    assert difference(measure(detector, windows(spoken, lead_in=0))) > 2 * warm


@pytest.mark.parametrize("gain_db", [-20, -40])
def test_the_past_finds_quiet_speech_in_a_noisy_room(detector, spoken, gain_db):
    noise = np.random.default_rng(1).normal(0, 10 ** (-50 / 20), len(spoken)) * 10 ** (gain_db / 20 + 1)
    line = (spoken * 10 ** (gain_db / 20) + noise).astype(np.float32)
    shares = [one.share for one in measure_with_past(detector, line)]
    assert shares[:3] == [0, 0, 0]
    assert min(shares[4:7]) > 0.5


def test_without_a_past_the_lead_in_stands_in_for_it(detector, spoken):
    cut = windows(spoken)[4:6]
    alone = [one.chunks for one in measure(detector, cut)]
    short = [AudioJob(window, Policy(), None, lambda: spoken[: RATE // 4]) for window in cut]
    assert [one.chunks for one in detector.measure([AudioSample(job) for job in short])] == alone


def test_a_quiet_room_does_not_ask_for_the_past(detector):
    room = np.random.default_rng(0).normal(0, 1e-3, 3 * RATE // 2).astype(np.float32)
    window = AudioWindow("w", room, RATE // 2, 1.0, 2.0)

    def fetch():
        raise AssertionError("nothing was heard, and yet the past was fetched")

    (found,) = detector.measure([AudioSample(AudioJob(window, Policy(), 1.0, fetch))])
    assert found.share == 0


def test_a_second_opinion_counts_half(detector, spoken):
    at, alone = detector.timeline(spoken)
    assert len(at) == len(alone) == round(len(spoken) / 512)
    _, both = detector.timeline(spoken, lambda times: np.ones(len(times)))
    np.testing.assert_allclose(both, (alone + 1) / 2, atol=1e-6)


def test_a_long_recording_is_heard_piece_by_piece_as_in_one(detector, spoken, monkeypatch):
    whole = detector.probabilities(spoken)
    monkeypatch.setattr("detection.engine.silero._MAX_STEPS", 100)
    np.testing.assert_allclose(detector.probabilities(spoken), whole, atol=1e-4)


def test_chunks_are_counted_from_the_end_of_the_lead_in(detector, spoken):
    cut = windows(spoken)
    assert [len(one.chunks) for one in measure(detector, cut)] == [31] * len(cut)
    assert len(detector.probabilities(spoken[:8000], lead_in_samples=8000)) == 0
    assert len(detector.probabilities(spoken[:8192], lead_in_samples=7000)) == 2


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
