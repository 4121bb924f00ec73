"""Rows for tests, made as the services make them; every factory takes what the test is about and invents the rest."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from django.contrib.auth.models import Permission
from django.utils import timezone
from numpy.typing import NDArray

from accounts.api_keys import api_key_create
from accounts.models import APIKey, Organisation, Scope, User
from enrollment.models import Candidate, Consent, Enrollment, FaceTemplate
from enrollment.templates import template_store
from sessions.models import Exam, ExamSession, MediaGap, Policy
from sessions.services import session_start

MODEL = "sface-2021dec"
QUALITY = {
    "width_px": 160.0,
    "sharpness": 0.03,
    "brightness": 128.0,
    "contrast": 40.0,
    "yaw_deg": 2.0,
    "pitch_deg": -1.0,
}
_numbers = itertools.count(1)


def number() -> int:
    """Return a number not returned before in this process."""
    return next(_numbers)


def make_organisation(slug: str | None = None) -> Organisation:
    """Return the organisation named ``slug``, or a new one."""
    slug = slug or f"org-{number()}"
    return Organisation.objects.get_or_create(slug=slug, defaults={"name": slug.title()})[0]


def make_api_key(
    organisation: Organisation | None = None, *, scopes: list[str] | None = None, **fields: Any
) -> tuple[APIKey, str]:
    """Return a new API key and its raw form."""
    key, raw = api_key_create(
        organisation=organisation or make_organisation(),
        name=f"key {number()}",
        scopes=Scope.values if scopes is None else scopes,
    )
    for name, value in fields.items():
        setattr(key, name, value)
    key.save()
    return key, raw


def make_user(
    organisation: Organisation | None = None,
    *,
    staff: bool = True,
    superuser: bool = False,
    permissions: list[str] | None = None,
    password: str | None = None,
) -> User:
    """Return a person, to be signed in by ``force_login``; ``permissions`` are codenames: ``view_examsession``."""
    user = User.objects.create_user(
        username=f"user{number()}",
        password=password,  # hashing one takes a third of a second
        organisation=organisation or make_organisation(),
        is_staff=staff,
        is_superuser=superuser,
    )
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions or []))
    return user


def make_embedding(seed: int = 1) -> NDArray[np.float32]:
    """Return a unit vector, float32 ``(128,)``; different seeds give nearly orthogonal ones."""
    vector = np.random.default_rng(seed).normal(size=128)
    return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)


def make_candidate(organisation: Organisation | None = None, candidate_id: str | None = None) -> Candidate:
    """Return a candidate who has not enrolled."""
    return Candidate.objects.create(
        organisation=organisation or make_organisation(), candidate_id=candidate_id or f"candidate-{number()}"
    )


def make_consent(candidate: Candidate, **fields: Any) -> Consent:
    """Return consent given a minute ago."""
    values = {"version": "2026-01", "locale": "en", "given_at": timezone.now() - timedelta(minutes=1)}
    return Consent.objects.create(organisation=candidate.organisation, candidate=candidate, **(values | fields))


def make_template(candidate: Candidate, embedding: NDArray[np.float32] | None = None) -> FaceTemplate:
    """Enrol a candidate without pictures: consent, enrolment and sealed template."""
    enrollment = Enrollment.objects.create(
        organisation=candidate.organisation, candidate=candidate, consent=make_consent(candidate), images=[QUALITY]
    )
    return template_store(
        enrollment=enrollment, embedding=make_embedding() if embedding is None else embedding, model=MODEL
    )


def make_enrolled_candidate(
    organisation: Organisation | None = None,
    candidate_id: str | None = None,
    *,
    embedding: NDArray[np.float32] | None = None,
) -> Candidate:
    """Return a candidate with a template."""
    candidate = make_candidate(organisation, candidate_id)
    make_template(candidate, embedding)
    return Candidate.objects.get(pk=candidate.pk)


def make_policy(organisation: Organisation, name: str | None = None, **fields: Any) -> Policy:
    """Return a policy with the defaults of the engine."""
    return Policy.objects.create(organisation=organisation, name=name or f"policy {number()}", **fields)


def make_exam(organisation: Organisation | None = None, exam_id: str | None = None, **fields: Any) -> Exam:
    """Return an exam under the default policy."""
    return Exam.objects.create(
        organisation=organisation or make_organisation(), exam_id=exam_id or f"exam-{number()}", **fields
    )


def make_session(
    organisation: Organisation | None = None,
    *,
    candidate: Candidate | None = None,
    session_id: str | None = None,
    exam_id: str | None = None,
    overrides: dict[str, Any] | None = None,
    **fields: Any,
) -> ExamSession:
    """Return a session started by the service, of an enrolled candidate; ``fields`` are set on the row afterwards."""
    organisation = candidate.organisation if candidate else organisation or make_organisation()
    candidate = candidate or make_enrolled_candidate(organisation)
    session = session_start(
        organisation=organisation,
        candidate_id=candidate.candidate_id,
        session_id=session_id,
        exam_id=exam_id,
        overrides=overrides,
    )
    for name, value in fields.items():
        setattr(session, name, value)
    if fields:
        session.save()
    return session


def make_gap(
    session: ExamSession, *, started_at: datetime | None = None, seconds: float = 2.0, **fields: Any
) -> MediaGap:
    """Return a stretch of media that nobody looked at."""
    started_at = started_at or timezone.now()
    values = {"stream": "video", "skipped": 4, "reason": "overload"} | fields
    return MediaGap.objects.create(
        organisation=session.organisation,
        session=session,
        started_at=started_at,
        ended_at=started_at + timedelta(seconds=seconds),
        **values,
    )
