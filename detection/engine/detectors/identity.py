"""Compare the live face with the enrolled template: SFace 2021dec (OpenCV Zoo, Apache-2.0)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detection.engine import geometry, quality
from detection.engine.model import FACE_EMBEDDER, Model
from detection.engine.observations import VIDEO, Face, FaceQuality, IdentityMeasure
from detection.engine.policy import EventType, Policy
from detection.engine.samples import VideoSample

MODEL_NAME = FACE_EMBEDDER
EMBEDDING_SIZE = 128

OPERATING_SCORE = 0.363
"""Cosine from which OpenCV calls two faces one person: the threshold of SFace's published 99.4 % on LFW."""
OPERATING_SIMILARITY = 0.75
"""What that is on the calibrated scale: the default of FACE_MATCH_THRESHOLD."""
_UNRELATED_SCORE, _UNRELATED_SIMILARITY = 0.0, 0.02
"""Strangers' embeddings stand at right angles on average."""

MAX_FACES = 4
"""Faces compared per frame, the largest first; who else is in the picture is MULTIPLE_PERSONS' business."""
_MAX_BATCH = 32

OTHER_MODEL = "other_model"
"""Reason of a comparison that was not made: the template is another network's, so the candidate must enrol anew."""

Image = NDArray[np.uint8]
Embedding = NDArray[np.float32]


def _logit(share: float) -> float:
    return math.log(share / (1 - share))


_SLOPE = (_logit(OPERATING_SIMILARITY) - _logit(_UNRELATED_SIMILARITY)) / (OPERATING_SCORE - _UNRELATED_SCORE)
_OFFSET = _logit(_UNRELATED_SIMILARITY) - _SLOPE * _UNRELATED_SCORE


def similarity(comparison_score: float, *, operating_score: float = OPERATING_SCORE) -> float:
    """Return a raw cosine on the calibrated scale from 0 to 1; of SFace, where no other ``operating_score`` is given.

    A logistic curve, ``1 / (1 + exp(-(13.75 x score - 3.89)))``, laid through two points: the published operating
    threshold (0.363) is 0.75, and what strangers have on average (0) is 0.02. Photographs of one person taken years
    apart (0.60 to 0.77) come to 0.99, the closest strangers seen (0.25 to 0.32) to 0.38 to 0.63. It orders comparisons
    exactly as the cosine does and is no probability that the person is the right one: that depends on how many
    impostors there are.
    """
    score = comparison_score * OPERATING_SCORE / operating_score
    return 1 / (1 + math.exp(-(_SLOPE * score + _OFFSET)))


def compare(
    embedding: Embedding, template: Embedding, *, operating_score: float = OPERATING_SCORE, model: str = MODEL_NAME
) -> IdentityMeasure:
    """Compare two L2-normalised embeddings of one network. The probe's quality is not looked at."""
    if embedding.shape != template.shape:
        raise ValueError(f"The template has shape {template.shape}, the embedding {embedding.shape}")
    score = float(np.clip(np.dot(embedding, template), -1, 1))
    return IdentityMeasure(
        comparison_score=score, similarity=similarity(score, operating_score=operating_score), model=model
    )


def _normalise(vector: NDArray[np.float64]) -> Embedding:
    length = float(np.linalg.norm(vector))
    if not math.isfinite(length) or length < 1e-6:
        raise ValueError("the network gave an embedding without a direction")
    return (vector / length).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """A face as the network sees it. ``strength``: length of its raw vector; clear faces 12 to 15, unclear below 10."""

    embedding: Embedding
    strength: float
    quality: FaceQuality


@dataclass(frozen=True, slots=True)
class Embedding112:
    """What differs among the networks that embed a face of 112 by 112 pixels, aligned by five landmarks."""

    model: str = MODEL_NAME
    """Stored with templates: those of different networks are never compared."""
    input_name: str = "data"
    mean: float = 0.0
    scale: float = 1.0
    """The network wants ``(x - mean) / scale``."""
    operating_score: float = OPERATING_SCORE
    """Cosine from which it takes two faces for one person's: 0.75 on the calibrated scale."""
    strength_factor: float = 1.0
    """Its raw vectors' lengths times this are as long as SFace's: the policy's limits are in those."""


SFACE = Embedding112()


class FaceEmbedder:
    """Turns faces into embeddings and compares them with the candidate's template."""

    name = "identity"
    stream = VIDEO

    def __init__(self, model: Model, network: Embedding112 = SFACE) -> None:
        self._model = model
        self._network = network
        self.models = (model,)
        self.model_name = network.model

    def embed(self, image: Image, face: Face) -> Embedding:
        """Return the face's embedding, float32, ``(128,)`` of SFace, L2-normalised. ``image`` shows the face."""
        return self.probe([(image, face)])[0].embedding

    def probe(self, faces: Sequence[tuple[Image, Face]]) -> list[Probe]:
        """Embed faces of any pictures together and measure how clear they are."""
        aligned = [geometry.align(image, face.landmarks) for image, face in faces]
        vectors = self._vectors(aligned)
        factor = self._network.strength_factor
        return [
            Probe(_normalise(vector), float(np.linalg.norm(vector)) * factor, quality.measure_aligned(crop, face))
            for vector, crop, (_, face) in zip(vectors, aligned, faces, strict=True)
        ]

    def due(self, sample: VideoSample) -> bool:
        """Compare each ``interval_s``, in doubt every frame; if somebody is enrolled and somebody is visible."""
        parameters = sample.job.policy.detectors.identity
        if not parameters.enabled or sample.job.template is None or not sample.faces:
            return False
        return sample.job.attentive or sample.is_due(parameters.interval_s)

    def measure(self, samples: Sequence[VideoSample]) -> list[IdentityMeasure]:
        """Compare each frame's faces with its candidate's template; the best match speaks for the frame."""
        chosen = [sample.faces[:MAX_FACES] if self._knows(sample) else () for sample in samples]
        probes = iter(
            self.probe(
                [
                    (sample.job.frame.image, face)
                    for sample, faces in zip(samples, chosen, strict=True)
                    for face in faces
                ]
            )
        )
        return [
            self._of_frame(sample, [next(probes) for _ in faces]) for sample, faces in zip(samples, chosen, strict=True)
        ]

    def _knows(self, sample: VideoSample) -> bool:
        return sample.job.template_model == self._network.model

    def _of_frame(self, sample: VideoSample, probes: Sequence[Probe]) -> IdentityMeasure:
        assert sample.job.template is not None
        if not probes:
            return IdentityMeasure(0.0, 0.0, decided=False, reason=OTHER_MODEL, model=self._network.model)
        return self.judge(probes, sample.job.template, sample.job.policy)

    def judge(self, probes: Sequence[Probe], template: Embedding, policy: Policy) -> IdentityMeasure:
        """Compare the faces of one picture, at least one, with a template: what it says about the candidate."""
        network = self._network
        compared = [
            compare(probe.embedding, template, operating_score=network.operating_score, model=network.model)
            for probe in probes
        ]
        return best([_judge(*pair, policy) for pair in zip(probes, compared, strict=True)], policy)

    def _vectors(self, aligned: Sequence[Image]) -> list[NDArray[np.float64]]:
        size = _MAX_BATCH if self._model.batches else 1
        vectors: list[NDArray[np.float64]] = []
        for start in range(0, len(aligned), size):
            crops = np.stack(aligned[start : start + size])
            feed = np.ascontiguousarray(crops[..., ::-1].transpose(0, 3, 1, 2), dtype=np.float32)  # RGB, channels first
            if self._network.scale != 1.0 or self._network.mean != 0.0:
                feed = (feed - np.float32(self._network.mean)) / np.float32(self._network.scale)
            vectors += list(self._model.run({self._network.input_name: feed})[0].astype(np.float64))
        return vectors


def _judge(probe: Probe, measure: IdentityMeasure, policy: Policy) -> IdentityMeasure:
    reason = doubt(probe, measure.similarity, policy)
    return dataclasses.replace(
        measure, decided=not reason, reason=reason, quality=probe.quality, strength=probe.strength
    )


def doubt(probe: Probe, found: float, policy: Policy) -> str:
    """Return why a probe whose similarity is ``found`` decides nothing; "" if it does.

    Reasons: ``face_too_small``, ``dark``, ``turned``, ``blurred`` (whatever makes a face unclear).
    """
    parameters = policy.detectors.identity
    seen = probe.quality
    if seen.width_px < parameters.min_face_px:
        return "face_too_small"
    if seen.brightness < parameters.min_brightness or seen.contrast < parameters.min_contrast:
        return "dark"
    if max(abs(seen.yaw_deg), abs(seen.pitch_deg)) > parameters.max_turn_deg:
        return "turned"
    clarity = probe.strength * math.sqrt(seen.sharpness)
    if clarity < parameters.min_clarity or probe.strength < parameters.min_strength:
        return "blurred"
    is_clear = clarity >= parameters.clear_clarity and probe.strength >= parameters.clear_strength
    threshold = policy.rules[EventType.FACE_MISMATCH].enter
    return "" if is_clear or not parameters.unclear_mismatch <= found < threshold else "blurred"


def best(measures: Sequence[IdentityMeasure], policy: Policy) -> IdentityMeasure:
    """Choose which face speaks for a frame: the candidate is there if any face is theirs.

    A mismatch is only decided when every face was clear: the unclear one may be the candidate.
    """
    decided = [measure for measure in measures if measure.decided]
    closest = max(decided or measures, key=lambda measure: measure.comparison_score)
    if len(decided) == len(measures) or closest.similarity >= policy.rules[EventType.FACE_MISMATCH].enter:
        return closest
    return max((measure for measure in measures if not measure.decided), key=lambda measure: measure.comparison_score)
