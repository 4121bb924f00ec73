"""Hear speech, with the sound before each window."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from detection.engine.media import SAMPLE_RATE_HZ, AudioWindow
from detection.engine.model import VOICE_DETECTOR, Model
from detection.engine.observations import AUDIO, SpeechMeasure
from detection.engine.samples import AudioSample
from detection.engine.silero import CHUNK_S, SpeechNet
from detection.engine.sound import Samples, with_past

MODEL_NAME = VOICE_DETECTOR
PAST_S = 2.0
"""Sound before the window that the network hears first: it starts deaf, and quiet speech takes it two seconds."""
NOTHING = 0.01
"""Where even the quick look (the window with its lead-in) finds no more than this, the long one is spared."""

Opinion = Callable[[NDArray[np.float64]], NDArray[np.float64]]


class SpeechDetector:
    """Measures where in a window somebody speaks. Keeps no state: the sound before the window warms the network up."""

    name = "speech"
    stream = AUDIO
    needs_past = True

    def __init__(self, model: Model) -> None:
        self._net = SpeechNet(model)
        self.models = (model,)

    def due(self, sample: AudioSample) -> bool:
        """Listen to every window."""
        return sample.job.policy.detectors.speech.enabled

    def measure(self, samples: Sequence[AudioSample]) -> list[SpeechMeasure]:
        """Measure voice activity in each window."""
        return [
            _summarise(sample.job.window, self._hear(sample), sample.job.policy.detectors.speech.min_probability)
            for sample in samples
        ]

    def probabilities(self, samples: Samples, *, lead_in_samples: int = 0) -> Samples:
        """Return the probability of speech of each 32 ms after the lead-in; see ``SpeechNet``."""
        return self._net.probabilities(samples, lead_in_samples=lead_in_samples)

    def timeline(self, samples: Samples, opinion: Opinion | None = None) -> tuple[NDArray[np.float64], Samples]:
        """Return the middles in seconds of a whole recording's chunks of 32 ms, and the probability of speech in each.

        ``opinion``: another probability at given moments, such as ``Timeline.speech_at`` of the speakers detector; the
        result is the mean of both. Sessions have no such second opinion: it would cost a run of segmentation a window.
        """
        probabilities = self.probabilities(samples)
        times_s = np.asarray((np.arange(len(probabilities)) + 0.5) * CHUNK_S, np.float64)
        if opinion is None:
            return times_s, probabilities
        return times_s, ((probabilities + opinion(times_s)) / 2).astype(np.float32)

    def _hear(self, sample: AudioSample) -> Samples:
        window = sample.job.window
        quick = self.probabilities(window.samples, lead_in_samples=window.lead_in_samples)
        if not len(quick) or quick.max() < NOTHING:
            return quick
        samples, before = with_past(sample.job, round(PAST_S * SAMPLE_RATE_HZ))
        if before <= window.lead_in_samples:
            return quick
        return self.probabilities(samples, lead_in_samples=before)


def _summarise(window: AudioWindow, probabilities: Samples, threshold: float) -> SpeechMeasure:
    if not len(probabilities):
        return SpeechMeasure(share=0.0, peak=0.0, first_at=None, last_at=None)
    speech = np.flatnonzero(probabilities >= threshold)
    return SpeechMeasure(
        share=len(speech) / len(probabilities),
        peak=float(probabilities.max()),
        first_at=window.started_at + float(speech[0]) * CHUNK_S if len(speech) else None,
        last_at=min(window.started_at + float(speech[-1] + 1) * CHUNK_S, window.ended_at) if len(speech) else None,
        chunks=tuple(float(probability) for probability in probabilities),
    )
