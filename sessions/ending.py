"""End all sessions of a candidate that still run, for a reason that allows no exception."""

from __future__ import annotations

from accounts.problems import Problem
from enrollment.models import Candidate
from sessions.biometrics import is_biometric
from sessions.models import ExamSession
from sessions.services import session_end


def sessions_end(*, candidate: Candidate, reason: str, biometric_only: bool = False) -> list[ExamSession]:
    """End the candidate's running sessions; return those that were ended.

    ``biometric_only``: leave alone those whose policy compares neither faces nor voices.
    """
    running = ExamSession.objects.running().filter(candidate=candidate).order_by("created_at")
    ended: list[ExamSession] = []
    for session in running:
        if biometric_only and not is_biometric(session.policy):
            continue
        try:
            ended.append(session_end(session=session, reason=reason))
        except Problem:  # it has ended by itself meanwhile
            continue
    return ended
