"""Tell whether more than one person speaks: pyannote segmentation-3.0 over ten seconds, or over a whole recording."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from detection.engine.batching import SIZES
from detection.engine.media import SAMPLE_RATE_HZ
from detection.engine.model import VOICE_SEGMENTER, Model
from detection.engine.observations import AUDIO, SpeechMeasure
from detection.engine.samples import AudioSample
from detection.engine.segmentation import (
    ACTIVE,
    FRAME_S,
    MIN_SECOND_S,
    OVERLAP,
    SAME_VOICE,
    SEGMENTATION_3,
    STRETCH_S,
    Powerset,
    Segmenter,
    SpeakersMeasure,
    Voices,
    average,
    starts,
)
from detection.engine.sound import Samples, silence, stretch

MODEL_NAME = VOICE_SEGMENTER
_STEP_S = 1.0
"""Stretches of a recording begin this far apart, and what they say of a frame is averaged."""
_LONGEST_S = 3.0
_SHORTEST_S = 0.5
"""Sound that a comparison of two voices takes, each."""

Compare = Callable[[Samples, Samples], float]


@dataclass(frozen=True, slots=True, eq=False)
class Timeline:
    """A whole recording.

    ``times_s``: middles of frames of 17 ms. ``speech`` and ``overlap``: probability that somebody, and that two, speak.
    ``speakers``: 0, 1, or 2 for two and more.
    """

    times_s: NDArray[np.float64]
    speech: NDArray[np.float64]
    overlap: NDArray[np.float64]
    speakers: int
    duration_s: float

    @property
    def overlap_per_second(self) -> NDArray[np.float64]:
        """Return which share of each second two people talk at once; a second that is cut short counts."""
        count = int(np.ceil(self.duration_s - 1e-3))
        inside = self.times_s < count
        second = self.times_s[inside].astype(int)
        talk = np.bincount(second, weights=self.overlap[inside] >= OVERLAP, minlength=count)
        return np.asarray(talk / np.maximum(np.bincount(second, minlength=count), 1), np.float64)

    def speech_at(self, times_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the probability of speech at some moments."""
        return np.interp(times_s, self.times_s, self.speech) if len(self.times_s) else np.zeros(len(times_s))


class SpeakersDetector:
    """Finds a second voice in the seconds before. Keeps no state: it hears the window's past again."""

    name = "speakers"
    stream = AUDIO
    needs_past = True

    def __init__(self, model: Model, network: Powerset = SEGMENTATION_3) -> None:
        self._segmenter = Segmenter(model, network)
        self.models = (model,)

    def warm_up(self) -> None:
        """Listen to ten silent seconds, to one of them and to a batch."""
        for size in SIZES if self.models[0].batches else SIZES[:1]:
            self._segmenter.listen_to_each([silence(STRETCH_S)] * size)

    def due(self, sample: AudioSample) -> bool:
        """Look each ``interval_s``, if speech is heard in the window."""
        parameters = sample.job.policy.detectors.speakers
        speech = sample.found.get("speech")
        heard = isinstance(speech, SpeechMeasure) and speech.share > 0
        return parameters.enabled and heard and sample.is_due(parameters.interval_s)

    def measure(self, samples: Sequence[AudioSample]) -> list[SpeakersMeasure]:
        """Look at the ten seconds up to each window's end."""
        sounds = [stretch(sample.job, STRETCH_S) for sample in samples]
        return [
            SpeakersMeasure(_seconds(voices, len(sound) / SAMPLE_RATE_HZ), voices.second_s, voices)
            for sound, voices in zip(sounds, self._segmenter.listen_to_each(sounds), strict=True)
        ]

    def timeline(self, samples: Samples, compare: Compare | None = None) -> Timeline:
        """Look at a whole recording, in stretches that overlap.

        ``compare`` returns the cosine of two pieces' voices (``VoiceDetector.compare``). With it a second voice that
        sounds like the first does not count, as in a session.
        """
        stretches = [
            (start, self._segmenter.listen(samples[start : start + round(STRETCH_S * SAMPLE_RATE_HZ)]))
            for start in starts(len(samples), _STEP_S)
        ]
        times_s, speech, overlap = average(len(samples), stretches)
        several = float((overlap >= OVERLAP).sum()) * FRAME_S >= MIN_SECOND_S or _agree(
            (_has_second(found, samples[start:], compare) for start, found in stretches),
            min(len(stretches), 2),
        )
        return Timeline(
            times_s=times_s,
            speech=speech,
            overlap=overlap,
            speakers=2 if several else int((speech >= ACTIVE).any()),
            duration_s=len(samples) / SAMPLE_RATE_HZ,
        )


def _seconds(voices: Voices, duration_s: float) -> tuple[tuple[float, float], ...]:
    """Count per second, back from the end, for how long two talk at once and another one than the first speaks."""
    count = int(np.ceil(duration_s - 1e-3))
    ago = np.clip((duration_s - voices.times_s).astype(int), 0, max(count - 1, 0))
    talk = np.bincount(ago, weights=voices.talk_at_once, minlength=count) * FRAME_S
    other = np.bincount(ago, weights=voices.alone[:, 1:].any(axis=1), minlength=count) * FRAME_S
    return tuple((float(talk[index]), float(other[index])) for index in reversed(range(count)))


def _agree(found: Iterable[bool], needed: int) -> bool:
    """Return whether ``needed`` stretches found it: a mistake of hearing seldom comes twice. Looks no further then."""
    return sum(1 for _ in islice(filter(None, found), needed)) == needed


def _has_second(voices: Voices, samples: Samples, compare: Compare | None) -> bool:
    if voices.second_s < MIN_SECOND_S:
        return False
    first, second = (voices.voice(samples, number, longest_s=_LONGEST_S) for number in (0, 1))
    if compare is None or min(len(first), len(second)) < _SHORTEST_S * SAMPLE_RATE_HZ:
        return True
    return compare(first, second) < SAME_VOICE
