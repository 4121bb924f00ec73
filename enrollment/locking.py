"""Hold a candidate's row, so that nobody is erased between being found and being written about."""

from __future__ import annotations

from accounts.models import Organisation
from accounts.problems import Problem
from enrollment.models import Candidate


def candidate_lock(candidate: Candidate) -> Candidate:
    """Return the candidate as it is now, held until the transaction ends.

    Raises ``Problem`` (``candidate_unknown``) when the candidate was erased since it was read.
    """
    locked = Candidate.objects.select_for_update(no_key=True).filter(pk=candidate.pk).first()
    if locked is None:
        raise Problem("candidate_unknown", f"There is no candidate '{candidate.candidate_id}'.")
    return locked


def candidate_ensure(*, organisation: Organisation, candidate_id: str) -> Candidate:
    """Return the candidate of that id, held until the transaction ends, and made where there is none.

    An erasure that ends between finding the row and holding it takes the row along: then there is nobody, and the
    candidate is made anew.
    """
    rows = Candidate.objects.select_for_update(no_key=True).filter(organisation=organisation, candidate_id=candidate_id)
    while True:
        Candidate.objects.get_or_create(organisation=organisation, candidate_id=candidate_id)
        candidate = rows.first()
        if candidate is not None:
            return candidate
