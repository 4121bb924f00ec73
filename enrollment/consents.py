"""What a candidate agreed to, checked before any biometric is touched."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.utils import timezone

from accounts.problems import Problem
from enrollment.models import Candidate, Consent

CLOCK_TOLERANCE: Final = timedelta(minutes=1)
"""How far the platform's clock may be ahead of ours."""


@dataclass(frozen=True, slots=True)
class ConsentGiven:
    """Consent as the platform reports it: which text, when, in which language."""

    version: str
    given_at: datetime
    locale: str

    def require_valid(self) -> None:
        """Raise ``Problem`` (``consent_invalid``) when it was given in the future."""
        if self.given_at > timezone.now() + CLOCK_TOLERANCE:
            raise Problem(
                "consent_invalid",
                f"Consent is dated {self.given_at.isoformat()}, which is in the future.",
                errors={"consent.given_at": ["must not be in the future"]},
            )


def consent_record(*, candidate: Candidate, given: ConsentGiven) -> Consent:
    """Record consent, once per text and time."""
    consent, _ = Consent.objects.get_or_create(
        organisation_id=candidate.organisation_id,
        candidate=candidate,
        version=given.version,
        given_at=given.given_at,
        defaults={"locale": given.locale},
    )
    return consent


def consents_withdraw(candidate: Candidate) -> int:
    """Note that the candidate agrees to nothing any more; return how many consents stood. The fact of each stays."""
    return Consent.objects.filter(candidate=candidate, withdrawn_at=None).update(withdrawn_at=timezone.now())


def has_consented(candidate: Candidate) -> bool:
    """Tell whether the candidate has agreed to biometrics and not withdrawn it."""
    return Consent.objects.filter(candidate=candidate, withdrawn_at=None).exists()
