"""Networks that describe a voice from Kaldi's filter banks (WeSpeaker's ResNets and others): any length of vector."""

from __future__ import annotations

from detection.engine.detectors.voice import VoiceDetector
from detection.engine.model import Model
from detection.engine.weights import Weight


def build(model: Model, *, weight: Weight) -> VoiceDetector:
    """Return the detector."""
    return VoiceDetector(model, input_name=model.input_names[0])
