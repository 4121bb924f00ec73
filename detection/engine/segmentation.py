"""Who speaks when, locally: pyannote segmentation-3.0 (MIT), an ONNX graph of about ten seconds of sound at a time.

It names at most three voices per stretch of sound, at most two at once, by an arbitrary number that holds within the
stretch only. Its seven classes: nobody, voice 1, 2, 3, voices 1+2, 1+3, 2+3. Others of its kind may know more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detection.engine.batching import run_each
from detection.engine.media import SAMPLE_RATE_HZ
from detection.engine.model import VOICE_SEGMENTER, Model
from detection.engine.sound import Samples, clean

MODEL_NAME = VOICE_SEGMENTER
STRETCH_S = 10.0
"""What the network was trained on."""
MIN_S = 1.0
"""Less sound than this says nothing about voices."""
HOP = 270
FRAME_S = HOP / SAMPLE_RATE_HZ
"""Seconds per frame of its output, 16.9 ms."""
_FIELD = 991
"""Samples that a frame is made of: convolutions of 251, 5, 5 and pools of 3 (SincNet)."""
_FIRST_MIDDLE = _FIELD / 2

OVERLAP = 0.12
"""Mean probability from which two people talk at once. Far from even, because the network undercounts at a distance:
chosen as the best F1 on ten training excerpts of far-field meetings; on twelve generated single voices, near and far,
nothing reaches it. See docs/accuracy.md."""
ACTIVE = 0.5
"""Probability from which a voice is active."""
MIN_SECOND_S = 0.3
"""A second voice counts from here on, alone or at once with the first: a short word."""

SAME_VOICE = 0.4
"""Cosine between embeddings from which two local voices are one person whom the network split. Of 50 comparisons of one
person far from the microphone 46 reach it, of 223 of two people none."""


@dataclass(frozen=True, slots=True)
class Powerset:
    """What differs among the networks of this kind.

    Its classes are all sets of up to ``at_once`` of ``voices`` voices, smaller sets first. ``overlap``: the mean
    probability from which two talk at once; it becomes ``OVERLAP``, which is segmentation-3.0's.
    """

    input_name: str = "input"
    voices: int = 3
    at_once: int = 2
    overlap: float = OVERLAP

    @property
    def active(self) -> NDArray[np.float32]:
        """Return which voices speak in each class, 0 or 1, ``(classes, voices)``."""
        sets = [each for size in range(self.at_once + 1) for each in combinations(range(self.voices), size)]
        return np.array([[voice in each for voice in range(self.voices)] for each in sets], np.float32)

    def read(self, classes: NDArray[np.float32]) -> Voices:
        """Turn the classes' probabilities, ``(n, classes)``, into who speaks when."""
        members = self.active
        active = classes @ members
        overlap = classes[:, members.sum(axis=1) > 1].sum(axis=1)
        return Voices(
            times_s=_middles(len(classes)),
            speech=1.0 - classes[:, 0],
            overlap=np.interp(overlap, (0.0, self.overlap, 1.0), (0.0, OVERLAP, 1.0)).astype(np.float32),
            active=active[:, np.argsort(-(active >= ACTIVE).sum(axis=0), kind="stable")],
        )


SEGMENTATION_3 = Powerset()


def frames_in(samples: int) -> int:
    """Return how many frames the network makes of so many samples: whole receptive fields only."""
    return max(0, (samples - _FIELD) // HOP + 1)


@dataclass(frozen=True, slots=True, eq=False)
class Voices:
    """What was found in some sound, per frame of ``FRAME_S`` seconds, ``n`` frames in all.

    ``times_s``: middle of each frame from the start of the sound. ``speech`` and ``overlap``: probability that
    somebody, and that two, speak. ``active``: which local voice speaks, ``(n, voices)``, probabilities; the most active
    one comes first.
    """

    times_s: NDArray[np.float64]
    speech: NDArray[np.float32]
    overlap: NDArray[np.float32]
    active: NDArray[np.float32]

    @property
    def talk_at_once(self) -> NDArray[np.bool_]:
        """Return where two voices speak at once, ``(n,)``."""
        return np.asarray(self.overlap >= OVERLAP, bool)

    @property
    def alone(self) -> NDArray[np.bool_]:
        """Return where each local voice speaks alone, ``(n, voices)``."""
        active = self.active >= ACTIVE
        single = (active.sum(axis=1) == 1) & ~self.talk_at_once
        return np.asarray(active & single[:, None], bool)

    @property
    def second_s(self) -> float:
        """Return for how many seconds the second of the local voices speaks, alone or not."""
        return float((self.active[:, 1] >= ACTIVE).sum()) * FRAME_S

    def voice(self, samples: Samples, number: int, *, longest_s: float) -> Samples:
        """Return where voice ``number`` speaks alone, cut out of the sound and joined, the last ``longest_s`` of it."""
        frames = np.flatnonzero(self.alone[:, number])
        starts = frames * HOP + round(_FIRST_MIDDLE - HOP / 2)
        at = (starts[:, None] + np.arange(HOP)).reshape(-1)
        return np.asarray(samples[at[at < len(samples)]][-round(longest_s * SAMPLE_RATE_HZ) :], np.float32)


class Segmenter:
    """Runs the network."""

    def __init__(self, model: Model, network: Powerset = SEGMENTATION_3) -> None:
        self._model = model
        self._network = network

    def listen(self, samples: Samples) -> Voices:
        """Find the voices of up to some ten seconds; no frames for less than a second."""
        return self.listen_to_each([samples])[0]

    def listen_to_each(self, sounds: Sequence[Samples]) -> list[Voices]:
        """Find the voices of several sounds; on a GPU those of one length together."""
        enough = [sound for sound in sounds if len(sound) >= MIN_S * SAMPLE_RATE_HZ]
        heard = iter(run_each(self._model, self._network.input_name, [clean(sound)[None, None] for sound in enough]))
        nothing = np.zeros((0, len(self._network.active)), np.float32)
        return [
            self._network.read(np.exp(next(heard)[0][0]) if len(sound) >= MIN_S * SAMPLE_RATE_HZ else nothing)
            for sound in sounds
        ]


def starts(length: int, step_s: float) -> list[int]:
    """Return where stretches of ten seconds begin in ``length`` samples, ``step_s`` apart, the last one at the end."""
    last = max(0, length - round(STRETCH_S * SAMPLE_RATE_HZ))
    return [*range(0, last, round(step_s * SAMPLE_RATE_HZ)), last]


def average(length: int, stretches: Sequence[tuple[int, Voices]]) -> tuple[NDArray[np.float64], ...]:
    """Return times, speech and overlap of a whole recording of ``length`` samples: the mean over its stretches.

    A stretch is where it starts, in samples, and what was found in it.
    """
    frames = -(-length // HOP)
    sums, weight = np.zeros((frames, 2)), np.zeros(frames)
    for start, found in stretches:
        at = round(start / HOP) + np.arange(len(found.speech))
        sums[at] += np.stack([found.speech, found.overlap], axis=1)
        weight[at] += 1
    mean = sums / np.maximum(weight, 1)[:, None]
    return _middles(frames), mean[:, 0], mean[:, 1]


def _middles(frames: int) -> NDArray[np.float64]:
    return np.asarray((np.arange(frames) * HOP + _FIRST_MIDDLE) / SAMPLE_RATE_HZ, np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class SpeakersMeasure:
    """Who spoke in the seconds up to the end of a window.

    ``seconds``: per second, oldest first, the last one ends with the window: for how much of it two voices talk at
    once, and for how much a voice speaks alone that is not the one heard most. ``second_s``: how long that second voice
    speaks in all. ``voices`` is for detectors that follow and not stored.
    """

    seconds: tuple[tuple[float, float], ...]
    second_s: float
    voices: Voices

    @property
    def overlap_s(self) -> float:
        """Return for how long two voices talk at once."""
        return sum(overlap for overlap, _ in self.seconds)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-able form."""
        return {
            "seconds": [[round(overlap, 2), round(other, 2)] for overlap, other in self.seconds],
            "overlap_s": round(self.overlap_s, 2),
            "second_s": round(self.second_s, 2),
        }
