"""Remove what makes a candidate recognisable. ``proctor_site.erasure`` calls this, and removes what other apps have."""

from __future__ import annotations

from collections import Counter
from typing import Final

from django.db.models import Q

from enrollment.galleries import candidate_unprotect
from enrollment.models import Candidate, DuplicateSuspicion, Enrollment, FaceTemplate

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


def protected_remove(candidate: Candidate) -> Counter[str]:
    """Delete what is not sealed under the data key: protected templates, and suspicions of who else somebody is.

    In the transaction that destroys the key. Under ``enrollment.duplicates.search_lock`` nobody who enrols finds the
    candidate from then on; without it, from the end of who is enrolling now.
    """
    suspicions, _ = DuplicateSuspicion.objects.filter(Q(candidate=candidate) | Q(other=candidate)).delete()
    return Counter(protected_templates=candidate_unprotect(candidate), suspicions=suspicions)


def biometrics_remove(candidate: Candidate) -> Counter[str]:
    """Delete templates and enrolments; return how many of each there were."""
    gone: Counter[str] = Counter(templates=0, enrollments=0)
    for rows in (FaceTemplate.objects.filter(candidate=candidate), Enrollment.objects.filter(candidate=candidate)):
        for label, count in rows.delete()[1].items():
            gone[_KINDS.get(label, "others")] += count
    return gone
