"""Describe a voice by an embedding: WeSpeaker ResNet34-LM trained on VoxCeleb (CC-BY-4.0)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detection.engine.fbank import fbank
from detection.engine.media import SAMPLE_RATE_HZ
from detection.engine.model import VOICE_EMBEDDER, Model
from detection.engine.observations import AUDIO
from detection.engine.samples import AudioSample
from detection.engine.segmentation import STRETCH_S, SpeakersMeasure
from detection.engine.sound import Samples, clean, silence, stretch

MODEL_NAME = VOICE_EMBEDDER
MIN_S = 0.5
"""Sound with less than this has no voice to speak of."""
CROP_S = 2.0
"""Sound of one voice that a session's windows are judged by: three seconds cost half as much again for little."""
MIN_VOICE_S = 1.0
"""Less of one voice is not compared."""
_LONGEST_S = 20.0
"""Of a recording, the first this many seconds are described."""
_SCALE = 127

Embedding = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class VoiceMeasure:
    """The voices of the seconds up to the end of a window.

    ``seconds``: how much of the voice heard most was looked at; under a second nothing was. ``same``: cosine between it
    and the second voice, None where there is none. ``embedding``: of the voice heard most, 256 whole numbers (another
    network's as many as it has) whose direction counts; for learners alone, never stored.
    """

    seconds: float
    same: float | None = None
    embedding: tuple[int, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-able form."""
        return {
            "seconds": round(self.seconds, 1),
            "same": None if self.same is None else round(self.same, 3),
            "embedding": list(self.embedding),
        }


class VoiceDetector:
    """Embeds voices. Keeps no state: which voice is the candidate's is for the learner ``voices`` to find out."""

    name = "voice"
    stream = AUDIO
    needs_past = True

    def __init__(self, model: Model, input_name: str = "input_features") -> None:
        """Take the network, and what its graph calls the filter banks ``(1, frames, 80)``."""
        self._model = model
        self._input_name = input_name
        self.models = (model,)

    def warm_up(self) -> None:
        """Describe two silent seconds."""
        self.embed(silence(CROP_S))

    def due(self, sample: AudioSample) -> bool:
        """Look each ``interval_s`` at where somebody speaks alone, and wherever a second voice wants checking."""
        parameters = sample.job.policy.detectors.voice
        speakers = sample.found.get("speakers")
        if not parameters.enabled or not isinstance(speakers, SpeakersMeasure):
            return False
        return sample.is_due(parameters.interval_s) or speakers.second_s >= MIN_VOICE_S

    def measure(self, samples: Sequence[AudioSample]) -> list[VoiceMeasure]:
        """Describe the voice heard most in the ten seconds up to each window's end."""
        return [self._measure(sample) for sample in samples]

    def embed(self, samples: Samples) -> Embedding | None:
        """Return a recording's voice, float32 ``(256,)``, L2-normalised; None for less than half a second of sound."""
        features = fbank(clean(samples)[: round(_LONGEST_S * SAMPLE_RATE_HZ)])
        if len(features) < MIN_S * 100:
            return None
        features -= features.mean(axis=0)
        vector = self._model.run({self._input_name: features[None]})[0][0]
        length = float(np.linalg.norm(vector))
        return (vector / length).astype(np.float32) if np.isfinite(length) and length > 0 else None

    def compare(self, first: Samples, second: Samples) -> float:
        """Return the cosine between the voices of two pieces of sound; 0 where one has no voice."""
        one, other = self.embed(first), self.embed(second)
        return 0.0 if one is None or other is None else float(np.dot(one, other))

    def _measure(self, sample: AudioSample) -> VoiceMeasure:
        speakers = sample.found["speakers"]
        assert isinstance(speakers, SpeakersMeasure)
        samples = stretch(sample.job, STRETCH_S)
        pieces = [speakers.voices.voice(samples, number, longest_s=CROP_S) for number in (0, 1)]
        main, second = (self.embed(piece) if _is_enough(piece) else None for piece in pieces)
        return VoiceMeasure(
            seconds=0.0 if main is None else len(pieces[0]) / SAMPLE_RATE_HZ,
            same=None if main is None or second is None else float(np.dot(main, second)),
            embedding=() if main is None else quantise(main),
        )


def quantise(embedding: Embedding) -> tuple[int, ...]:
    """Return an embedding as whole numbers of at most 127: a cosine changes by less than 0.01."""
    scale = _SCALE / float(np.abs(embedding).max())
    return tuple(int(value) for value in np.round(embedding * scale))


def _is_enough(piece: Samples) -> bool:
    return len(piece) >= MIN_VOICE_S * SAMPLE_RATE_HZ
