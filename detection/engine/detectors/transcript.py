"""Write down what is said, and look for the policy's keywords in it. Off unless the policy asks for it.

What was said is personal: it leaves this file only where a keyword was found.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from detection.engine.media import SAMPLE_RATE_HZ
from detection.engine.model import Recogniser
from detection.engine.observations import AUDIO, SpeechMeasure
from detection.engine.samples import AudioSample
from detection.engine.sound import with_past

STRETCH_S = 10.0
"""How much is heard each time, the window included: words need their sentence, and the past has no more."""


@dataclass(frozen=True, slots=True)
class TranscriptMeasure:
    """What was said up to a window's end. ``text`` is empty, and never kept, unless there are ``keywords`` in it.

    ``first_at``: capture time at which the stretch that was heard begins.
    """

    text: str
    keywords: tuple[str, ...]
    language: str
    first_at: float

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-able form."""
        return {
            "text": self.text if self.keywords else "",
            "keywords": list(self.keywords),
            "language": self.language,
            "first_at": round(self.first_at, 3),
        }


class TranscriptDetector:
    """Finds spoken keywords. Keeps no state: it hears the window's past again."""

    name = "transcript"
    stream = AUDIO
    needs_past = True

    def __init__(self, recogniser: Recogniser) -> None:
        self._recogniser = recogniser
        self.models = recogniser.models

    def warm_up(self) -> None:
        """Listen to ten silent seconds."""
        self._recogniser.hear(np.zeros(round(STRETCH_S * SAMPLE_RATE_HZ), np.float32))

    def due(self, sample: AudioSample) -> bool:
        """Listen each ``interval_s``, if the policy asks for words and speech is heard in the window."""
        parameters = sample.job.policy.detectors.transcript
        speech = sample.found.get("speech")
        heard = isinstance(speech, SpeechMeasure) and speech.share > 0
        return parameters.is_asked_for and heard and sample.is_due(parameters.interval_s)

    def measure(self, samples: Sequence[AudioSample]) -> list[TranscriptMeasure]:
        """Write down the ten seconds up to each window's end, and keep what holds a keyword."""
        return [self._measure(sample) for sample in samples]

    def _measure(self, sample: AudioSample) -> TranscriptMeasure:
        window = sample.job.window
        new = len(window.samples) - min(window.lead_in_samples, len(window.samples))
        samples, _ = with_past(sample.job, max(0, round(STRETCH_S * SAMPLE_RATE_HZ) - new))
        heard = self._recogniser.hear(samples)
        keywords = spoken(sample.job.policy.detectors.transcript.keywords, heard.text)
        first_at = window.ended_at - len(samples) / SAMPLE_RATE_HZ
        return TranscriptMeasure(heard.text if keywords else "", keywords, heard.language, first_at)


def spoken(keywords: Sequence[str], text: str) -> tuple[str, ...]:
    """Return the keywords that are in a text as whole words, whatever their case, accents and punctuation."""
    line = _words(text)
    return tuple(keyword for keyword in keywords if (words := _words(keyword)).strip() and words in line)


def _words(text: str) -> str:
    """Return the plain words of a text, each between spaces: `` resume the work ``."""
    letters = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    plain = "".join(letter if letter.isalnum() else " " for letter in letters if not unicodedata.combining(letter))
    return f" {' '.join(plain.split())} "
