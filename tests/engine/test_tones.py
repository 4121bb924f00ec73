"""Signals of telephones and computers, told from voices, music and the noises of a room."""

from __future__ import annotations

import numpy as np
import pytest

from detection.engine.detectors import tones
from detection.engine.media import SAMPLE_RATE_HZ
from detection.engine.policy import Policy
from detection.evaluation import media
from detection.evaluation.generate import noises
from detection.evaluation.generate.recordings import gain, room, say
from detection.evaluation.product import Product, audio_jobs

WATCHING = Policy.from_dict({"rules": {"NOTIFICATION_SOUND": {"enabled": True}}})


def in_room(*sounds: tuple[float, np.ndarray], length_s: float = 10.0, dbfs: float = -30.0) -> np.ndarray:
    line = room(length_s, -60, np.random.default_rng(2)).astype(np.float64)
    for at_s, sound in sounds:
        start = round(at_s * SAMPLE_RATE_HZ)
        line[start : start + len(sound)] += sound[: len(line) - start] * gain(dbfs)
    return line.astype(np.float32)


def note(hz: float, length_s: float = 0.4) -> np.ndarray:
    t = np.arange(round(length_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    return np.sqrt(2) * np.sin(2 * np.pi * hz * t) * np.minimum(1, t / 0.005) * np.exp(-t * 3)


def heard(pipeline, line: np.ndarray, policy: Policy = WATCHING) -> list[dict]:
    """The windows in which a signal was found."""
    product = Product(pipeline, policy).only("speech", "tones")
    observations = pipeline.analyse_audio(list(audio_jobs(line, product.policy)))
    return [m for o in observations if (m := o.measures.get("tones")) and m["share"] > 0]


@pytest.mark.parametrize("timbre", [*noises.SEEN, *noises.HELD_OUT])
def test_a_signal_is_found_where_it_was(pipeline, timbre):
    sound = noises.signal(np.random.default_rng(7), {timbre: (noises.SEEN | noises.HELD_OUT)[timbre]})
    found = heard(pipeline, in_room((4.3, sound)))
    assert len(found) >= 1
    assert found[0]["started_at"] - media.EPOCH == pytest.approx(4.3, abs=0.12)
    assert found[0]["share"] >= tones.TONAL


@pytest.mark.parametrize("at_s", np.arange(4, 5, 0.125))
def test_it_is_found_wherever_in_its_window_it_lies(pipeline, at_s):
    assert heard(pipeline, in_room((float(at_s), note(880))))


@pytest.mark.parametrize("kind", sorted(noises.DISTRACTIONS))
def test_the_noises_of_a_room_are_none(pipeline, kind):
    sounds = noises.scatter(*noises.DISTRACTIONS[kind], 20.0, np.random.default_rng(4))
    assert heard(pipeline, in_room((0, sounds / np.sqrt(np.mean(sounds**2))), length_s=20.0)) == []


def test_a_voice_is_none(pipeline):
    assert heard(pipeline, in_room((2, say(np.random.default_rng(1), "gmw/en-US+f2")), length_s=12.0)) == []


def test_music_that_goes_on_is_none(pipeline):
    tune = [(1 + 0.4 * step, note(440 * 2 ** (step % 7 / 12))) for step in range(20)]
    assert heard(pipeline, in_room(*tune, length_s=12.0)) == []


def test_a_tone_that_was_always_there_is_none(pipeline):
    t = np.arange(10 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    assert heard(pipeline, in_room((0, np.sin(2 * np.pi * 1000 * t)))) == []


def test_a_glide_is_none(pipeline):
    t = np.arange(SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    assert heard(pipeline, in_room((4, np.sin(2 * np.pi * (500 * t + 400 * t**2))))) == []


def test_it_listens_only_where_the_policy_watches_for_it(pipeline):
    assert heard(pipeline, in_room((4, note(880))), Policy()) == []


@pytest.mark.parametrize("samples", [np.zeros(0), np.zeros(1000), np.zeros(16_000), np.full(16_000, np.nan)])
def test_next_to_nothing_has_no_tones(samples):
    assert tones.find(np.nan_to_num(samples).astype(np.float32)) == []
