"""What the microphone hears: the noise every room has, and somebody speaking somewhere in it."""

from __future__ import annotations

import numpy as np
import soxr
from numpy.typing import NDArray

from demo.script import Script, Utterance
from demo.voices import speak

SAMPLE_RATE = 48_000
ROOM_DBFS = -57.0
SPEECH_DBFS = -27.0
_SEED = 11
_ECHO_S = 0.35
_FADE_S = 0.02

Samples = NDArray[np.float32]


def record(script: Script) -> Samples:
    """Return the whole clip's sound: mono, 48 kHz, -1…1. It is never digitally silent."""
    rng = np.random.default_rng(_SEED)
    sound = _room_noise(round(script.duration_s * SAMPLE_RATE), rng)
    for utterance in script.utterances:
        start = round(utterance.start_s * SAMPLE_RATE)
        speech = _in_the_room(_say(utterance), rng)[: len(sound) - start]
        sound[start : start + len(speech)] += speech
    return np.clip(sound, -1.0, 1.0).astype(np.float32)


def _room_noise(count: int, rng: np.random.Generator) -> Samples:
    """Make noise that falls by 3 dB an octave, as fans and streets do, slowly swelling by a decibel or two."""
    spectrum = np.fft.rfft(rng.standard_normal(count))
    frequencies = np.fft.rfftfreq(count, 1 / SAMPLE_RATE)
    noise = np.fft.irfft(spectrum / np.sqrt(np.maximum(frequencies, 40.0)), count)
    swell = 1 + 0.15 * np.sin(2 * np.pi * 0.07 * np.arange(count) / SAMPLE_RATE)
    return _at_level(noise * swell, ROOM_DBFS)


def _say(utterance: Utterance) -> Samples:
    """Speak until the utterance's end, from the beginning again if the text is short."""
    spoken, rate = speak(utterance.text, voice=utterance.voice)
    spoken = np.asarray(soxr.resample(spoken, rate, SAMPLE_RATE), dtype=np.float32)
    loud = np.flatnonzero(np.abs(spoken) > 0.01)
    spoken = spoken[loud[0] : loud[-1]]
    count = round((utterance.end_s - utterance.start_s) * SAMPLE_RATE)
    spoken = np.resize(spoken, count)
    fade = round(_FADE_S * SAMPLE_RATE)
    spoken[-fade:] *= np.linspace(1, 0, fade)
    return _at_level(spoken, SPEECH_DBFS)


def _in_the_room(speech: Samples, rng: np.random.Generator) -> Samples:
    """Add the echo of a small furnished room."""
    count = round(_ECHO_S * SAMPLE_RATE)
    tail = rng.standard_normal(count) * np.exp(-np.linspace(0, 9, count)) * 0.02
    tail[0] = 1.0
    size = len(speech) + count
    return np.fft.irfft(np.fft.rfft(speech, size) * np.fft.rfft(tail, size), size)[:size].astype(np.float32)


def _at_level(samples: NDArray[np.floating], dbfs: float) -> Samples:
    rms = float(np.sqrt(np.mean(np.square(samples))))
    return (samples * (10 ** (dbfs / 20) / rms)).astype(np.float32)
