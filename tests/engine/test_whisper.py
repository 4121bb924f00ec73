"""Whispering, told from speaking and from everything else that has no pitch."""

from __future__ import annotations

import numpy as np
import pytest

from detection.engine.detectors.whisper import WhisperDetector, periodicity
from detection.engine.media import SAMPLE_RATE_HZ, AudioWindow
from detection.engine.observations import SpeechMeasure
from detection.engine.policy import Policy
from detection.engine.samples import AudioJob, AudioSample
from detection.evaluation.generate import noises
from detection.evaluation.generate.recordings import gain, room, say
from detection.evaluation.generate.whispers import whisper
from detection.evaluation.product import Product, audio_jobs

WATCHING = Policy.from_dict({"rules": {"WHISPER": {"enabled": True}}})


@pytest.fixture(scope="module")
def said() -> np.ndarray:
    return say(np.random.default_rng(1), "gmw/en-US+m3")


def in_room(sound: np.ndarray, dbfs: float = -35.0, noise_dbfs: float = -60.0) -> np.ndarray:
    """The sound after two seconds of a quiet room, and another one after it."""
    line = np.concatenate([np.zeros(2 * SAMPLE_RATE_HZ), sound, np.zeros(SAMPLE_RATE_HZ)]) * gain(dbfs)
    return (line + room(len(line) / SAMPLE_RATE_HZ, noise_dbfs, np.random.default_rng(2))).astype(np.float32)


def listen(pipeline, line: np.ndarray, policy: Policy = WATCHING) -> list[dict]:
    product = Product(pipeline, policy).only("speech", "whisper")
    return [observation.measures for observation in pipeline.analyse_audio(list(audio_jobs(line, product.policy)))]


def test_a_whisper_is_speech_without_a_pitch(pipeline, said):
    measures = listen(pipeline, in_room(whisper(said, np.random.default_rng(3))))
    during = measures[2:-3]
    assert len(during) >= 3
    assert [m["whisper"]["share"] >= 0.25 and m["whisper"]["voiced_share"] <= 0.12 for m in during] == [True] * len(
        during
    )
    assert measures[0]["whisper"] == {"share": 0.0, "voiced_share": None, "clear_db": None}


def test_the_same_said_aloud_is_none(pipeline, said):
    measures = listen(pipeline, in_room(said))[2:-3]
    assert len(measures) >= 3
    assert [m["whisper"]["share"] for m in measures] == [0.0] * len(measures)
    assert min(m["whisper"]["voiced_share"] for m in measures) > 0.3


@pytest.mark.parametrize("kind", sorted(noises.DISTRACTIONS))
def test_what_else_has_no_pitch_is_no_whisper(pipeline, kind):
    sounds = noises.scatter(*noises.DISTRACTIONS[kind], 20.0, np.random.default_rng(4))
    measures = listen(pipeline, in_room(sounds / np.sqrt(np.mean(sounds**2))))
    assert max(m["whisper"]["share"] or 0.0 for m in measures) == 0


def test_in_loud_noise_it_cannot_be_told(pipeline, said):
    sample = AudioSample(AudioJob(AudioWindow("w", room(1.0, -30, np.random.default_rng(5)), 0, 1.0, 2.0), WATCHING))
    sample.found["speech"] = SpeechMeasure(1.0, 0.9, 1.0, 2.0, (0.9,) * 31)
    (found,) = WhisperDetector().measure([sample])
    assert found.share is None
    assert found.clear_db == pytest.approx(0, abs=3)


def test_a_word_or_two_say_nothing(pipeline):
    sample = AudioSample(AudioJob(AudioWindow("w", np.zeros(16_000, np.float32), 0, 1.0, 2.0), WATCHING))
    sample.found["speech"] = SpeechMeasure(0.1, 0.9, 1.0, 1.1, (0.9,) * 3 + (0.0,) * 28)
    assert WhisperDetector().measure([sample])[0].share is None


def test_it_listens_only_where_the_policy_watches_for_it(pipeline, said):
    assert all("whisper" not in measures for measures in listen(pipeline, in_room(said), Policy()))


def test_periodicity_is_that_of_a_voices_pitch():
    t = np.arange(1024) / SAMPLE_RATE_HZ
    voice = sum(np.sin(2 * np.pi * 150 * k * t) / k for k in range(1, 10))
    found = periodicity(
        np.stack([voice, np.random.default_rng(6).normal(size=1024), np.zeros(1024)]).astype(np.float32)
    )
    assert found[0] > 0.95
    assert found[1] < 0.55
    assert found[2] == 0
