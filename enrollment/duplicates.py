"""One face under two candidate ids: searched at enrolment where the organisation wants it, decided on by people."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
from django.db.models import Q
from django.utils import timezone
from numpy.typing import NDArray
from prometheus_client import Counter

from accounts.keys import SealError
from accounts.models import Organisation
from accounts.problems import Problem
from detection.engine.adapters.arcface import similarity_of
from enrollment.embedding import ImageReading
from enrollment.galleries import (
    Neighbour,
    candidate_protect,
    gallery_current,
    gallery_ensure,
    neighbours,
    templates_protect,
)
from enrollment.models import Candidate, DuplicateSearch, DuplicateSuspicion, Gallery
from enrollment.templates import template_load

logger = logging.getLogger(__name__)

AGREEMENT: Final = 1e-4
"""How far the cosine of two protected templates may be from that of the sealed ones before a row is not the one it
says; rounding to float32 takes a thousandth of that."""

DUPLICATES = Counter(
    "sdproctor_duplicates_suspected_total", "Enrolments whose face another candidate has, by outcome.", ["outcome"]
)
MENDED = Counter("sdproctor_protected_templates_mended_total", "Protected templates that were not their candidate's.")


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A suspicion as one of its two candidates' platform is told: ``candidate_id`` is the other's."""

    candidate_id: str
    similarity: float
    comparison_score: float
    noticed_at: datetime
    decision: str


class DuplicateRefusedError(Problem):
    """An enrolment that the organisation's setting refuses.

    It does not say whom the face resembles: the candidate may be reading. ``duplicates`` do.
    """

    def __init__(self, duplicates: Sequence[Duplicate]) -> None:
        super().__init__("duplicate_suspected", "The face resembles another candidate's: a person has to decide.")
        self.duplicates = tuple(duplicates)


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """The face that is being enrolled: float32 embedding, L2-normalised, and the clarity of its clearest picture."""

    embedding: NDArray[np.float32]
    model: str
    clarity: float

    @classmethod
    def of(cls, embedding: NDArray[np.float32], readings: Sequence[ImageReading]) -> Probe:
        """Make the probe of the pictures that ``embedding`` was combined from."""
        return cls(embedding, readings[0].model, _clarity([reading.quality for reading in readings]))


@dataclass(frozen=True, slots=True)
class Found:
    """What a search has found. ``gallery``: where the candidate's own template belongs, None where nobody searches."""

    gallery: Gallery | None = None
    duplicates: tuple[Duplicate, ...] = ()
    refuses: bool = False


def search_prepare(*, organisation: Organisation, probe: Probe) -> None:
    """Make what a search needs, before the transaction that enrols; nothing where the organisation does not search."""
    if DuplicateSearch.objects.active().filter(organisation=organisation).exists():
        gallery_ensure(organisation=organisation, model=probe.model, dimensions=probe.embedding.size)


def search_lock(organisation: Organisation) -> DuplicateSearch | None:
    """Return the organisation's setting, None where it does not search, and hold it until the transaction ends.

    Before any candidate's row is locked. Of two enrolments of one face at the same moment the second then finds the
    first, and nobody who is being erased is found.
    """
    setting = DuplicateSearch.objects.select_for_update(no_key=True).filter(organisation=organisation).first()
    return None if setting is None or setting.mode == DuplicateSearch.Mode.OFF else setting


def duplicates_find(*, setting: DuplicateSearch | None, candidate: Candidate, probe: Probe) -> Found:
    """Search the organisation's templates for the face, and record whom it resembles; ``setting`` is ``search_lock``'s.

    Raises ``SealError`` when the search key does not open.
    """
    if setting is None:
        return Found()
    gallery = gallery_current(organisation=candidate.organisation, model=probe.model)
    if gallery is None:
        raise Problem("database_unavailable", "The search of duplicates was switched on just now.", retry_after_s=1)
    hits = _hits(candidate, probe, setting.similarity_from)
    suspicions = [found for hit in hits if (found := _record(candidate, hit, probe.model)) is not None]
    refuses = bool(suspicions) and setting.mode == DuplicateSearch.Mode.REFUSE
    if suspicions:
        DUPLICATES.labels("refused" if refuses else "reported").inc()
    return Found(gallery, tuple(duplicates_told(candidate, suspicions)), refuses)


def enrolled_protect(*, candidate: Candidate, found: Found, probe: Probe) -> None:
    """Make the candidate's protected template, where the organisation searches."""
    if found.gallery is not None:
        candidate_protect(candidate, gallery=found.gallery, embedding=probe.embedding)


def duplicates_of(candidate: Candidate) -> list[Duplicate]:
    """Return whom the candidate resembles and nobody took for another person, the newest first."""
    about = DuplicateSuspicion.objects.filter(Q(candidate=candidate) | Q(other=candidate))
    kept = about.exclude(decision=DuplicateSuspicion.Decision.DIFFERENT).select_related("candidate", "other")
    return duplicates_told(candidate, kept.order_by("-noticed_at", "-pk"))


def duplicates_told(candidate: Candidate, suspicions: Iterable[DuplicateSuspicion]) -> list[Duplicate]:
    """Return suspicions about ``candidate`` in the form for its platform."""
    return [
        Duplicate(
            (found.other if found.candidate_id == candidate.pk else found.candidate).candidate_id,
            found.similarity,
            found.comparison_score,
            found.noticed_at,
            found.decision,
        )
        for found in suspicions
    ]


# --- Hits -------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class _Hit:
    other: Candidate
    score: float
    similarity: float


def _hits(candidate: Candidate, probe: Probe, similarity_from: float) -> list[_Hit]:
    """Return who is alike, by their sealed templates: those cannot be moved to another row."""
    near = neighbours(organisation=candidate.organisation, model=probe.model, probe=probe.embedding)
    enrolled = Candidate.objects.select_related("organisation", "data_key", "face_template__enrollment")
    others = enrolled.filter(face_template__isnull=False).in_bulk(
        [neighbour.candidate_pk for neighbour in near if neighbour.candidate_pk != candidate.pk]
    )
    found = []
    for neighbour in near:
        other = others.get(neighbour.candidate_pk)
        if other is None or _similarity(probe, other, neighbour.score) < similarity_from:
            continue
        score = _sealed_score(other, neighbour, probe)
        if score is not None and (similarity := _similarity(probe, other, score)) >= similarity_from:
            found.append(_Hit(other, score, similarity))
    return found


def _similarity(probe: Probe, other: Candidate, score: float) -> float:
    return similarity_of(probe.model, score, probe.clarity, _clarity(other.face_template.enrollment.images))


def _clarity(qualities: Sequence[dict[str, Any]]) -> float:
    return max((quality.get("clarity", 1.0) for quality in qualities), default=1.0)


def _sealed_score(other: Candidate, neighbour: Neighbour, probe: Probe) -> float | None:
    """Return the cosine with the sealed template; None, and mend the protected one, where that was not of this face."""
    try:
        template = template_load(other)
    except SealError:
        logger.exception("The template of the candidate in row %s does not open.", other.pk)
        return None
    if template is None or template.shape != probe.embedding.shape:
        return None
    score = float(np.dot(template.astype(np.float64), probe.embedding.astype(np.float64)))
    if abs(score - neighbour.score) > AGREEMENT:
        MENDED.inc()
        logger.error("The protected template of the candidate in row %s was not theirs and is made anew.", other.pk)
        gallery = gallery_current(organisation=other.organisation, model=probe.model)
        if gallery is not None:
            templates_protect(gallery, {other.pk: template})
    return score


def _record(candidate: Candidate, hit: _Hit, model: str) -> DuplicateSuspicion | None:
    """Record a hit, once per pair; None where a person has said that these are two people."""
    between = Q(candidate=candidate, other=hit.other) | Q(candidate=hit.other, other=candidate)
    known = DuplicateSuspicion.objects.select_for_update(no_key=True).filter(between).first()
    if known is not None and known.decision == DuplicateSuspicion.Decision.DIFFERENT:
        return None
    suspicion = known or DuplicateSuspicion(
        organisation_id=candidate.organisation_id, candidate=candidate, other=hit.other
    )
    suspicion.model, suspicion.noticed_at = model, timezone.now()
    suspicion.similarity, suspicion.comparison_score = hit.similarity, hit.score
    suspicion.save()
    return suspicion
