"""Hearing a second voice: at once or in turn, near or far, over windows and over a whole recording."""

from __future__ import annotations

import numpy as np
import pytest

from detection.engine.detectors.speakers import SpeakersDetector
from detection.engine.observations import SpeechMeasure
from detection.engine.policy import Policy
from detection.engine.segmentation import FRAME_S, HOP, Segmenter, Voices, average, starts
from tests.engine.talk import ANNA, BERT, RATE, room, samples_of, says

SPEECH = SpeechMeasure(share=1.0, peak=1.0, first_at=0.0, last_at=1.0)
QUIET = SpeechMeasure(share=0.0, peak=0.0, first_at=None, last_at=None)


@pytest.fixture(scope="module")
def detector(pipeline) -> SpeakersDetector:
    (found,) = [detector for detector in pipeline._audio if detector.name == "speakers"]
    return found


def measure_at(detector: SpeakersDetector, line: np.ndarray, second: int):
    """Measure the window that ends at ``second``."""
    return detector.measure([samples_of(line)[second - 1]])[0]


@pytest.mark.parametrize("gain_db", [0, -35])
def test_one_voice_is_one(detector, gain_db):
    line = room((1, says(ANNA, 0)), (9, says(ANNA, 1)), length_s=16, gain_db=gain_db)
    found = detector.timeline(line)
    assert found.speakers == 1
    assert len(found.overlap_per_second) == 16
    assert found.overlap_per_second.max() == 0
    assert measure_at(detector, line, 11).to_dict()["second_s"] < 0.3


@pytest.mark.parametrize("gain_db", [0, -35])
def test_two_at_once_are_heard_where_they_are(detector, gain_db):
    line = room((1, says(ANNA, 0)), (3, says(BERT, 1)), length_s=12, gain_db=gain_db)
    found = detector.timeline(line)
    assert found.speakers == 2
    shares = found.overlap_per_second
    assert min(shares[4:7]) > 0.7
    assert max(shares[[0, 1, 10, 11]]) == 0
    measure = measure_at(detector, line, 8)
    assert len(measure.seconds) == 8
    assert min(overlap for overlap, _ in measure.seconds[4:7]) > 0.7
    assert measure.overlap_s > 2.5


def test_two_in_turn_are_two(detector):
    line = room((0.5, says(ANNA, 0)[: 4 * RATE]), (5, says(BERT, 1)[: 4 * RATE]), length_s=10)
    assert detector.timeline(line).speakers == 2
    measure = measure_at(detector, line, 10)
    assert measure.second_s > 2
    assert sum(other for _, other in measure.seconds) > 2


def test_a_second_voice_that_sounds_like_the_first_does_not_count(detector):
    line = room((0.5, says(ANNA, 0)[: 4 * RATE]), (5, says(BERT, 1)[: 4 * RATE]), length_s=10)
    compared = []

    def alike(first: np.ndarray, second: np.ndarray) -> float:
        compared.append((len(first) / RATE, len(second) / RATE))
        return 0.9

    assert detector.timeline(line, alike).speakers == 1
    assert compared
    assert min(min(pair) for pair in compared) >= 0.5
    assert detector.timeline(line, lambda _first, _second: 0.1).speakers == 2


@pytest.mark.parametrize(
    "sound", [np.zeros(5 * RATE), np.full(5 * RATE, np.nan), np.random.default_rng(0).normal(0, 0.02, 12 * RATE)]
)
def test_what_is_no_voice_is_none(detector, sound):
    found = detector.timeline(sound.astype(np.float32))
    assert found.speakers == 0
    assert found.overlap_per_second.max() == 0
    assert np.isfinite(found.speech).all()


@pytest.mark.parametrize("length_s", [0, 0.4])
def test_less_than_a_second_says_nothing(detector, length_s):
    found = detector.timeline(np.zeros(round(length_s * RATE), np.float32))
    assert found.speakers == 0
    assert len(found.overlap_per_second) == int(np.ceil(length_s))
    assert list(found.speech_at(np.array([0.1]))) == [0.0]


def test_it_is_due_now_and_then_where_speech_is_heard(detector):
    samples = samples_of(room(length_s=14), started_at=100.0)
    for sample in samples:
        sample.found["speech"] = SPEECH
    assert [sample.job.window.ended_at for sample in samples if detector.due(sample)] == [101, 102, 108, 114]
    for sample in samples:
        sample.found["speech"] = QUIET
    assert not any(detector.due(sample) for sample in samples)
    off = Policy.from_dict({"detectors": {"speakers": {"enabled": False}}})
    (first, *_) = samples_of(room(length_s=2), policy=off)
    first.found["speech"] = SPEECH
    assert not detector.due(first)


def test_without_the_speech_detector_it_is_never_due(detector):
    assert not any(detector.due(sample) for sample in samples_of(room(length_s=7)))


def test_a_measure_is_stored_per_second(detector):
    stored = measure_at(detector, room((0, says(ANNA, 0)), length_s=5), 5).to_dict()
    assert set(stored) == {"seconds", "overlap_s", "second_s"}
    assert len(stored["seconds"]) == 5


# --- Pure parts: a network that says what the test wants ------------------------------------------------------------


class Says:
    """Answers with given class probabilities, whatever it hears."""

    name, provider, batches, mean_ms, input_names = "fake", "CPU", False, 0.0, ["input"]

    def __init__(self, *classes: int) -> None:
        self._classes = classes

    def run(self, feeds):
        chosen = np.full((1, len(self._classes), 7), 1e-9, np.float32)
        chosen[0, np.arange(len(self._classes)), self._classes] = 1.0
        return [np.log(chosen)]


def listen(*classes: int) -> Voices:
    return Segmenter(Says(*classes)).listen(np.zeros(RATE, np.float32))


def test_the_seven_classes_are_who_speaks():
    voices = listen(0, 1, 2, 3, 4, 5, 6, 2, 2)
    np.testing.assert_allclose(voices.speech, [0, 1, 1, 1, 1, 1, 1, 1, 1], atol=1e-6)
    assert list(voices.talk_at_once) == [False] * 4 + [True] * 3 + [False] * 2
    assert voices.second_s == pytest.approx(3 * FRAME_S)
    assert list(np.flatnonzero(voices.alone[:, 0])) == [2, 7, 8]  # voice 2 is heard most and comes first
    assert voices.alone[:, 1:].any(axis=1).sum() == 2


def test_a_voice_is_cut_out_where_it_speaks_alone():
    voices = listen(*[1] * 40, *[2] * 20)
    ramp = np.arange(2 * RATE, dtype=np.float32)
    second = voices.voice(ramp, 1, longest_s=10)
    assert len(second) == 20 * HOP
    assert second[0] == pytest.approx(40 * HOP + 495.5, abs=HOP)
    assert len(voices.voice(ramp, 0, longest_s=0.1)) == 1600


def test_stretches_cover_a_recording_to_its_end():
    assert starts(5 * RATE, 1.0) == [0]
    assert starts(12 * RATE + 800, 1.0) == [0, RATE, 2 * RATE, 2 * RATE + 800]


def test_what_stretches_say_of_a_moment_is_averaged():
    one, other = listen(*[0] * 100), listen(*[1] * 100)
    times_s, speech, overlap = average(150 * HOP, [(0, one), (50 * HOP, other)])
    assert len(times_s) == 150
    np.testing.assert_allclose(speech[[10, 75, 140]], [0, 0.5, 1], atol=1e-6)
    assert overlap.max() < 1e-6


def test_a_session_s_first_second_is_measured_alone(detector):
    (sample,) = samples_of(room((0, says(ANNA, 0)), length_s=1))
    assert detector.measure([sample])[0].seconds == ((0.0, 0.0),)
