"""Measure loudness: no model, just the signal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detection.engine.media import AudioWindow
from detection.engine.model import Model
from detection.engine.observations import AUDIO, LevelMeasure
from detection.engine.samples import AudioSample

SILENCE_DBFS = -120.0
"""What digital silence is called, and everything below it."""
_FULL_SCALE = 0.999


class LevelDetector:
    """Measures how loud a window is."""

    name = "level"
    stream = AUDIO

    def __init__(self) -> None:
        self.models: tuple[Model, ...] = ()

    def due(self, sample: AudioSample) -> bool:
        """Measure every window."""
        return sample.job.policy.detectors.level.enabled

    def measure(self, samples: Sequence[AudioSample]) -> list[LevelMeasure]:
        """Measure the loudness of each window."""
        return [measure_level(sample.job.window) for sample in samples]


def measure_level(window: AudioWindow) -> LevelMeasure:
    """Measure the part after the lead-in; samples that are not numbers count as silence. Nothing at all is silent."""
    samples = np.nan_to_num(window.samples[window.lead_in_samples :].astype(np.float64), nan=0.0, posinf=1, neginf=-1)
    magnitudes = np.abs(samples.clip(-1.0, 1.0))
    if not len(magnitudes):
        return LevelMeasure(SILENCE_DBFS, SILENCE_DBFS)
    return LevelMeasure(
        rms_dbfs=_dbfs(float(np.sqrt(np.mean(magnitudes**2)))),
        peak_dbfs=_dbfs(float(magnitudes.max())),
        clipped_share=_share(magnitudes >= _FULL_SCALE),
    )


def _share(mask: NDArray[np.bool_]) -> float:
    return float(np.count_nonzero(mask)) / len(mask)


def _dbfs(amplitude: float) -> float:
    return max(SILENCE_DBFS, 20 * float(np.log10(max(amplitude, 1e-12))))
