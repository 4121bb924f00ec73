"""What a candidate agreed to, checked before any biometric is touched."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from django.db.models import Q
from django.utils import timezone

from accounts.models import Organisation
from accounts.problems import Problem
from enrollment.galleries import candidate_unprotect
from enrollment.models import Candidate, Consent, ConsentText

CLOCK_TOLERANCE: Final = timedelta(minutes=1)
"""How far the platform's clock may be ahead of ours."""
EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""An older date is a clock that was never set; the oldest there are cannot even be shown in every time zone."""


@dataclass(frozen=True, slots=True)
class ConsentGiven:
    """Consent as the platform reports it: which text, when, in which language."""

    version: str
    given_at: datetime
    locale: str

    def require_valid(self) -> None:
        """Raise ``Problem`` (``consent_invalid``) when it is dated in the future or long ago."""
        if self.given_at < EARLIEST:
            raise Problem(
                "consent_invalid",
                f"Consent is dated {self.given_at.date().isoformat()}, which cannot be.",
                errors={"consent.given_at": [f"must not be before {EARLIEST.date().isoformat()}"]},
            )
        if self.given_at > timezone.now() + CLOCK_TOLERANCE:
            raise Problem(
                "consent_invalid",
                f"Consent is dated {self.given_at.isoformat()}, which is in the future.",
                errors={"consent.given_at": ["must not be in the future"]},
            )

    def require_acceptable(self, organisation: Organisation) -> None:
        """Raise ``Problem`` (``consent_invalid``) when the organisation has texts in force and this is none of them."""
        texts = list(ConsentText.objects.in_force().filter(organisation=organisation).only("version", "locale"))
        if texts and not any(text.version == self.version and _speaks(self.locale, text.locale) for text in texts):
            acceptable = sorted({f"{text.version} ({text.locale})" for text in texts})
            raise Problem(
                "consent_invalid",
                f"Consent is to the text {self.version} ({self.locale}), which is not in force.",
                errors={"consent.version": [f"must be one of {', '.join(acceptable)}"]},
            )

    def require_not_withdrawn(self, candidate: Candidate | None) -> None:
        """Raise ``Problem`` (``consent_invalid``) when the candidate has withdrawn this consent, or dated it before.

        None: nobody is known yet, and has withdrawn nothing.
        """
        if candidate is None:
            return
        same = Q(version=self.version, given_at=self.given_at)
        before = Q(withdrawn_at__gt=self.given_at + CLOCK_TOLERANCE)
        if Consent.objects.exclude(withdrawn_at=None).filter(same | before, candidate=candidate).exists():
            raise Problem(
                "consent_invalid",
                f"Consent of {self.given_at.isoformat()} was withdrawn since: the candidate has to be asked anew.",
                errors={"consent.given_at": ["must be later than the withdrawal"]},
            )


def _speaks(given: str, of_text: str) -> bool:
    """Tell whether a text in one language was what somebody with that locale read: de-AT reads de."""
    one, other = (tag.lower().replace("_", "-") for tag in (given, of_text))
    return one == other or one.startswith(f"{other}-")


def consent_text(*, organisation: Organisation, locale: str = "en") -> ConsentText | None:
    """Return the organisation's newest text in force, in this language where there is one; None where it has none."""
    texts = list(ConsentText.objects.in_force().filter(organisation=organisation).order_by("-published_at", "locale"))
    newest = [text for text in texts if text.version == texts[0].version]
    return next((text for text in newest if _speaks(text.locale, locale)), newest[0] if newest else None)


def consent_record(*, candidate: Candidate, given: ConsentGiven) -> Consent:
    """Record consent, once per text and time; raise ``Problem`` (``consent_invalid``) when it has been withdrawn."""
    given.require_not_withdrawn(candidate)
    consent, _ = Consent.objects.get_or_create(
        organisation_id=candidate.organisation_id,
        candidate=candidate,
        version=given.version,
        given_at=given.given_at,
        withdrawn_at=None,
        defaults={"locale": given.locale},
    )
    return consent


def consents_withdraw(candidate: Candidate) -> int:
    """Note that the candidate agrees to nothing any more; return how many consents stood. The fact of each stays.

    From now on nobody is compared with them: the protected template goes, and comes back with a new consent.
    """
    candidate_unprotect(candidate)
    return Consent.objects.filter(candidate=candidate, withdrawn_at=None).update(withdrawn_at=timezone.now())


def has_consented(candidate: Candidate) -> bool:
    """Tell whether the candidate has agreed to biometrics and not withdrawn it."""
    return Consent.objects.filter(candidate=candidate, withdrawn_at=None).exists()
