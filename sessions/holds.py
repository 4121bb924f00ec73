"""Legal holds: while one is in force, nothing it covers is removed, neither by time nor on request."""

from __future__ import annotations

from typing import Final

from django.db import IntegrityError, connection, transaction
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from accounts.audit import Actor, audit_write, candidate_subject
from accounts.problems import Problem
from enrollment.locking import candidate_lock
from enrollment.models import Candidate, Erasure
from sessions.models import ExamSession, LegalHold

_LOCK: Final = 0x5D_A001
"""PostgreSQL's advisory lock between placing holds and removing what nobody holds."""


def hold_place(
    *, actor: Actor, reason: str, candidate: Candidate | None = None, session: ExamSession | None = None
) -> LegalHold:
    """Place a hold on a candidate with all their sessions, or on one session, and note it in the audit log.

    Raises ``Problem``: ``legal_hold`` (there is one already); and where it comes too late ``erasure_running`` (the key
    is destroyed), ``candidate_unknown``, ``session_unknown`` (just removed).
    """
    held = candidate or (session.candidate if session else None)
    assert held is not None
    with transaction.atomic():
        _lock("pg_advisory_xact_lock")  # a batch that is being removed goes first, the next one sees the hold
        locked = candidate_lock(held)
        if session is not None and not ExamSession.objects.filter(pk=session.pk).exists():
            raise Problem("session_unknown", f"The session '{session.session_id}' was removed just now.")
        if Erasure.objects.filter(candidate=locked, finished_at=None).exists():
            raise Problem("erasure_running")
        try:
            with transaction.atomic():
                hold = LegalHold.objects.create(
                    organisation=locked.organisation,
                    candidate=locked if session is None else None,
                    session=session,
                    reason=reason,
                    placed_by=actor.name,
                )
        except IntegrityError:
            raise Problem("legal_hold", "There is such a hold already.") from None
        _note(hold, actor, "hold.placed")
    return hold


def hold_lift(*, hold: LegalHold, actor: Actor) -> LegalHold:
    """Lift a hold; what has expired meanwhile goes with the next retention run. Lifting twice changes nothing."""
    with transaction.atomic():
        locked = LegalHold.objects.select_for_update().get(pk=hold.pk)
        if locked.lifted_at is None:
            locked.lifted_at, locked.lifted_by = timezone.now(), actor.name
            locked.save(update_fields=["lifted_at", "lifted_by"])
            _note(locked, actor, "hold.lifted")
    return locked


def holds_settle() -> None:
    """Let no hold be placed until the transaction ends: what is asked from here on sees all that there will be.

    Whoever removes what nobody holds calls this first in each transaction, before any row is locked.
    """
    _lock("pg_advisory_xact_lock_shared")


def holds_require_none(candidate: Candidate) -> None:
    """Raise ``Problem`` (``legal_hold``) when the candidate or one of their sessions is held.

    Lock the candidate's row first: placing a hold does.
    """
    holds = LegalHold.objects.in_force().filter(Q(candidate=candidate) | Q(session__candidate=candidate))
    hold = holds.order_by("placed_at").first()
    if hold is not None:
        what = "candidate" if hold.candidate_id else "session"
        raise Problem(
            "legal_hold",
            f"The {what} is under a legal hold since {hold.placed_at:%Y-%m-%d}: nothing may be removed.",
            placed_at=hold.placed_at.isoformat(),
        )


def session_held(path: str = "") -> Q:
    """Return the condition that a row's session is held, itself or with its candidate.

    ``path`` leads from the row to the session, such as ``session``; empty: the row is the session.
    """
    session = OuterRef(f"{path}_id" if path else "pk")
    candidate = OuterRef(f"{path}__candidate_id" if path else "candidate_id")
    holds = LegalHold.objects.in_force()
    return Q(Exists(holds.filter(session=session))) | Q(Exists(holds.filter(candidate=candidate)))


def candidate_held() -> Q:
    """Return the condition that a candidate is held, or one of their sessions."""
    holds = LegalHold.objects.in_force()
    return Q(Exists(holds.filter(candidate=OuterRef("pk")))) | Q(
        Exists(holds.filter(session__candidate=OuterRef("pk")))
    )


def _lock(function: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {function}(%s)", [_LOCK])


def _note(hold: LegalHold, actor: Actor, action: str) -> None:
    if hold.candidate is not None:
        kind = "candidate"
        subject = candidate_subject(organisation=hold.organisation, candidate_id=hold.candidate.candidate_id)
    else:
        kind, subject = "session", str(hold.session_id)
    details = {"hold": hold.pk, "since": hold.placed_at.isoformat()}
    audit_write(
        organisation=hold.organisation, actor=actor, action=action, subject_type=kind, subject=subject, details=details
    )
