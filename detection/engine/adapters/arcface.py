"""Face embedders of the ArcFace kind (InsightFace and others): 112 by 112 pixels, RGB, (x - 127.5) / 127.5."""

from __future__ import annotations

from detection.engine.detectors.identity import SFACE, Embedding112, FaceEmbedder
from detection.engine.likeness import similarity
from detection.engine.model import Model
from detection.engine.weights import Weight, load_manifest

OPERATING_SCORE = 0.32
"""Cosine from which two faces are one person's, where the entry gives no other: the distance of 0.68 that DeepFace
publishes for ArcFace, found on LFW. Networks differ: measure yours, and put ``operating_score`` into its options."""
_SFACE_LENGTH = 13.0
"""Of SFace's raw vectors of clear faces, which clarity is told from."""


def similarity_of(model: str, comparison_score: float, *clarities: float) -> float:
    """Return a raw cosine of the network named ``model``, SFace or one of this kind, on the calibrated scale.

    ``clarities`` of the two faces, see ``likeness``; clear where not given.
    """
    if model == SFACE.model:
        return similarity(comparison_score, *clarities)
    entry = load_manifest().get(model)
    return similarity(comparison_score, *clarities, operating=_operating_score(entry))


def _operating_score(entry: Weight | None) -> float:
    return OPERATING_SCORE if entry is None else entry.options.get("operating_score", OPERATING_SCORE)


def build(model: Model, *, weight: Weight) -> FaceEmbedder:
    """Return the embedder. Option ``usual_length``: of the network's raw vectors of clear faces."""
    usual_length = weight.options.get("usual_length", _SFACE_LENGTH)
    network = Embedding112(
        model=weight.name,
        input_name=model.input_names[0],
        mean=127.5,
        scale=127.5,
        operating_score=_operating_score(weight),
        strength_factor=_SFACE_LENGTH / usual_length,
    )
    return FaceEmbedder(model, network=network)
