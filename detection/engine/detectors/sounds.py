"""Take a fingerprint of the sound, by which a recording that is played in a loop is known again.

Per frame one bit for each of 24 neighbouring pairs of bands: whether the upper one gained on the lower one since four
frames ago (Haitsma and Kalker, "A Highly Robust Audio Fingerprinting System", ISMIR 2002). Played again and coded anew,
a recording keeps three bits in four and more; a live room keeps half of them, which is chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detection.engine.media import SAMPLE_RATE_HZ, AudioWindow
from detection.engine.model import Model
from detection.engine.observations import AUDIO
from detection.engine.samples import AudioSample
from detection.engine.sound import Samples, clean

FRAMES_PER_SECOND = 64
BITS = 24
_HOP = SAMPLE_RATE_HZ // FRAMES_PER_SECOND
_LENGTH = 1024
_BACK = 4
"""Frames between the two that are compared: they then share no sample."""
_QUIETEST = 10 ** (-75 / 20)
"""Root mean square below which there is no sound to know again: a muted microphone is silent in a loop too."""
_EDGES = np.unique(np.round(np.geomspace(6, 250, BITS + 2)).astype(int))
"""Bands from 94 Hz to 3.9 kHz, in bins of 15.6 Hz."""
_WINDOW = np.hanning(_LENGTH)


@dataclass(frozen=True, slots=True)
class SoundsMeasure:
    """A window's fingerprint: one number of 24 bits per 1/64 s from its start, none where it is silent."""

    fingerprint: tuple[int, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-able form; the fingerprint is for learners alone."""
        return {"fingerprint": list(self.fingerprint)}


class SoundsDetector:
    """Fingerprints every window. Keeps no state: the learner ``sound_loops`` compares."""

    name = "sounds"
    stream = AUDIO

    def __init__(self) -> None:
        self.models: tuple[Model, ...] = ()

    def due(self, sample: AudioSample) -> bool:
        """Listen to every window."""
        return sample.job.policy.detectors.sounds.enabled

    def measure(self, samples: Sequence[AudioSample]) -> list[SoundsMeasure]:
        """Fingerprint each window, its lead-in as the frames before."""
        return [SoundsMeasure(fingerprint(sample.job.window)) for sample in samples]


def fingerprint(window: AudioWindow) -> tuple[int, ...]:
    """Return the fingerprint of the part after the lead-in; empty for silence and less than a frame."""
    samples = clean(window.samples)
    lead_in = min(window.lead_in_samples, len(samples))
    if not len(samples) or np.sqrt(np.mean(np.square(samples, dtype=np.float64))) < _QUIETEST:
        return ()
    before = min(lead_in, _BACK * _HOP + _LENGTH - _HOP)
    return tuple(int(word) for word in _words(samples[lead_in - before :]))


def _words(samples: Samples) -> NDArray[np.int64]:
    if len(samples) < _LENGTH + _BACK * _HOP:
        return np.zeros(0, np.int64)
    frames = np.lib.stride_tricks.sliding_window_view(samples, _LENGTH)[::_HOP]
    power = np.abs(np.fft.rfft(frames * _WINDOW)) ** 2
    bands = np.log(np.add.reduceat(power, _EDGES, axis=1)[:, :-1] + 1e-12)
    steps = np.diff(bands, axis=1)
    gained = steps[_BACK:] > steps[:-_BACK]
    return np.asarray(gained @ (1 << np.arange(gained.shape[1])), np.int64)
