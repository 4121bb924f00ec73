"""Erase one candidate, in all apps: the data key first, then rows and files; and a signed receipt for it.

The first transaction destroys the key, ends what runs and notes that an erasure has begun. From then on everything
sealed under the key is unreadable, in backups too, and the rest may break off anywhere: the next request, or the sweep,
goes on. What is found again afterwards is an ``Erasure`` without the candidate's id.
"""

from __future__ import annotations

import logging
import uuid
from collections import Counter as Tally
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
from django.db import transaction
from django.urls import reverse
from django.utils import timezone
from prometheus_client import Counter

from accounts.audit import Actor, audit_write, candidate_subject
from accounts.models import AuditEntry, Organisation
from accounts.problems import Problem
from accounts.receipts import receipt_sign
from alerts.evidence import STORAGE_RETRY_S
from alerts.models import Evidence
from enrollment.consents import consents_withdraw
from enrollment.duplicates import search_lock
from enrollment.erasing import biometrics_remove, data_key_destroy, protected_remove
from enrollment.models import Candidate, DuplicateSuspicion, Erasure, is_external_id
from proctor_site.removal import (
    evidence_files_remove,
    frames_forget,
    holds_log_remove,
    log_entries_remove,
    sessions_remove,
)
from sessions.ending import sessions_end
from sessions.holds import holds_require_none
from sessions.models import ExamSession, LegalHold

logger = logging.getLogger(__name__)

ERASURES = Counter("sdproctor_erasures_total", "Erasures finished, by what was erased.", ["kind"])
RECENT: Final = timedelta(minutes=10)
"""Sessions that ended before have no frames left: those expire after a minute."""
SESSIONS_AT_ONCE: Final = 20
ABANDONED_AFTER: Final = timedelta(minutes=5)
"""An erasure that long unfinished has no process any more that works on it."""

Kind = Erasure.Kind
for _kind in Kind:
    ERASURES.labels(_kind.value)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What is answered to an erasure. ``receipt`` is the same as a JWS: docs/trust.md says how to verify it."""

    receipt_id: uuid.UUID
    candidate_id: str
    kind: str
    erased_at: datetime
    erased: Mapping[str, int]
    receipt: str


def candidate_erase(*, organisation: Organisation, candidate_id: str, actor: Actor) -> Receipt:
    """Erase everything of a candidate; asked again, return the same receipt.

    Raises ``Problem``: ``candidate_unknown``, ``legal_hold``, ``storage_unavailable`` (it goes on by itself).
    """
    return _erase(organisation, candidate_id, Kind.EVERYTHING, actor)


def enrollment_erase(*, organisation: Organisation, candidate_id: str, actor: Actor) -> Receipt:
    """Erase what makes a candidate recognisable: data key, templates, enrolments, pictures. Sessions stay.

    Running sessions that compare faces or voices are ended, and consent counts as withdrawn. Raises ``Problem``:
    ``candidate_unknown``, ``not_enrolled``, ``legal_hold``, ``storage_unavailable`` (it goes on by itself).
    """
    return _erase(organisation, candidate_id, Kind.ENROLLMENT, actor)


def erasures_resume() -> int:
    """Finish the erasures that were broken off; return how many."""
    old = Erasure.objects.filter(finished_at=None, begun_at__lt=timezone.now() - ABANDONED_AFTER)
    finished = 0
    for erasure in old.select_related("organisation").order_by("begun_at")[:100]:
        logger.warning("The erasure %s was broken off and goes on.", erasure.id)
        try:
            _finish(erasure)
        except Exception:  # one that fails every time holds up none of the others
            logger.exception("The erasure %s failed again; the next sweep tries anew.", erasure.id)
        else:
            finished += 1
    return finished


def _erase(organisation: Organisation, candidate_id: str, kind: Kind, actor: Actor) -> Receipt:
    erasure = _begin(organisation, candidate_id, kind, actor)
    if erasure is None:
        erasure = _finished_before(organisation, candidate_id, kind)
    elif erasure.finished_at is None:
        try:
            erasure = _finish(erasure)
        except OSError as error:
            logger.warning("The erasure %s waits for the storage: %s", erasure.id, error)
            told = "The key is destroyed. Ask again, or wait: files and rows go as soon as the storage answers."
            raise Problem("storage_unavailable", told, retry_after_s=STORAGE_RETRY_S) from error
    return _receipt(erasure, candidate_id)


def _begin(organisation: Organisation, candidate_id: str, kind: Kind, actor: Actor) -> Erasure | None:
    """Destroy the key, end what runs, and note the erasure: one transaction. None when there is nothing to erase."""
    if not is_external_id(candidate_id):
        return None
    with transaction.atomic():
        search_lock(organisation)
        rows = Candidate.objects.select_for_update(of=("self",)).select_related("data_key")
        candidate = rows.filter(organisation=organisation, candidate_id=candidate_id).first()
        if candidate is None:
            return None
        holds_require_none(candidate)
        erasure = Erasure.objects.select_for_update().filter(candidate=candidate, finished_at=None).first()
        if erasure is None and kind == Kind.ENROLLMENT and not _has_biometrics(candidate):
            return None
        if erasure is None:
            erasure = Erasure(
                organisation=organisation,
                candidate=candidate,
                subject=candidate_subject(organisation=organisation, candidate_id=candidate_id),
                kind=kind,
                actor_kind=actor.kind,
                actor=actor.name,
            )
        elif kind == Kind.EVERYTHING:
            erasure.kind = kind
        gone = Tally(erasure.erased)
        gone["data_keys"] += data_key_destroy(candidate)
        gone += protected_remove(candidate)
        consents_withdraw(candidate)
        only = erasure.kind == Kind.ENROLLMENT
        gone["sessions_ended"] += len(sessions_end(candidate=candidate, reason="erased", biometric_only=only))
        erasure.erased = dict(gone)
        erasure.save()
    return erasure


def _has_biometrics(candidate: Candidate) -> bool:
    return (
        candidate.data_key_id is not None
        or candidate.enrollments.exists()
        or hasattr(candidate, "face_template")
        or DuplicateSuspicion.objects.filter(candidate=candidate).exists()
    )


def _finish(erasure: Erasure) -> Erasure:
    """Remove what is left, step by step, each counted in a transaction of its own."""
    candidate = erasure.candidate
    assert candidate is not None
    sessions = ExamSession.objects.filter(candidate=candidate)
    recent = sessions.exclude(ended_at__lt=timezone.now() - RECENT).values_list("id", flat=True)
    _step(erasure, lambda: Tally(frames=frames_forget(list(recent))))
    if erasure.kind == Kind.EVERYTHING:
        while ids := list(sessions.order_by("created_at").values_list("id", flat=True)[:SESSIONS_AT_ONCE]):
            _step(erasure, lambda: Tally(frames=frames_forget(list(recent))))  # what came while they ended
            _step(erasure, lambda ids=ids: sessions_remove(ids))  # type: ignore[misc]
    else:
        evidence = Evidence.objects.filter(session__candidate=candidate)
        _step(erasure, lambda: Tally(evidence_files=evidence_files_remove(evidence)))
    return _conclude(erasure, candidate)


def _step(erasure: Erasure, remove: Callable[[], Tally[str]]) -> None:
    gone = remove()
    with transaction.atomic():
        _count(erasure, gone)


def _count(erasure: Erasure, gone: Tally[str]) -> Erasure:
    locked = Erasure.objects.select_for_update().get(pk=erasure.pk)
    locked.erased = dict(Tally(locked.erased) + gone)
    locked.save(update_fields=["erased"])
    return locked


def _conclude(erasure: Erasure, candidate: Candidate) -> Erasure:
    """Remove the last rows, the candidate's own among them, and write down that it is done: one transaction."""
    with transaction.atomic():
        Candidate.objects.select_for_update().filter(pk=candidate.pk).first()  # before the erasure, as in _begin
        locked = Erasure.objects.select_for_update().get(pk=erasure.pk)
        if locked.finished_at is not None:  # another process was faster
            return locked
        gone = biometrics_remove(candidate)
        if locked.kind == Kind.EVERYTHING:
            gone["admin_log"] += log_entries_remove(Candidate, [candidate.pk])
            gone["admin_log"] += holds_log_remove(LegalHold.objects.filter(candidate=candidate))
            _, rows = Candidate.objects.filter(pk=candidate.pk).delete()
            for label, count in rows.items():
                gone[_KINDS.get(label, "others")] += count
        locked = _count(locked, gone)
        locked.finished_at = timezone.now()
        locked.save(update_fields=["finished_at"])
        audit_write(
            organisation=locked.organisation,
            actor=Actor(AuditEntry.ActorKind(locked.actor_kind), locked.actor),
            action=f"{'candidate' if locked.kind == Kind.EVERYTHING else 'enrollment'}.erased",
            subject_type="candidate",
            subject=locked.subject,
            details={"receipt": str(locked.id), "erased": locked.erased},
        )
        transaction.on_commit(ERASURES.labels(locked.kind).inc)
    return locked


_KINDS: Final = {
    "enrollment.Candidate": "candidates",
    "enrollment.Consent": "consents",
    "exam_sessions.LegalHold": "lifted_holds",
}


def _finished_before(organisation: Organisation, candidate_id: str, kind: Kind) -> Erasure:
    """Find the erasure of somebody of whom nothing is left; raise ``candidate_unknown`` or ``not_enrolled``."""
    known = is_external_id(candidate_id)
    if known:
        subject = candidate_subject(organisation=organisation, candidate_id=candidate_id)
        done = Erasure.objects.filter(organisation=organisation, subject=subject).exclude(finished_at=None)
        if kind == Kind.EVERYTHING:
            done = done.filter(kind=kind)
        found = done.order_by("-begun_at").first()
        if found is not None:
            return found
        if Candidate.objects.filter(organisation=organisation, candidate_id=candidate_id).exists():
            raise Problem("not_enrolled", f"Candidate '{candidate_id}' has no template.")
    raise Problem("candidate_unknown", f"There is no candidate '{candidate_id}'.")


def _receipt(erasure: Erasure, candidate_id: str) -> Receipt:
    """Sign what was erased. The candidate's id comes from whoever asks and is stored nowhere."""
    assert erasure.finished_at is not None
    claims = {
        "iss": settings.PUBLIC_URL,
        "jti": str(erasure.id),
        "sub": candidate_id,
        "iat": int(erasure.finished_at.timestamp()),
        "organisation": erasure.organisation.slug,
        "kind": erasure.kind,
        "begun_at": erasure.begun_at.isoformat(),
        "erased_at": erasure.finished_at.isoformat(),
        "erased": erasure.erased,
        "keys": f"{settings.PUBLIC_URL}{reverse('receipt-key', args=[uuid.UUID(int=0)])}".rsplit("/", 1)[0],
    }
    receipt = receipt_sign(organisation=erasure.organisation, claims=claims)
    return Receipt(erasure.id, candidate_id, erasure.kind, erasure.finished_at, erasure.erased, receipt)
