"""Whisper in other sizes, exported as Hugging Face's optimum does: an encoder and a merged decoder."""

from __future__ import annotations

from detection.engine.detectors import DetectorEntry
from detection.engine.detectors.transcript import MODEL_NAME, TranscriptDetector, Whisper
from detection.engine.weights import Weight, WeightsError, load_manifest

REQUIRED, OPTIONAL = ("decoder", "vocab", "added_tokens"), ("config",)
"""Besides the encoder. ``config`` tells how many mel bands the encoder wants, where they are not 80 (large-v3)."""


def entry(weight: Weight) -> DetectorEntry:
    """Return the transcript's entry with the Whisper of this encoder; raise ``WeightsError`` for missing parts."""
    manifest = load_manifest()
    if missing := [part for part in REQUIRED if part not in weight.parts]:
        raise WeightsError(f"{weight.name}: its parts lack {', '.join(missing)}")
    if unknown := weight.parts.keys() - {*REQUIRED, *OPTIONAL}:
        raise WeightsError(f"{weight.name}: Whisper has no part {', '.join(sorted(unknown))}")
    for part, name in weight.parts.items():
        if name not in manifest:
            raise WeightsError(f"{weight.name}, part {part}: neither weights.toml nor EXTRA_WEIGHTS has {name}")
        manifest[name].require_accepted()
    files = {"encoder": weight.name, **weight.parts}
    return DetectorEntry((MODEL_NAME,), TranscriptDetector, recogniser=Whisper(weight.name, files))
