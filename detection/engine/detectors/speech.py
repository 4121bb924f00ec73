"""Hear speech: Silero VAD v6 (MIT), its 16 kHz graph, windows of many candidates side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detection.engine.media import SAMPLE_RATE_HZ, AudioWindow
from detection.engine.model import VOICE_DETECTOR, Model
from detection.engine.observations import AUDIO, SpeechMeasure
from detection.engine.samples import AudioSample

MODEL_NAME = VOICE_DETECTOR
CHUNK = 512
CHUNK_S = CHUNK / SAMPLE_RATE_HZ  # 32 ms
_CONTEXT = 64
"""Samples of the chunk before that the network wants to see again."""
_STATE_SIZE = 128

Samples = NDArray[np.float32]


class SpeechDetector:
    """Measures where in a window somebody speaks. Keeps no state: the window's lead-in warms the network up."""

    name = "speech"
    stream = AUDIO

    def __init__(self, model: Model) -> None:
        self._model = model
        self.models = (model,)

    def due(self, sample: AudioSample) -> bool:
        """Listen to every window."""
        return sample.job.policy.detectors.speech.enabled

    def measure(self, samples: Sequence[AudioSample]) -> list[SpeechMeasure]:
        """Measure voice activity in windows of many candidates in one batch."""
        windows = [sample.job.window for sample in samples]
        return [
            _summarise(window, probabilities, sample.job.policy.detectors.speech.min_probability)
            for sample, window, probabilities in zip(samples, windows, self.probabilities(windows), strict=True)
        ]

    def probabilities(self, windows: Sequence[AudioWindow]) -> list[Samples]:
        """Return per window the probability of speech of each 32 ms after the lead-in, float32.

        A rest shorter than half a chunk is left out. What is not a number counts as silence.
        """
        rows = [_chunk(window) for window in windows]
        steps = max((len(chunks) for chunks, _ in rows), default=0)
        batch = np.zeros((len(rows), steps, _CONTEXT + CHUNK), np.float32)
        for index, (chunks, _) in enumerate(rows):
            batch[index, : len(chunks)] = chunks
        heard = self._listen(batch)
        return [heard[index, skipped : len(chunks)] for index, (chunks, skipped) in enumerate(rows)]

    def _listen(self, batch: Samples) -> Samples:
        """Run the network over ``(B, steps, 576)``, the state handed on from step to step; return ``(B, steps)``."""
        heard = np.zeros(batch.shape[:2], np.float32)
        state = np.zeros((2, len(batch), _STATE_SIZE), np.float32)
        rate = np.array(SAMPLE_RATE_HZ, np.int64)
        for step in range(batch.shape[1]):
            output, state = self._model.run({"input": batch[:, step], "state": state, "sr": rate})
            heard[:, step] = output[:, 0]
        return heard


def clean(samples: Samples) -> Samples:
    """Return samples within -1 and 1, silence where they are not numbers."""
    return np.clip(np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=-1.0), -1.0, 1.0).astype(np.float32)


def _chunk(window: AudioWindow) -> tuple[Samples, int]:
    """Cut a window into rows of context and chunk, ``(n, 576)``; return them and how many belong to the lead-in.

    Chunks are counted from the end of the lead-in, so that the first one after it starts at ``started_at``.
    """
    samples = clean(window.samples)
    lead_in = min(window.lead_in_samples, len(samples))
    skipped = lead_in // CHUNK
    first = lead_in - skipped * CHUNK
    count = skipped + int((len(samples) - lead_in) / CHUNK + 0.5)
    line = np.zeros(_CONTEXT + count * CHUNK, np.float32)
    source = samples[max(0, first - _CONTEXT) : first + count * CHUNK]
    start = _CONTEXT - (first - max(0, first - _CONTEXT))
    line[start : start + len(source)] = source
    if count == 0:
        return np.zeros((0, _CONTEXT + CHUNK), np.float32), 0
    return np.lib.stride_tricks.sliding_window_view(line, _CONTEXT + CHUNK)[::CHUNK], skipped


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
