"""People talking, spoken by eSpeak NG: generated sound for the tests of what listens to voices."""

from __future__ import annotations

from functools import cache

import numpy as np
import soxr

from demo.voices import speak
from detection.engine.media import AudioWindow
from detection.engine.policy import Policy
from detection.engine.samples import AudioJob, AudioSample

RATE = 16_000
ANNA, BERT = "gmw/en-US+f2", "gmw/en-GB-x-rp+m3"
SENTENCES = (
    "The answer to the second question is probably forty two, but look at the diagram again before you write it down.",
    "I would rather take the third one, because the slope of the curve is negative there and the other is not.",
    "Wait a moment, let me read the whole page once more, there must be a mistake somewhere in the last line.",
)


@cache
def says(voice: str, sentence: int) -> np.ndarray:
    """Return a sentence in a voice, float32 at 16 kHz, some five to seven seconds."""
    samples, rate = speak(SENTENCES[sentence], voice=voice)
    return soxr.resample(samples, rate, RATE).astype(np.float32)


def room(*parts: tuple[float, np.ndarray], length_s: float, gain_db: float = 0.0) -> np.ndarray:
    """Lay parts, each at a second, into a room of some length whose noise lies 40 dB under the voices' peaks."""
    line = np.random.default_rng(0).normal(0, 3e-3, round(length_s * RATE))
    for at_s, samples in parts:
        start = round(at_s * RATE)
        piece = samples[: len(line) - start]
        line[start : start + len(piece)] += piece
    return (line * 10 ** (gain_db / 20)).astype(np.float32)


def samples_of(line: np.ndarray, *, policy: Policy | None = None, started_at: float = 0.0) -> list[AudioSample]:
    """Cut into windows of a second, each with half a one of lead-in and up to ten of past, as a worker gets them."""
    found = []
    for second in range(len(line) // RATE):
        begin = max(0, second * RATE - RATE // 2)
        window = AudioWindow(
            f"w{second}",
            line[begin : (second + 1) * RATE],
            second * RATE - begin,
            started_at + second,
            started_at + second + 1,
        )
        previous = None if second == 0 else started_at + second
        past = line[max(0, second * RATE - 10 * RATE) : second * RATE]
        found.append(AudioSample(AudioJob(window, policy or Policy(), previous, lambda past=past: past)))
    return found
