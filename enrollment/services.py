"""What can be done with a candidate: enrol, look up, verify. Erasing knows all apps: ``proctor_site.erasure``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from django.db import transaction
from prometheus_client import Counter

from accounts.audit import Actor, audit_write, candidate_subject
from accounts.models import Organisation
from accounts.problems import Problem
from detection.engine.adapters.arcface import similarity_of
from enrollment.attempts import verification_attempt
from enrollment.consents import ConsentGiven, consent_record, has_consented
from enrollment.duplicates import (
    Duplicate,
    DuplicateRefusedError,
    Probe,
    duplicates_find,
    duplicates_of,
    enrolled_protect,
    search_lock,
    search_prepare,
)
from enrollment.embedding import images_embed
from enrollment.gate import combine, readings_require_good, readings_require_one_person
from enrollment.locking import candidate_ensure
from enrollment.models import Candidate, Enrollment, FaceTemplate, is_external_id
from enrollment.templates import candidate_data_key, template_load, template_store

__all__ = [
    "DuplicateRefusedError",
    "Enrolled",
    "Verified",
    "candidate_data_key",
    "candidate_enroll",
    "candidate_find",
    "candidate_verify",
    "duplicates_of",
    "enrollment_find",
    "template_load",
]

ENROLLMENTS = Counter("sdproctor_enrollments_total", "Enrolments made.", ["kind"])


@dataclass(frozen=True, slots=True)
class Enrolled:
    """An enrolment that has just been made. ``replaced``: there was a template before.

    ``duplicates``: whom the face resembles, where the organisation has that searched. Not for the candidate's eyes.
    """

    enrollment: Enrollment
    model: str
    replaced: bool
    duplicates: tuple[Duplicate, ...] = ()


@dataclass(frozen=True, slots=True)
class Verified:
    """How a probe compares with the template: ``comparison_score`` raw, ``similarity`` calibrated to 0 to 1."""

    match: bool
    similarity: float
    comparison_score: float
    threshold: float
    model: str
    quality: dict[str, float]


def candidate_find(*, organisation: Organisation, candidate_id: str) -> Candidate:
    """Return the candidate of that id; raise ``Problem`` (``candidate_unknown``) when there is none."""
    candidate = None
    if is_external_id(candidate_id):
        candidates = Candidate.objects.select_related("data_key", "face_template__enrollment__consent")
        candidate = candidates.filter(organisation=organisation, candidate_id=candidate_id).first()
    if candidate is None:
        raise Problem("candidate_unknown", f"There is no candidate '{candidate_id}'.")
    return candidate


def enrollment_find(*, organisation: Organisation, candidate_id: str) -> FaceTemplate:
    """Return the template with its enrolment and consent; raise ``candidate_unknown`` or ``not_enrolled``."""
    candidate = candidate_find(organisation=organisation, candidate_id=candidate_id)
    try:
        return candidate.face_template
    except FaceTemplate.DoesNotExist:
        raise Problem("not_enrolled", f"Candidate '{candidate_id}' has no template.") from None


def candidate_enroll(
    *,
    organisation: Organisation,
    candidate_id: str,
    images: Sequence[bytes],
    consent: ConsentGiven,
    actor: Actor,
    threshold: float,
    only_first: bool = False,
    require: Callable[[], None] | None = None,
) -> Enrolled:
    """Make the candidate's template of one to five pictures; any template before is replaced, the data key kept.

    ``threshold``: the similarity, 0 to 1, that any two of the pictures must reach. ``only_first`` refuses to replace
    (``already_enrolled``). ``require`` is asked once nobody can erase the candidate any more, and raises to refuse.

    Also raises ``Problem``: ``consent_invalid``, one of the gate's codes, ``faces_differ``,
    ``workers_unavailable``, ``erasure_running``, and ``DuplicateRefusedError`` (``duplicate_suspected``), of which the
    candidate, the consent and the suspicion stay on record.
    """
    consent.require_valid()
    consent.require_acceptable(organisation)
    known = Candidate.objects.filter(organisation=organisation, candidate_id=candidate_id).first()
    consent.require_not_withdrawn(known)
    readings = images_embed(images)
    readings_require_good(readings)
    readings_require_one_person(readings, threshold=threshold)
    probe = Probe.of(combine(readings), readings)
    search_prepare(organisation=organisation, probe=probe)
    with transaction.atomic():
        setting = search_lock(organisation)
        candidate = candidate_ensure(organisation=organisation, candidate_id=candidate_id)
        if candidate.erasures.filter(finished_at=None).exists():
            raise Problem("erasure_running")
        if require is not None:
            require()
        replaced = FaceTemplate.objects.filter(candidate=candidate).exists()
        if replaced and only_first:
            raise Problem("already_enrolled", f"Candidate '{candidate_id}' has enrolled already.")
        consented = consent_record(candidate=candidate, given=consent)
        found = duplicates_find(setting=setting, candidate=candidate, probe=probe)
        if not found.refuses:
            enrollment = Enrollment.objects.create(
                organisation=organisation,
                candidate=candidate,
                consent=consented,
                images=[reading.quality for reading in readings],
            )
            template_store(enrollment=enrollment, embedding=probe.embedding, model=probe.model)
            enrolled_protect(candidate=candidate, found=found, probe=probe)
            audit_write(
                organisation=organisation,
                actor=actor,
                action="candidate.enrolled",
                subject_type="candidate",
                subject=candidate_subject(organisation=organisation, candidate_id=candidate_id),
                details={"replaced": replaced, "consent": consent.version},
            )
    if found.refuses:
        raise DuplicateRefusedError(found.duplicates)
    ENROLLMENTS.labels("renewed" if replaced else "first").inc()
    return Enrolled(enrollment, probe.model, replaced, found.duplicates)


def candidate_verify(*, organisation: Organisation, candidate_id: str, image: bytes, threshold: float) -> Verified:
    """Compare one picture with the candidate's template, 1:1; it matches from a similarity of ``threshold`` on.

    Raises ``Problem``: ``candidate_unknown``, ``not_enrolled``, ``consent_missing``, ``verification_paused``, one of
    the gate's codes, ``workers_unavailable``.
    """
    template_row = enrollment_find(organisation=organisation, candidate_id=candidate_id)
    if not has_consented(template_row.candidate):
        raise Problem("consent_missing", f"Candidate '{candidate_id}' has withdrawn consent.")
    with verification_attempt(template_row.candidate) as attempt:
        verified = _compare(template_row, candidate_id, image, threshold)
        attempt.matched = verified.match
    return verified


def _compare(template_row: FaceTemplate, candidate_id: str, image: bytes, threshold: float) -> Verified:
    (reading,) = images_embed([image])
    readings_require_good([reading])
    template = template_load(template_row.candidate)
    if template is None or reading.embedding is None:
        raise Problem("not_enrolled", f"Candidate '{candidate_id}' has no template that can be read.")
    if reading.model != template_row.model:
        models = f"{template_row.model} made the template of '{candidate_id}', and {reading.model} runs now"
        raise Problem("not_enrolled", f"{models}: enrol again.")
    score = float(np.dot(reading.embedding, template))
    similarity = similarity_of(reading.model, score, reading.quality.get("clarity", 1.0))
    return Verified(similarity >= threshold, similarity, score, threshold, reading.model, reading.quality)
