"""What can be done with a session: start, follow, end."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from django.db import IntegrityError, transaction
from django.db.models import Value
from django.db.models.functions import Coalesce
from django.utils import timezone
from prometheus_client import Counter

from accounts.audit import Actor, audit_write
from accounts.models import AuditEntry, Organisation
from accounts.problems import Problem
from enrollment.consents import ConsentGiven, has_consented
from enrollment.models import Candidate, FaceTemplate
from enrollment.services import Enrolled, candidate_enroll
from sessions.announce import session_end_announce
from sessions.biometrics import is_biometric
from sessions.models import Exam, ExamSession
from sessions.policies import accommodations_merge, candidate_locked, candidate_made, match_threshold, policy_snapshot

PLANNED: Final = timedelta(minutes=180)
"""How long a session is planned to last when the platform does not say."""

SESSIONS_STARTED = Counter("sdproctor_sessions_started_total", "Sessions started.")
SESSIONS_ENDED = Counter("sdproctor_sessions_ended_total", "Sessions ended, by reason.", ["reason"])

State = ExamSession.State
_BEFORE: Final[dict[str, tuple[str, ...]]] = {
    State.LIVE: (State.CREATED, State.INTERRUPTED),
    State.INTERRUPTED: (State.LIVE,),
}
"""From which states each state may be reached by what happens to the media. Nothing leaves ``ended``."""


def session_start(
    *,
    organisation: Organisation,
    candidate_id: str,
    exam_id: str | None = None,
    session_id: str | None = None,
    planned_end_at: datetime | None = None,
    overrides: dict[str, Any] | None = None,
    accommodations: dict[str, Any] | None = None,
    enroll_on_join: bool = False,
    actor: Actor | None = None,
) -> ExamSession:
    """Start a session for a candidate; the exam is made when it is named for the first time.

    ``accommodations``: for this session, on top of those that the candidate has anyway; ``actor``: whoever wants it,
    for the audit log.

    Raises ``Problem``: ``candidate_unknown`` or ``candidate_not_enrolled`` (neither with ``enroll_on_join``, nor under
    a policy without biometrics), ``consent_missing``, ``erasure_running``, ``policy_invalid``, ``session_exists``.
    """
    with transaction.atomic():
        known = candidate_locked(organisation=organisation, candidate_id=candidate_id)
        exam = _exam(organisation, exam_id)
        granted = accommodations_merge(known.accommodations if known else {}, accommodations or {})
        snapshot = policy_snapshot(organisation=organisation, exam=exam, overrides=overrides, accommodations=granted)
        biometric = is_biometric(snapshot.document)
        candidate = _candidate(organisation, candidate_id, known, biometric=biometric, enroll_on_join=enroll_on_join)
        own_id = uuid.uuid4()
        session = ExamSession(
            id=own_id,
            organisation=organisation,
            session_id=session_id or str(own_id),
            candidate=candidate,
            exam=exam,
            policy_source=snapshot.source,
            own_weights=snapshot.own_weights,
            policy_name=snapshot.name,
            policy_version=snapshot.version,
            policy=snapshot.document,
            accommodations=granted,
            enroll_on_join=enroll_on_join,
            planned_end_at=planned_end_at or timezone.now() + PLANNED,
        )
        _insert(session)
        if actor is not None:
            _note(session, actor, "session.started", {"policy": snapshot.name, "biometric": biometric})
    SESSIONS_STARTED.inc()
    return session


def _insert(session: ExamSession) -> None:
    try:
        with transaction.atomic():
            session.save(force_insert=True)
    except IntegrityError as error:
        raise Problem(
            "session_exists", f"There is a session '{session.session_id}' already.", session_id=session.session_id
        ) from error


def _candidate(
    organisation: Organisation, candidate_id: str, known: Candidate | None, *, biometric: bool, enroll_on_join: bool
) -> Candidate:
    """Return who is to be watched; whoever is not compared with anything need not be known before."""
    if known is None and (enroll_on_join or not biometric):
        return candidate_made(organisation=organisation, candidate_id=candidate_id)
    if known is None:
        raise Problem("candidate_unknown", f"There is no candidate '{candidate_id}'.")
    enrolled = FaceTemplate.objects.filter(candidate=known).exists()
    if biometric and not enrolled and not enroll_on_join:
        raise Problem("candidate_not_enrolled", f"Candidate '{candidate_id}' has no template: enrol first.")
    if biometric and enrolled and not has_consented(known):
        raise Problem(
            "consent_missing",
            f"Candidate '{candidate_id}' has withdrawn consent: enrol anew, or watch without biometrics.",
        )
    return known


def _exam(organisation: Organisation, exam_id: str | None) -> Exam | None:
    if exam_id is None:
        return None
    exam, _ = Exam.objects.select_related("policy").get_or_create(organisation=organisation, exam_id=exam_id)
    return exam


def session_end(
    *, session: ExamSession, reason: str, at: datetime | None = None, actor: Actor | None = None
) -> ExamSession:
    """End ``session`` at ``at`` (now), tell gateways and workers, and return it as it is now.

    ``reason`` is a word for the record, such as ``requested`` or ``overdue``; ``actor`` whoever wanted it, for the
    audit log. Raises ``Problem``: ``session_ended`` when it had ended before, ``session_unknown`` when it was erased.
    """
    with transaction.atomic():
        locked = session_lock(session)
        if locked.state == State.ENDED:
            raise Problem("session_ended", f"Session '{locked.session_id}' has ended already.")
        locked.state = State.ENDED
        locked.ended_at = at or timezone.now()
        locked.end_reason = reason
        locked.save(update_fields=["state", "ended_at", "end_reason"])
        transaction.on_commit(SESSIONS_ENDED.labels(reason).inc)
        transaction.on_commit(partial(session_end_announce, locked))
    if actor is not None:  # in a transaction of its own: a log that cannot be written keeps no session running
        _note(locked, actor, "session.ended", {"reason": reason})
    return locked


def session_lock(session: ExamSession) -> ExamSession:
    """Return the session as it is now, held until the transaction ends; raise ``Problem`` (``session_unknown``)."""
    locked = ExamSession.objects.select_for_update().filter(pk=session.pk).first()
    if locked is None:
        raise Problem("session_unknown", f"The session '{session.session_id}' was erased.")
    return locked


def _note(session: ExamSession, actor: Actor, action: str, details: dict[str, Any]) -> None:
    audit_write(
        organisation=session.organisation,
        actor=actor,
        action=action,
        subject_type="session",
        subject=str(session.id),
        details=details,
    )


def session_enroll(*, session: ExamSession, images: Sequence[bytes], consent: ConsentGiven) -> Enrolled:
    """Enrol the candidate of a session that was started for it, once.

    Raises ``Problem``: ``session_ended``, ``enrollment_closed``, ``already_enrolled``, and all that enrolling raises.
    """
    if session.state == State.ENDED:
        raise Problem("session_ended", f"Session '{session.session_id}' has ended.")
    if not session.enroll_on_join:
        raise Problem("enrollment_closed")
    if session.enrolled:
        raise Problem("already_enrolled")
    return candidate_enroll(
        organisation=session.organisation,
        candidate_id=session.candidate.candidate_id,
        images=images,
        consent=consent,
        actor=Actor(AuditEntry.ActorKind.CANDIDATE, str(session.id)),
        threshold=match_threshold(session.policy_document),
        only_first=True,
        require=partial(_require_running, session),
    )


def _require_running(session: ExamSession) -> None:
    """Refuse what is to be stored for a session that was ended, or erased, while a worker read its pictures."""
    if not ExamSession.objects.running().filter(pk=session.pk).exists():
        raise Problem("session_ended", f"Session '{session.session_id}' has ended.")


def session_state_set(*, session: ExamSession, state: str, at: datetime) -> bool:
    """Follow the media: ``live`` when it arrives (again), ``interrupted`` when it stops; return whether that is news.

    Nothing leaves ``ended`` and no state is entered twice. ``at`` becomes ``live_at`` the first time. One conditional
    UPDATE, so that it may run inside another transaction and beside others.
    """
    if state not in _BEFORE:
        raise ValueError(f"A session becomes {state!r} by other means than its media.")
    changes: dict[str, Any] = {"state": state}
    if state == State.LIVE:
        changes["live_at"] = Coalesce("live_at", Value(at))
    changed = ExamSession.objects.filter(pk=session.pk, state__in=_BEFORE[state]).update(**changes)
    if changed:
        session.refresh_from_db(fields=["state", "live_at"])
    return bool(changed)
