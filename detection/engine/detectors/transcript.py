"""Write down what is said, and look for the policy's keywords in it. Off unless the policy asks for it.

What was said is personal: it leaves this file only where a keyword was found, and is kept with the incident alone.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from detection.engine.media import SAMPLE_RATE_HZ
from detection.engine.model import SPEECH_RECOGNISER, VOICE_DETECTOR, Model, Recogniser
from detection.engine.observations import AUDIO, SpeechMeasure
from detection.engine.samples import AudioSample
from detection.engine.silero import CHUNK_S, SpeechNet
from detection.engine.sound import Samples, silence, stretch

MODEL_NAME = VOICE_DETECTOR
STRETCH_S = 10.0
"""How much is heard each time, the window included: words need their sentence, and the past has no more."""


@dataclass(frozen=True, slots=True)
class Whisper:
    """A recogniser: what health and metrics call it, and its files, ``onnx-asr``'s name → that in ``weights.toml``."""

    name: str
    files: Mapping[str, str]


WHISPER_BASE = Whisper(
    SPEECH_RECOGNISER,
    {
        "encoder": "whisper-base-encoder",
        "decoder": "whisper-base-decoder",
        "vocab": "whisper-base-vocab",
        "added_tokens": "whisper-base-added-tokens",
    },
)


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

    def __init__(self, model: Model, recogniser: Recogniser) -> None:
        """Take the network that hears speech, to find remarks between two looks, and what writes them down."""
        self._speech = SpeechNet(model)
        self._recogniser = recogniser
        self.models = (*recogniser.models, model)

    def warm_up(self) -> None:
        """Listen to ten silent seconds."""
        self._recogniser.hear(silence(STRETCH_S))

    def due(self, sample: AudioSample) -> bool:
        """Listen each ``interval_s``, if the policy asks for words and speech is sought."""
        parameters = sample.job.policy.detectors.transcript
        sought = isinstance(sample.found.get("speech"), SpeechMeasure)
        return parameters.is_asked_for and sought and sample.is_due(parameters.interval_s)

    def measure(self, samples: Sequence[AudioSample]) -> list[TranscriptMeasure]:
        """Write down the ten seconds up to each window's end if somebody spoke, and keep what holds a keyword."""
        return [self._measure(sample) for sample in samples]

    def _measure(self, sample: AudioSample) -> TranscriptMeasure:
        samples = stretch(sample.job, STRETCH_S)
        first_at = sample.job.window.ended_at - len(samples) / SAMPLE_RATE_HZ
        if not self._is_spoken(sample, samples):
            return TranscriptMeasure("", (), "", first_at)
        heard = self._recogniser.hear(samples)
        keywords = spoken(sample.job.policy.detectors.transcript.keywords, heard.text)
        return TranscriptMeasure(heard.text if keywords else "", keywords, heard.language, first_at)

    def _is_spoken(self, sample: AudioSample, samples: Samples) -> bool:
        """Return whether anybody speaks in the window, or spoke since the look before."""
        policy = sample.job.policy.detectors
        speech = sample.found.get("speech")
        if isinstance(speech, SpeechMeasure) and speech.share > 0:
            return True
        since = round(policy.transcript.interval_s / CHUNK_S)
        recent = self._speech.probabilities(samples)[-since:]
        return float(recent.max(initial=0.0)) >= policy.speech.min_probability


def spoken(keywords: Sequence[str], text: str) -> tuple[str, ...]:
    """Return the keywords that are in a text as whole words, whatever their case, accents and punctuation."""
    line = _words(text)
    return tuple(keyword for keyword in keywords if (words := _words(keyword)).strip() and words in line)


def _words(text: str) -> str:
    """Return the plain words of a text, each between spaces: `` resume the work ``."""
    letters = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    plain = "".join(letter if letter.isalnum() else " " for letter in letters if not unicodedata.combining(letter))
    return f" {' '.join(plain.split())} "
