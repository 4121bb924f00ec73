"""The enrolled embedding as it lies in the database: sealed under the candidate's own data key."""

from __future__ import annotations

from typing import Final

import numpy as np
from django.db import transaction
from numpy.typing import NDArray

from accounts.keys import data_key_create, open_sealed, seal
from accounts.models import DataKey
from enrollment.models import Candidate, Enrollment, FaceTemplate

PURPOSE: Final = "enrollment.FaceTemplate.ciphertext"
_DTYPE: Final = np.dtype("<f4")


def _row(candidate: Candidate) -> str:
    """Name what a template belongs to: its candidate, so that one candidate's ciphertext never opens as another's."""
    return f"{candidate.organisation_id}/{candidate.pk}"


def candidate_data_key(candidate: Candidate) -> DataKey:
    """Return the candidate's data key, made at first need."""
    with transaction.atomic():
        locked = Candidate.objects.select_for_update(of=("self",)).select_related("organisation").get(pk=candidate.pk)
        if locked.data_key_id is None:
            locked.data_key = data_key_create(organisation=locked.organisation)
            locked.save(update_fields=["data_key"])
        candidate.data_key = locked.data_key
    assert candidate.data_key is not None
    return candidate.data_key


def template_store(*, enrollment: Enrollment, embedding: NDArray[np.float32], model: str) -> FaceTemplate:
    """Seal ``embedding`` (float32, L2-normalised) as the template of the enrolment's candidate, replacing any other."""
    candidate = enrollment.candidate
    ciphertext = seal(
        embedding.astype(_DTYPE).tobytes(), data_key=candidate_data_key(candidate), purpose=PURPOSE, row=_row(candidate)
    )
    template, _ = FaceTemplate.objects.update_or_create(
        candidate=candidate,
        defaults={
            "organisation_id": candidate.organisation_id,
            "enrollment": enrollment,
            "model": model,
            "ciphertext": ciphertext,
            "created_at": enrollment.created_at,
        },
    )
    return template


def template_load(candidate: Candidate) -> NDArray[np.float32] | None:
    """Decrypt the candidate's template, float32 of the model's dimension; None when there is none.

    Raises ``SealError`` when the ciphertext was changed or does not belong to this candidate.
    """
    template = _template(candidate)
    data_key = candidate.data_key
    if template is None or data_key is None:
        return None
    plaintext = open_sealed(template.ciphertext, data_key=data_key, purpose=PURPOSE, row=_row(candidate))
    return np.frombuffer(plaintext, dtype=_DTYPE).astype(np.float32)


def _template(candidate: Candidate) -> FaceTemplate | None:
    """Return the candidate's template row, from what ``select_related`` brought where it did."""
    try:
        return candidate.face_template
    except FaceTemplate.DoesNotExist:
        return None
