"""Describing voices: features as Kaldi's, one person alike and two apart, and what a session's windows are asked."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from detection.engine.detectors.voice import CROP_S, VoiceDetector, VoiceMeasure, quantise
from detection.engine.fbank import BANDS, fbank
from detection.engine.learners.voices import cosine
from detection.engine.observations import without_private
from detection.engine.policy import Policy
from detection.engine.segmentation import FRAME_S, SpeakersMeasure, Voices
from tests.engine.talk import ANNA, BERT, RATE, room, samples_of, says


@pytest.fixture(scope="module")
def detector(pipeline) -> VoiceDetector:
    (found,) = [detector for detector in pipeline._audio if detector.name == "voice"]
    return found


def speakers(frames: int, *, first: slice, second: slice | None = None) -> SpeakersMeasure:
    """Make a measure in which one voice speaks in some frames and maybe another in others."""
    active = np.zeros((frames, 3), np.float32)
    active[first, 0] = 1
    if second is not None:
        active[second, 1] = 1
    none = np.zeros(frames, np.float32)
    voices = Voices(np.arange(frames) * FRAME_S, active.max(axis=1), none, active)
    return SpeakersMeasure(((0.0, 0.0),), voices.second_s, voices)


def test_filter_banks_are_kaldi_s():
    """Of a chirp from 100 Hz to 4 kHz, as kaldi-native-fbank 1.23 gives them with its defaults and no dither."""
    t = np.arange(RATE // 2) / RATE
    found = fbank((0.3 * np.sin(2 * np.pi * (100 * t + 3900 * t**2))).astype(np.float32))
    assert found.shape == (48, BANDS)
    np.testing.assert_allclose(found[[0, 20, 47], [3, 30, 70]], EXPECTED, atol=2e-3)


EXPECTED = (19.0702, 14.6903, 16.1102)


@pytest.mark.parametrize("samples", [0, 399])
def test_less_than_a_frame_has_no_filter_banks(samples):
    assert fbank(np.zeros(samples, np.float32)).shape == (0, BANDS)


@pytest.mark.parametrize("gain_db", [0, -40])
def test_one_person_is_alike_and_two_are_not(detector, gain_db):
    anna, bert = (
        [detector.embed(room((0, says(voice, sentence)), length_s=2.5, gain_db=gain_db)) for sentence in (0, 1)]
        for voice in (ANNA, BERT)
    )
    assert min(np.dot(*anna), np.dot(*bert)) > 0.65
    assert max(np.dot(one, other) for one in anna for other in bert) < 0.4


def test_an_embedding_has_length_one(detector):
    embedding = detector.embed(says(ANNA, 0))
    assert embedding.shape == (256,)
    assert np.linalg.norm(embedding) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("sound", [np.zeros(0), np.zeros(RATE // 4)])
def test_too_little_sound_has_no_voice(detector, sound):
    assert detector.embed(sound.astype(np.float32)) is None
    assert detector.compare(sound.astype(np.float32), says(ANNA, 0)) == 0


@pytest.mark.parametrize("sound", [np.zeros(2 * RATE), np.full(2 * RATE, np.nan)])
def test_silence_raises_nothing(detector, sound):
    embedding = detector.embed(sound.astype(np.float32))
    assert embedding is None or np.isfinite(embedding).all()


def test_whole_numbers_point_the_same_way(detector):
    embedding = detector.embed(says(ANNA, 0))
    numbers = quantise(embedding)
    assert max(abs(number) for number in numbers) == 127
    assert cosine(numbers, embedding.tolist()) > 0.999


def test_a_window_s_main_voice_is_described(detector):
    (*_, sample) = samples_of(room((0, says(ANNA, 0)), length_s=5))
    sample.found["speakers"] = speakers(290, first=slice(0, 280))
    (found,) = detector.measure([sample])
    assert found.seconds == CROP_S
    assert found.same is None
    assert cosine(found.embedding, detector.embed(says(ANNA, 1)).tolist()) > 0.6


def test_two_voices_are_compared(detector):
    line = room((0, says(ANNA, 0)[: 3 * RATE]), (3, says(BERT, 1)[: 3 * RATE]), length_s=6)
    (*_, sample) = samples_of(line)
    sample.found["speakers"] = speakers(350, first=slice(0, 175), second=slice(180, 340))
    (found,) = detector.measure([sample])
    assert found.same < 0.4
    sample.found["speakers"] = speakers(350, first=slice(0, 100), second=slice(101, 170))
    (found,) = detector.measure([sample])
    assert found.same > 0.5


def test_too_little_of_a_voice_alone_is_not_described(detector):
    (*_, sample) = samples_of(room((0, says(ANNA, 0)), length_s=5))
    sample.found["speakers"] = speakers(290, first=slice(0, 50))
    (found,) = detector.measure([sample])
    assert (found.seconds, found.same, found.embedding) == (0, None, ())


def test_it_looks_each_interval_and_at_every_second_voice(detector):
    samples = samples_of(room(length_s=20), started_at=100.0)
    for sample in samples:
        sample.found["speakers"] = speakers(100, first=slice(0, 90))
    assert [sample.job.window.ended_at for sample in samples if detector.due(sample)] == [101, 108]
    samples[5].found["speakers"] = speakers(200, first=slice(0, 90), second=slice(100, 180))
    assert detector.due(samples[5])
    del samples[5].found["speakers"]
    assert not detector.due(samples[5])
    off = Policy.from_dict({"detectors": {"voice": {"enabled": False}}})
    samples[5].job = dataclasses.replace(samples[5].job, policy=off)
    samples[5].found["speakers"] = speakers(200, first=slice(0, 90), second=slice(100, 180))
    assert not detector.due(samples[5])


def test_the_embedding_is_for_learners_alone():
    measure = VoiceMeasure(2.0, 0.123456, (1, -127))
    assert measure.to_dict() == {"seconds": 2.0, "same": 0.123, "embedding": [1, -127]}
    assert without_private({"voice": measure.to_dict()}) == {"voice": {"seconds": 2.0, "same": 0.123}}
