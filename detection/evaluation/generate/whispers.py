"""Whispers out of synthetic voices: the same mouth, the noise of breath in place of the vocal cords."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detection.engine.detectors.whisper import periodicity
from detection.engine.media import SAMPLE_RATE_HZ

Sound = NDArray[np.float32]

_FRAME, _HOP, _FFT = 512, 128, 1024
_LIFTER = 32
"""Cepstral coefficients, 2 ms, that make the mouth's envelope: pitch has a longer period."""
_PRE_EMPHASIS, _REST = 0.97, 0.7
"""A whisper is brighter than a voice: of the emphasis of the high only a part is taken back."""
_SOFTER_DB = 12.0
"""So much quieter than hisses become vowels, which have no voice any more."""
_LOWEST_HZ = 250.0


def whisper(said: Sound, rng: np.random.Generator) -> Sound:
    """Return an utterance whispered, at a root mean square of one."""
    emphasised = np.append(said[:1], said[1:] - _PRE_EMPHASIS * said[:-1])
    window = np.hanning(_FRAME)
    at = np.arange(0, len(said) - _FRAME, _HOP)[:, None] + np.arange(_FRAME)
    spectrum = np.abs(np.fft.rfft(emphasised[at] * window, _FFT))
    breath = np.fft.rfft(rng.standard_normal(len(said))[at] * window, _FFT) * _envelope(spectrum)
    power = np.sum(spectrum**2, axis=1) / (np.sum(np.abs(breath) ** 2, axis=1) + 1e-12)
    voiced = np.clip((periodicity(np.asarray(said[at], np.float32)) - 0.5) / 0.3, 0, 1)
    frames = np.fft.irfft(breath, axis=1) * (np.sqrt(power) * 10 ** (-_SOFTER_DB * voiced / 20))[:, None]
    line = np.zeros(len(said) + _FFT)
    for index, frame in enumerate(frames):
        line[index * _HOP : index * _HOP + _FFT] += frame
    whispered = _tilt(line[: len(said)])
    return np.asarray(whispered / np.sqrt(np.mean(whispered**2)), np.float32)


def _envelope(spectrum: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the spectra smoothed by their cepstra."""
    cepstrum = np.fft.irfft(np.log(spectrum + 1e-6), axis=1)
    cepstrum[:, _LIFTER : 1 - _LIFTER] = 0
    return np.asarray(np.exp(np.fft.rfft(cepstrum, axis=1).real), np.float64)


def _tilt(line: NDArray[np.float64]) -> NDArray[np.float64]:
    """Take a part of the emphasis back, and what lies below a whisper away."""
    hz = np.fft.rfftfreq(len(line), 1 / SAMPLE_RATE_HZ)
    back = np.abs(1 - _REST * np.exp(-2j * np.pi * hz / SAMPLE_RATE_HZ))
    return np.fft.irfft(np.fft.rfft(line) / back / (1 + (_LOWEST_HZ / np.maximum(hz, 1)) ** 4), len(line))
