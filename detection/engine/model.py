"""What a loaded network looks like to a detector, and the names of those in use. Free of ONNX Runtime and LiteRT."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

FACE_DETECTOR = "yunet-2023mar"
FACE_EMBEDDER = "sface-2021dec"
VOICE_DETECTOR = "silero-vad-16k"
FACE_LANDMARKER = "face-landmarker"
LIVENESS = "minifasnet-2.7"
OBJECT_DETECTOR = "efficientdet-lite2"
BODY_LANDMARKER = "pose-landmarker-lite"
VOICE_SEGMENTER = "segmentation-3.0"
VOICE_EMBEDDER = "wespeaker-resnet34"
SPEECH_RECOGNISER = "whisper-base"


class Model(Protocol):
    """A loaded network. Tests inject fakes of this."""

    name: str
    provider: str
    """Where it actually runs: ``CPUExecutionProvider``, ``CUDAExecutionProvider`` or ``LiteRT``."""
    batches: bool
    """Whether several inputs in one run are cheaper than one after the other: on a GPU."""
    mean_ms: float
    """Recent mean of milliseconds per run; 0 before the first."""

    input_names: list[str]
    """The graph's inputs, in its order."""

    def run(self, feeds: Mapping[str, Array]) -> list[Array]:
        """Run once: input name → array in, outputs out, in the graph's order."""
        ...


@dataclass(frozen=True, slots=True)
class Heard:
    """What was said, and in which language (Whisper's code, mostly ISO 639-1); empty text where nothing was."""

    text: str
    language: str


class Recogniser(Protocol):
    """What turns speech into text. Tests inject fakes of this."""

    models: tuple[Model, ...]
    """For health and metrics."""

    def hear(self, samples: NDArray[np.float32]) -> Heard:
        """Write down up to 30 s of sound, float32 mono at 16 kHz."""
        ...
