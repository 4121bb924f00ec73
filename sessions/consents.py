"""Withdraw consent: what compares the candidate stops, at once and not when somebody next looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db import transaction

from accounts.audit import Actor, audit_write, candidate_subject
from enrollment.consents import consents_withdraw
from enrollment.locking import candidate_lock
from enrollment.models import Candidate
from sessions.ending import sessions_end


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """What a withdrawal did: how many consents stood, and which running sessions were ended for it."""

    candidate_id: str
    consents: int
    sessions_ended: Sequence[str]


def consent_withdraw(*, candidate: Candidate, actor: Actor) -> Withdrawn:
    """Withdraw all consents of a candidate and end the sessions that compare their face or voice.

    Gateways let go of them within a second, and workers finish what they hold within ``SAMPLE_DEADLINE_S``. Sessions
    without biometrics go on. Nothing is erased: that is asked for on its own. Withdrawing twice changes nothing.
    Raises ``Problem`` (``candidate_unknown``) when the candidate is erased meanwhile.
    """
    with transaction.atomic():
        locked = candidate_lock(candidate)
        count = consents_withdraw(locked)
        ended = sessions_end(candidate=locked, reason="consent_withdrawn", biometric_only=True)
        if count or ended:
            audit_write(
                organisation=locked.organisation,
                actor=actor,
                action="consent.withdrawn",
                subject_type="candidate",
                subject=candidate_subject(organisation=locked.organisation, candidate_id=locked.candidate_id),
                details={"sessions_ended": [str(session.id) for session in ended]},
            )
    return Withdrawn(locked.candidate_id, count, [session.session_id for session in ended])
