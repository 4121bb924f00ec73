"""The network behind all hearing of speech: Silero VAD v6 (MIT), its 16 kHz graph that takes a whole sequence a run."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detection.engine.media import SAMPLE_RATE_HZ
from detection.engine.model import Model
from detection.engine.sound import Samples, clean, mean_around

CHUNK = 512
CHUNK_S = CHUNK / SAMPLE_RATE_HZ  # 32 ms
SMOOTHED_CHUNKS = 9
"""0.3 s, about a syllable and a half. The mean over it decides better than single chunks: see docs/accuracy.md."""
_CONTEXT = 64
"""Samples of the chunk before that the network wants to see again."""
_STATE_SIZE = 128
_MAX_STEPS = 2000
"""Chunks per run, a minute: what bounds the memory for long recordings."""


class SpeechNet:
    """Tells the probability of speech. Keeps no state between calls; it starts deaf, and quiet speech takes it 2 s."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def probabilities(self, samples: Samples, *, lead_in_samples: int = 0) -> Samples:
        """Return the probability of speech of each 32 ms after the lead-in, float32, smoothed over 0.3 s.

        ``samples`` may be a whole recording. A rest shorter than half a chunk is left out. What is not a number counts
        as silence.
        """
        chunks, skipped = _chunk(clean(samples), lead_in_samples)
        return mean_around(self._listen(chunks), SMOOTHED_CHUNKS)[skipped:]

    def _listen(self, chunks: Samples) -> Samples:
        """Run the network over ``(n, 576)``, its state handed on from run to run; return ``(n,)``."""
        heard = [np.zeros(0, np.float32)]
        hidden = cell = np.zeros((1, 1, _STATE_SIZE), np.float32)
        for start in range(0, len(chunks), _MAX_STEPS):
            feeds = {"input": chunks[start : start + _MAX_STEPS], "h": hidden, "c": cell}
            probabilities, hidden, cell = self._model.run(feeds)
            heard.append(probabilities.reshape(-1))
        return np.concatenate(heard)


def _chunk(samples: Samples, lead_in_samples: int) -> tuple[Samples, int]:
    """Cut sound into rows of context and chunk, ``(n, 576)``; return them and how many belong to the lead-in.

    Chunks are counted from the end of the lead-in, so that the first one after it starts with the window.
    """
    lead_in = min(lead_in_samples, len(samples))
    skipped = lead_in // CHUNK
    first = lead_in - skipped * CHUNK
    count = skipped + int((len(samples) - lead_in) / CHUNK + 0.5)
    line = np.zeros(_CONTEXT + count * CHUNK, np.float32)
    source = samples[max(0, first - _CONTEXT) : first + count * CHUNK]
    start = _CONTEXT - (first - max(0, first - _CONTEXT))
    line[start : start + len(source)] = source
    if count == 0:
        return np.zeros((0, _CONTEXT + CHUNK), np.float32), 0
    rows: NDArray[np.float32] = np.lib.stride_tricks.sliding_window_view(line, _CONTEXT + CHUNK)[::CHUNK]
    return np.ascontiguousarray(rows), skipped
