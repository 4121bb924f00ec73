"""Compare the live face with the enrolled template: SFace 2021dec (OpenCV Zoo, Apache-2.0)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detection.engine import geometry, likeness, quality, refine
from detection.engine.batching import run_each
from detection.engine.feeds import planes
from detection.engine.model import FACE_DETECTOR, FACE_EMBEDDER, Model
from detection.engine.observations import VIDEO, Face, FaceQuality, IdentityMeasure
from detection.engine.policy import EventType, Policy
from detection.engine.samples import VideoSample

MODEL_NAME = FACE_EMBEDDER
LANDMARKER_NAME = FACE_DETECTOR
EMBEDDING_SIZE = 128

MAX_FACES = 4
"""Faces compared per frame, the largest first; who else is in the picture is MULTIPLE_PERSONS' business."""
OTHER_MODEL = "other_model"
"""Reason of a comparison that was not made: the template is another network's, so the candidate must enrol anew."""
_LOOK_AGAIN = likeness.CLEAR
"""Faces less clear than this are looked at again. Of clear photographs nearly none is, of webcam pictures poor ones."""

Image = NDArray[np.uint8]
Embedding = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Embedding112:
    """What differs among the networks that embed a face of 112 by 112 pixels, aligned by five landmarks."""

    model: str = MODEL_NAME
    """Stored with templates: those of different networks are never compared."""
    input_name: str = "data"
    mean: float = 0.0
    scale: float = 1.0
    """The network wants ``(x - mean) / scale``."""
    operating_score: float = likeness.OPERATING_SCORE
    """Cosine from which it takes two faces for one person's: 0.75 on the calibrated scale."""
    strength_factor: float = 1.0
    """Its raw vectors' lengths times this are as long as SFace's: clarity is told from those."""


SFACE = Embedding112()


def compare(
    embedding: Embedding,
    template: Embedding,
    *,
    clarity: float = 1.0,
    template_clarity: float = 1.0,
    network: Embedding112 = SFACE,
) -> IdentityMeasure:
    """Compare two L2-normalised embeddings of one network, given how clearly the faces were seen."""
    if embedding.shape != template.shape:
        raise ValueError(f"The template has shape {template.shape}, the embedding {embedding.shape}")
    score = float(np.clip(np.dot(embedding, template), -1, 1))
    found = likeness.similarity(score, clarity, template_clarity, operating=network.operating_score)
    return IdentityMeasure(comparison_score=score, similarity=found, model=network.model, clarity=clarity)


def _normalise(vector: NDArray[np.float64]) -> Embedding:
    length = float(np.linalg.norm(vector))
    if not math.isfinite(length) or length < 1e-6:
        raise ValueError("the network gave an embedding without a direction")
    return (vector / length).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """A face as the network sees it.

    ``strength``: length of its raw vector; clear faces 12 to 15, unclear below 10. ``clarity``: how much of its
    likeness it has kept, see ``likeness``.
    """

    embedding: Embedding
    strength: float
    clarity: float
    quality: FaceQuality


class FaceEmbedder:
    """Turns faces into embeddings and compares them with the candidate's template."""

    name = "identity"
    stream = VIDEO

    def __init__(self, model: Model, landmarker: Model | None = None, network: Embedding112 = SFACE) -> None:
        """Take the network, and YuNet to settle the landmarks of unclear faces with; without it they get one look."""
        self._model = model
        self._landmarker = landmarker
        self._network = network
        self.models = (model,) if landmarker is None else (model, landmarker)
        self.model_name = network.model

    def embed(self, image: Image, face: Face) -> Embedding:
        """Return the face's embedding, float32, ``(128,)`` of SFace, L2-normalised. ``image`` shows the face."""
        return self.probe([(image, face)])[0].embedding

    def probe(self, faces: Sequence[tuple[Image, Face]]) -> list[Probe]:
        """Embed faces of any pictures together and measure how clear they are; look again at unclear ones.

        A clear face costs one run of the network. Below ``_LOOK_AGAIN`` it is cut out anew by settled landmarks,
        smoothed, and embedded as it is and mirrored: six small runs of YuNet and two more of SFace.
        """
        aligned = [geometry.align(image, face.landmarks) for image, face in faces]
        probes = [
            self._probe([vector], crop, face)
            for vector, crop, (_, face) in zip(self._vectors(aligned), aligned, faces, strict=True)
        ]
        if self._landmarker is None:
            return probes
        unclear = [index for index, probe in enumerate(probes) if probe.clarity < _LOOK_AGAIN]
        again = self._look_again([faces[index] for index in unclear], self._landmarker)
        for index, probe in zip(unclear, again, strict=True):
            probes[index] = probe
        return probes

    def _look_again(self, faces: Sequence[tuple[Image, Face]], landmarker: Model) -> list[Probe]:
        """Embed unclear faces with more effort. The mean of both embeddings is nearer to the clear face's than either.

        On 719 simulated poor pictures, one in a thousand strangers as the limit, 26 % of the person's own were missed
        by the plain embedding, 18 % with settled landmarks, 14 % smoothed as well, 13 % mirrored as well.
        """
        settled = [
            dataclasses.replace(face, landmarks=landmarks)
            for (_, face), landmarks in zip(faces, refine.settle(landmarker, faces), strict=True)
        ]
        aligned = [geometry.align(image, face.landmarks) for (image, _), face in zip(faces, settled, strict=True)]
        smooth = [refine.smooth(crop, 9, 3.0) for crop in aligned]
        vectors = self._vectors([*smooth, *(np.ascontiguousarray(crop[:, ::-1]) for crop in smooth)])
        return [
            self._probe([vectors[index], vectors[index + len(faces)]], aligned[index], face)
            for index, face in enumerate(settled)
        ]

    def _probe(self, vectors: Sequence[NDArray[np.float64]], aligned: Image, face: Face) -> Probe:
        """Make one probe of a face's raw vectors."""
        strength = float(np.mean([np.linalg.norm(vector) for vector in vectors])) * self._network.strength_factor
        embedding = _normalise(np.sum([_normalise(vector) for vector in vectors], axis=0, dtype=np.float64))
        seen = quality.measure_aligned(aligned, face)
        clarity = likeness.clarity(strength)
        return Probe(embedding, strength, clarity, dataclasses.replace(seen, clarity=clarity))

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
        template = sample.job.template
        assert template is not None
        if not probes:
            return IdentityMeasure(0.0, 0.0, decided=False, reason=OTHER_MODEL, model=self._network.model)
        return self.judge(probes, template, sample.job.policy)

    def judge(
        self,
        probes: Sequence[Probe],
        template: Embedding,
        policy: Policy,
        *,
        template_clarity: float = 1.0,
    ) -> IdentityMeasure:
        """Do what ``judge_probes`` does, with this detector's network."""
        return judge_probes(probes, template, policy, network=self._network, template_clarity=template_clarity)

    def _vectors(self, aligned: Sequence[Image]) -> list[NDArray[np.float64]]:
        outputs = run_each(self._model, self._network.input_name, [self._feed(crop) for crop in aligned])
        return [output[0][0].astype(np.float64) for output in outputs]

    def _feed(self, crop: Image) -> NDArray[np.float32]:
        feed = planes(crop, rgb=True)
        if self._network.scale != 1.0 or self._network.mean != 0.0:
            feed = (feed - np.float32(self._network.mean)) / np.float32(self._network.scale)
        return feed


def judge_probes(
    probes: Sequence[Probe],
    template: Embedding,
    policy: Policy,
    *,
    template_clarity: float = 1.0,
    network: Embedding112 = SFACE,
) -> IdentityMeasure:
    """Compare the faces of one picture, at least one, with a template: what the picture says about the candidate.

    ``template_clarity``: of the face enrolled with. What passed the gate of enrolment is clear.
    """
    measures = []
    for probe in probes:
        measure = compare(
            probe.embedding, template, clarity=probe.clarity, template_clarity=template_clarity, network=network
        )
        reason = doubt(probe, measure.similarity, policy, template_clarity=template_clarity)
        measures.append(
            dataclasses.replace(
                measure,
                decided=not reason,
                reason=reason,
                quality=probe.quality,
                strength=probe.strength,
                mismatch_below=_mismatch_below(probe.clarity, policy, template_clarity),
            )
        )
    return best(measures, policy)


def doubt(probe: Probe, found: float, policy: Policy, *, template_clarity: float = 1.0) -> str:
    """Return why a probe whose similarity is ``found`` decides nothing; "" if it does.

    A match needs no good picture: strangers do not reach the threshold in poor ones either. A mismatch does. Reasons:
    ``face_too_small``, ``dark``, ``turned``, ``blurred`` (whatever makes a face unclear).
    """
    parameters = policy.detectors.identity
    if found >= policy.rules[EventType.FACE_MISMATCH].enter:
        return "" if max(probe.clarity, template_clarity) >= parameters.least_clarity else "blurred"
    seen = probe.quality
    if seen.width_px < parameters.min_face_px:
        return "face_too_small"
    if seen.brightness < parameters.min_brightness or seen.contrast < parameters.min_contrast:
        return "dark"
    if max(abs(seen.yaw_deg), abs(seen.pitch_deg)) > parameters.max_turn_deg:
        return "turned"
    if min(probe.clarity, template_clarity) < parameters.least_clarity:
        return "blurred"
    return "" if found < _mismatch_below(probe.clarity, policy, template_clarity) else "blurred"


def _mismatch_below(clarity: float, policy: Policy, template_clarity: float) -> float:
    threshold = policy.rules[EventType.FACE_MISMATCH].enter
    clear = policy.detectors.identity.clear_from
    return likeness.mismatch_similarity(threshold, clarity, template_clarity, clear=clear)


def best(measures: Sequence[IdentityMeasure], policy: Policy) -> IdentityMeasure:
    """Choose which face speaks for a frame: the candidate is there if any face is theirs.

    A mismatch is only decided when every face was clear: the unclear one may be the candidate.
    """
    decided = [measure for measure in measures if measure.decided]
    closest = max(decided or measures, key=lambda measure: measure.comparison_score)
    if len(decided) == len(measures) or closest.similarity >= policy.rules[EventType.FACE_MISMATCH].enter:
        return closest
    return max((measure for measure in measures if not measure.decided), key=lambda measure: measure.comparison_score)
