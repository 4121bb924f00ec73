"""Tell whispering from speaking: what the speech detector hears, without the voice's pitch in it.

Spoken aloud, a third of all speech and more has a pitch, its vowels and nasals; whispered, nothing has. Whatever else
hisses, rustles or clicks the speech detector seldom takes for speech. So both together say that somebody whispers,
where the sound is clear enough of the room's noise for a pitch to be heard.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detection.engine.media import SAMPLE_RATE_HZ
from detection.engine.model import Model
from detection.engine.observations import AUDIO, SpeechMeasure
from detection.engine.policy import EventType
from detection.engine.samples import AudioSample
from detection.engine.silero import CHUNK
from detection.engine.sound import Samples, with_past

SPEECH = 0.5
"""Probability from which a chunk is looked at: surer than for SPEECH_DETECTED, since doubtful speech has no pitch."""
MIN_CHUNKS = 8
"""A quarter of a second of speech; less in a window says nothing."""
VOICED = 0.6
"""Periodicity from which a chunk has a pitch. Noise reaches 0.5, a vowel beside the microphone 0.8 to 0.99."""
MIN_CLEAR_DB = 6.0
"""Speech that is less than this above the room's noise may have lost its pitch in it."""
_PAST_S = 10.0
_FLOOR = 0.1
"""The quietest tenth of what was heard is the room."""
_FRAME = 1024
"""Samples around a chunk, 64 ms: four periods of the lowest voice."""
_PITCH_HZ = (70, 400)
_SILENCE = 1e-12

Frames = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class WhisperMeasure:
    """How a window was spoken.

    ``share``: share of it that is whispered, 0 to 1; None where that cannot be told. ``voiced_share``: share of its
    speech that has a pitch; None where next to nothing is said. ``clear_db``: how far the speech is above the room's
    noise, known where it has no pitch.
    """

    share: float | None
    voiced_share: float | None = None
    clear_db: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-able form."""
        return {
            "share": None if self.share is None else round(self.share, 3),
            "voiced_share": None if self.voiced_share is None else round(self.voiced_share, 3),
            "clear_db": None if self.clear_db is None else round(self.clear_db, 1),
        }


class WhisperDetector:
    """Finds speech without a pitch. Keeps no state."""

    name = "whisper"
    stream = AUDIO
    needs_past = True

    def __init__(self) -> None:
        self.models: tuple[Model, ...] = ()

    def due(self, sample: AudioSample) -> bool:
        """Listen to every window in which speech was sought, where the policy watches for whispering."""
        policy = sample.job.policy
        wanted = policy.detectors.whisper.enabled and policy.rules[EventType.WHISPER].enabled
        return wanted and isinstance(sample.found.get("speech"), SpeechMeasure)

    def measure(self, samples: Sequence[AudioSample]) -> list[WhisperMeasure]:
        """Measure each window by itself; the sound before it tells how loud the room is."""
        return [_measure(sample) for sample in samples]


def _measure(sample: AudioSample) -> WhisperMeasure:
    speech = sample.found["speech"]
    assert isinstance(speech, SpeechMeasure)
    said = np.asarray(speech.chunks) >= SPEECH
    if said.sum() < MIN_CHUNKS:
        return WhisperMeasure(None if said.any() else 0.0)
    window = sample.job.window
    lead_in = min(window.lead_in_samples, len(window.samples))
    frames = frames_around(with_past(sample.job, lead_in)[0], len(said), lead_in)
    voiced_share = float((periodicity(frames[said]) >= VOICED).mean())
    if voiced_share > sample.job.policy.detectors.whisper.max_voiced:
        return WhisperMeasure(0.0, voiced_share)
    heard, before = with_past(sample.job, round(_PAST_S * SAMPLE_RATE_HZ))
    levels = level_db(frames_around(heard, before // CHUNK + len(said), before % CHUNK))
    clear_db = float(np.median(levels[-len(said) :][said]) - np.quantile(levels, _FLOOR))
    return WhisperMeasure(float(said.mean()) if clear_db >= MIN_CLEAR_DB else None, voiced_share, clear_db)


def frames_around(samples: Samples, count: int, start: int) -> Frames:
    """Return the sound around ``count`` chunks from ``start`` on, ``(count, 1024)``; silence beyond the ends."""
    reach = (_FRAME - CHUNK) // 2
    line = np.pad(samples, (max(0, reach - start), max(0, start + count * CHUNK + reach - len(samples))))
    first = max(0, start - reach)
    frames = np.lib.stride_tricks.sliding_window_view(line[first:], _FRAME)[::CHUNK]
    return np.asarray(frames[:count], np.float32)


def periodicity(frames: Frames) -> NDArray[np.float64]:
    """Return how far each frame repeats itself with a period of a voice's pitch, 0 to 1.

    The highest autocorrelation between 70 and 400 Hz, over that of the window (Boersma, "Accurate short-term analysis
    of the fundamental frequency", 1993).
    """
    shape = np.hanning(frames.shape[1])
    around = _autocorrelation((frames - frames.mean(axis=1, keepdims=True)) * shape)
    weight = _autocorrelation(shape[None])
    lags = slice(SAMPLE_RATE_HZ // _PITCH_HZ[1], SAMPLE_RATE_HZ // _PITCH_HZ[0])
    relative = around[:, lags] / (around[:, :1] + _SILENCE) * (weight[:, :1] / weight[:, lags])
    return np.asarray(relative.max(axis=1), np.float64)


def _autocorrelation(frames: NDArray[np.floating]) -> NDArray[np.float64]:
    spectrum = np.fft.rfft(frames, 2 * frames.shape[1], axis=1)
    return np.asarray(np.fft.irfft(np.abs(spectrum) ** 2, axis=1)[:, : frames.shape[1]], np.float64)


def level_db(frames: Frames) -> NDArray[np.float64]:
    """Return each frame's root mean square in dB of full scale."""
    return np.asarray(10 * np.log10(np.mean(np.square(frames, dtype=np.float64), axis=1) + _SILENCE), np.float64)
