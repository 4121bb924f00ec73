"""Plain work on sound, for the detectors that listen. Samples are float32 from -1 to 1, mono, 16 kHz."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detection.engine.media import SAMPLE_RATE_HZ
from detection.engine.samples import AudioJob

Samples = NDArray[np.float32]


def clean(samples: Samples) -> Samples:
    """Return samples within -1 and 1, silence where they are not numbers."""
    return np.clip(np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=-1.0), -1.0, 1.0).astype(np.float32)


def with_past(job: AudioJob, past_samples: int) -> tuple[Samples, int]:
    """Return a window with up to ``past_samples`` of what came before it, and how many of them there are.

    Where the past is not to be had, the window's own lead-in stands in for it.
    """
    window = job.window
    lead_in = min(window.lead_in_samples, len(window.samples))
    past = job.past[-past_samples:]
    if len(past) <= lead_in:
        return clean(window.samples), lead_in
    return clean(np.concatenate([past, window.samples[lead_in:]])), len(past)


def stretch(job: AudioJob, length_s: float) -> Samples:
    """Return the last ``length_s`` up to a window's end, as far as there is sound; the window itself is never cut."""
    window = job.window
    new = len(window.samples) - min(window.lead_in_samples, len(window.samples))
    samples, _ = with_past(job, max(0, round(length_s * SAMPLE_RATE_HZ) - new))
    return samples


def silence(length_s: float) -> Samples:
    """Return digital silence, to warm a network up with."""
    return np.zeros(round(length_s * SAMPLE_RATE_HZ), np.float32)


def mean_around(values: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """Return the centred moving mean over ``width`` (odd) values; at the edges over those that there are."""
    if len(values) < 2:
        return values
    reach = width // 2
    sums = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    at = np.arange(len(values))
    first, last = np.maximum(at - reach, 0), np.minimum(at + reach + 1, len(values))
    return np.asarray((sums[last] - sums[first]) / (last - first), np.float32)
