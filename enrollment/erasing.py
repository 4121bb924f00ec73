"""Remove what makes a candidate recognisable. ``proctor_site.erasure`` calls this, and removes what other apps have."""

from __future__ import annotations

from collections import Counter
from typing import Final

from django.utils import timezone

from enrollment.models import Candidate, Consent, Enrollment, FaceTemplate

_KINDS: Final = {"enrollment.FaceTemplate": "templates", "enrollment.Enrollment": "enrollments"}


def data_key_destroy(candidate: Candidate) -> int:
    """Delete the data key of a candidate whose row is locked: all it sealed is unreadable. Return how many there were.

    What is not sealed under it and still tells who somebody is must go in the same transaction.
    """
    if candidate.data_key is None:
        return 0
    candidate.data_key.delete()  # sets the candidate's reference to NULL
    candidate.data_key = None
    return 1


def biometrics_remove(candidate: Candidate) -> Counter[str]:
    """Delete templates and enrolments, and note that consent is withdrawn; the fact of it stays."""
    gone: Counter[str] = Counter(templates=0, enrollments=0)
    for rows in (FaceTemplate.objects.filter(candidate=candidate), Enrollment.objects.filter(candidate=candidate)):
        for label, count in rows.delete()[1].items():
            gone[_KINDS.get(label, "others")] += count
    Consent.objects.filter(candidate=candidate, withdrawn_at=None).update(withdrawn_at=timezone.now())
    return gone
