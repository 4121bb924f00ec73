"""Loudness of a window."""

from __future__ import annotations

import numpy as np
import pytest

from detection.engine.detectors.level import measure_level
from detection.engine.media import AudioWindow


def level(samples, *, lead_in: int = 0):
    return measure_level(AudioWindow("w", np.asarray(samples, np.float32), lead_in, 0.0, 1.0))


@pytest.mark.parametrize(
    ("samples", "rms_dbfs", "peak_dbfs"),
    [
        (np.ones(16000), 0.0, 0.0),
        (np.full(16000, 0.1), -20.0, -20.0),
        (np.sin(np.arange(16000) / 10), -3.0, 0.0),
        (np.zeros(16000), -120.0, -120.0),
        (np.zeros(0), -120.0, -120.0),
        (np.full(16000, 1e-9), -120.0, -120.0),
        (np.full(16000, np.nan), -120.0, -120.0),
        (np.full(16000, -np.inf), 0.0, 0.0),
        (np.full(16000, 30.0), 0.0, 0.0),
    ],
    ids=["full", "tenth", "sine", "silence", "nothing", "inaudible", "nan", "inf", "beyond"],
)
def test_loudness(samples, rms_dbfs, peak_dbfs):
    found = level(samples)
    assert found.rms_dbfs == pytest.approx(rms_dbfs, abs=0.05)
    assert found.peak_dbfs == pytest.approx(peak_dbfs, abs=0.05)


def test_the_lead_in_is_left_out():
    assert level(np.concatenate([np.ones(8000), np.full(16000, 0.1)]), lead_in=8000).rms_dbfs == pytest.approx(-20)


def test_clipping_is_counted():
    assert level(np.concatenate([np.ones(4000), np.zeros(12000)])).clipped_share == 0.25
    assert level(np.full(100, 0.5)).clipped_share == 0
