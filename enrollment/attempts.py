"""Count failed verifications, and pause after five in a row (NIST SP 800-63B-4, 3.2.3).

An attempt counts as failed from its beginning until it is settled, so that many at once cannot get past the count.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db import transaction
from django.utils import timezone

from accounts.audit import SYSTEM, audit_write, candidate_subject
from accounts.problems import Problem
from enrollment.locking import candidate_lock
from enrollment.models import Candidate, FailedVerifications

MOST_IN_A_ROW: Final = 5
"""Failures after which verification pauses."""
FIRST_PAUSE: Final = timedelta(seconds=30)
"""It doubles with every further failure."""
LONGEST_PAUSE: Final = timedelta(days=1)


@dataclass(slots=True)
class Attempt:
    """One comparison under way. ``matched`` is set when it was made; None: nothing was compared."""

    matched: bool | None = None


def pause_after(failures: int) -> timedelta | None:
    """Return how long verification pauses after so many failures in a row; None: it does not."""
    if failures < MOST_IN_A_ROW:
        return None
    doublings = min(failures - MOST_IN_A_ROW, 20)
    factor: int = 2**doublings
    return min(FIRST_PAUSE * factor, LONGEST_PAUSE)


@contextmanager
def verification_attempt(candidate: Candidate) -> Iterator[Attempt]:
    """Compare in the block.

    Raises ``Problem``: ``verification_paused`` while the candidate's verification pauses, ``candidate_unknown`` when
    the candidate is erased meanwhile.
    """
    _begin(candidate)
    attempt = Attempt()
    try:
        yield attempt
    finally:
        _settle(candidate, attempt)


@transaction.atomic
def _begin(candidate: Candidate) -> None:
    row = _locked(candidate)
    now = timezone.now()
    if row.paused_until is not None and row.paused_until > now:
        raise _paused(row.paused_until - now)
    row.count += 1
    row.paused_until = _until(row.count, now)
    row.save(update_fields=["count", "paused_until"])


@transaction.atomic
def _settle(candidate: Candidate, attempt: Attempt) -> None:
    row = _locked(candidate)
    if attempt.matched:
        row.count, row.paused_until = 0, None
    elif attempt.matched is None:  # nothing was compared: that teaches nobody anything
        row.count, row.paused_until = max(0, row.count - 1), None
    else:
        row.paused_until = _until(row.count, timezone.now())
    row.save(update_fields=["count", "paused_until"])
    if attempt.matched is False and row.paused_until is not None:
        audit_write(
            organisation=candidate.organisation,
            actor=SYSTEM,
            action="verification.paused",
            subject_type="candidate",
            subject=candidate_subject(organisation=candidate.organisation, candidate_id=candidate.candidate_id),
            details={"failures": row.count, "until": row.paused_until.isoformat()},
        )


def _locked(candidate: Candidate) -> FailedVerifications:
    candidate_lock(candidate)  # who is being erased is not counted any more: the row would have nobody to belong to
    FailedVerifications.objects.get_or_create(candidate=candidate, organisation_id=candidate.organisation_id)
    return FailedVerifications.objects.select_for_update().get(candidate=candidate)


def _until(failures: int, now: datetime) -> datetime | None:
    pause = pause_after(failures)
    return None if pause is None else now + pause


def _paused(left: timedelta) -> Problem:
    wait_s = math.ceil(left.total_seconds())
    return Problem("verification_paused", f"Compare again in {wait_s} seconds.", retry_after_s=wait_s)
