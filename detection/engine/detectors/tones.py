"""Find the sounds by which telephones and computers tell of something: one or a few steady tones out of the quiet.

Such a sound stands out of the noise at once, keeps its pitch, has most of its power in a few lines of the spectrum, is
over within three seconds, and nobody speaks meanwhile. Voices glide, music goes on, keys and coughs have no pitch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detection.engine.media import SAMPLE_RATE_HZ
from detection.engine.model import VOICE_DETECTOR, Model
from detection.engine.observations import AUDIO
from detection.engine.policy import EventType
from detection.engine.samples import AudioSample
from detection.engine.silero import CHUNK_S, SpeechNet
from detection.engine.sound import Samples, clean, with_past

MODEL_NAME = VOICE_DETECTOR
TONAL = 0.6
"""Share of a frame's power in steady lines from which it is a tone."""
SHORTEST_S = 0.1
LONGEST_S = 2.6
QUIET_S = 0.3
"""So long after the last tone the sound is over: less than the lead-in, in which enough of it must be left to see."""
_BESIDE_S = 0.5
"""So long before and after it nobody may speak."""
_APART_S = 0.6
"""Tones no further apart than this are one sound."""
_ALONE_S = 0.7
"""No tone comes before it for so long: else it is music, or a machine."""
MIN_RISE_DB = 20.0
"""How far the sound rises over what was there before it."""
_SPEECH = 0.3
"""Probability of speech around it from which it counts as speech."""
_UNSURE_S = 0.1
"""Ends are found no better than this: one on the edge of two windows may be told in both, never in neither."""
_PAST_S = 8.0
_LENGTH, _HOP = 1024, 256
_HOP_S = _HOP / SAMPLE_RATE_HZ
_FRAME_S = _LENGTH / SAMPLE_RATE_HZ
_STEADY = 5
"""Frames, 80 ms and a window, in which a line must stay within a bin of 16 Hz."""
_STANDS_OUT = 10 ** (11 / 10)
"""How far a line stands above the bins beside it."""
_LOWEST, _HIGHEST = (round(hz * _LENGTH / SAMPLE_RATE_HZ) for hz in (350, 7500))
_BESIDE = slice(7, 11)
"""Bins to each side whose mean a line is compared with."""
_SILENCE = 1e-12
_WINDOW = np.hanning(_LENGTH)

Spectrum = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class TonesMeasure:
    """A sound of tones that came to its end 0.3 s to a window's length before the end of the window.

    ``share``: of its power that is in steady lines, 0 to 1; 0 where there was none. Capture times of its beginning and
    end; ``rise_db`` over what was there before.
    """

    share: float = 0.0
    started_at: float | None = None
    ended_at: float | None = None
    rise_db: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-able form."""
        return {
            "share": round(self.share, 3),
            "started_at": None if self.started_at is None else round(self.started_at, 3),
            "ended_at": None if self.ended_at is None else round(self.ended_at, 3),
            "rise_db": None if self.rise_db is None else round(self.rise_db, 1),
        }


@dataclass(frozen=True, slots=True)
class Tones:
    """Tones close together in a stretch of sound, in seconds from its start; ``tonal_s``: how much of it they fill."""

    start_s: float
    end_s: float
    tonal_s: float
    share: float
    rise_db: float


class TonesDetector:
    """Finds sounds of tones that have just ended. Keeps no state: it hears the window's past again."""

    name = "tones"
    stream = AUDIO
    needs_past = True

    def __init__(self, model: Model) -> None:
        self._net = SpeechNet(model)
        self.models = (model,)

    def due(self, sample: AudioSample) -> bool:
        """Listen to every window, where the policy watches for such sounds."""
        policy = sample.job.policy
        return policy.detectors.tones.enabled and policy.rules[EventType.NOTIFICATION_SOUND].enabled

    def measure(self, samples: Sequence[AudioSample]) -> list[TonesMeasure]:
        """Look whether a sound of tones ended in each window."""
        return [self._measure(sample) for sample in samples]

    def _measure(self, sample: AudioSample) -> TonesMeasure:
        window = sample.job.window
        if not find(clean(window.samples)):  # most windows: the past is spared
            return TonesMeasure()
        just_ended_s = QUIET_S, QUIET_S + window.ended_at - window.started_at + _UNSURE_S
        heard, _ = with_past(sample.job, round(_PAST_S * SAMPLE_RATE_HZ))
        found = find(heard)
        last = _last(found, len(heard), just_ended_s)
        if last is None or not self._is_signal(last, found, heard):
            return TonesMeasure()
        at = window.ended_at - len(heard) / SAMPLE_RATE_HZ
        return TonesMeasure(last.share, at + last.start_s, at + last.end_s, last.rise_db)

    def _is_signal(self, tones: Tones, found: Sequence[Tones], heard: Samples) -> bool:
        alone = all(tones.start_s - other.end_s >= _ALONE_S for other in found if other is not tones)
        fits = tones.tonal_s >= SHORTEST_S and tones.end_s - tones.start_s <= LONGEST_S
        if not (alone and fits and tones.rise_db >= MIN_RISE_DB):
            return False
        speech = self._net.probabilities(heard)
        first, last = (round(at_s / CHUNK_S) for at_s in (tones.start_s - _BESIDE_S, tones.end_s + _BESIDE_S))
        return float(speech[max(first, 0) : last].max(initial=0.0)) < _SPEECH


def _last(found: Sequence[Tones], samples: int, ended_s: tuple[float, float]) -> Tones | None:
    """Return the last tones, if they ended between so many seconds before the end."""
    if not found:
        return None
    ago_s = samples / SAMPLE_RATE_HZ - found[-1].end_s
    return found[-1] if ended_s[0] <= ago_s < ended_s[1] else None


def find(samples: Samples) -> list[Tones]:
    """Return the tones in a stretch of sound, those close together as one, in order."""
    if len(samples) < _LENGTH + _HOP * _STEADY:
        return []
    frames = np.lib.stride_tricks.sliding_window_view(samples, _LENGTH)[::_HOP]
    power = np.abs(np.fft.rfft(frames * _WINDOW)) ** 2
    total = power[:, _LOWEST:_HIGHEST].sum(axis=1) + _SILENCE
    share = (power * steady_lines(power)).sum(axis=1) / total
    tonal = np.flatnonzero(share >= TONAL)
    groups = np.split(tonal, np.flatnonzero(np.diff(tonal) * _HOP_S > _APART_S) + 1) if len(tonal) else []
    return [_tones(group, share, total) for group in groups]


def _tones(frames: NDArray[np.intp], share: Spectrum, total: Spectrum) -> Tones:
    first = int(frames[0])
    before = total[max(0, first - 8) : max(0, first - 3)]  # the frames next to it reach into it
    rise = float(total[frames].max() / np.median(before)) if len(before) else 1.0
    return Tones(
        start_s=first * _HOP_S,
        end_s=int(frames[-1]) * _HOP_S + _FRAME_S,
        tonal_s=len(frames) * _HOP_S,
        share=min(1.0, float(share[frames].mean())),
        rise_db=10 * float(np.log10(rise)),
    )


def steady_lines(power: Spectrum) -> Mask:
    """Return which bins of ``power`` ``(frames, bins)`` belong to lines that stand out and keep their pitch."""
    lines = _peaks(power)
    lines[:, :_LOWEST] = lines[:, _HIGHEST:] = False
    near = _widen(lines)
    return _widen(_widen(_lasting(near) & near))


def _peaks(power: Spectrum) -> Mask:
    peaks = np.zeros(power.shape, bool)
    peaks[:, 1:-1] = (power[:, 1:-1] > power[:, :-2]) & (power[:, 1:-1] >= power[:, 2:])
    reach = _BESIDE.stop - 1
    wide = np.pad(power, ((0, 0), (reach, reach)), mode="edge")
    bins = power.shape[1]
    below = np.mean(
        [wide[:, reach - away : reach - away + bins] for away in range(_BESIDE.start, _BESIDE.stop)], axis=0
    )
    above = np.mean(
        [wide[:, reach + away : reach + away + bins] for away in range(_BESIDE.start, _BESIDE.stop)], axis=0
    )
    return np.asarray(peaks & (power > _STANDS_OUT * np.maximum(below, above)), np.bool_)


def _widen(mask: Mask) -> Mask:
    """Return the mask with the bins beside those that it has."""
    wide = mask.copy()
    wide[:, 1:] |= mask[:, :-1]
    wide[:, :-1] |= mask[:, 1:]
    return wide


def _lasting(mask: Mask) -> Mask:
    """Return what is part of a run of ``_STEADY`` frames and more."""
    counts = np.cumsum(np.pad(mask.astype(np.int32), ((1, 0), (0, 0))), axis=0)
    full = counts[_STEADY:] - counts[:-_STEADY] == _STEADY
    lasting = np.zeros_like(mask)
    for after in range(_STEADY):
        lasting[after : after + len(full)] |= full
    return lasting
