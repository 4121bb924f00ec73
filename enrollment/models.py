"""Who is examined, what they consented to, and what their face looks like to a model."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.utils import timezone
from pgvector.django import VectorField

from accounts.models import DataKey, Organisation, OrganisationKey, User
from detection.engine.policy import PolicyError
from enrollment.accommodations import accommodations_check
from enrollment.privacy_models import ConsentText, Erasure

__all__ = [
    "EXTERNAL_ID", "Candidate", "Consent", "ConsentText", "Enrollment", "Erasure", "FaceTemplate", "is_external_id",
    "no_accommodations",
]  # fmt: skip

EXTERNAL_ID = RegexValidator(
    r"^[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}\Z",
    "1 to 128 characters: letters, digits and . _ : @ -, starting with a letter or digit.",
)
"""Ids that a platform chooses travel in paths and subprotocols: no slashes, spaces or control characters."""


def is_external_id(text: str) -> bool:
    """Tell whether ``text`` can be such an id; what cannot may not even be text to PostgreSQL."""
    try:
        EXTERNAL_ID(text)
    except ValidationError:
        return False
    return True


def no_accommodations() -> dict[str, Any]:
    """Return what most candidates have."""
    return {}


class Candidate(models.Model):
    """A person who sits exams, under the platform's own id."""

    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="candidates")
    candidate_id = models.CharField(max_length=128, validators=[EXTERNAL_ID])
    data_key = models.OneToOneField(DataKey, on_delete=models.SET_NULL, null=True, blank=True, related_name="candidate")
    accommodations = models.JSONField(
        default=no_accommodations,
        blank=True,
        help_text="The candidate's own exceptions, laid over the policy of every exam from the next session on: part "
        'of a policy document, such as {"rules": {"NO_FACE": {"hold_s": 20}}}.',
    )
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["organisation", "candidate_id"], name="candidate_id_once")]

    def __str__(self) -> str:
        return self.candidate_id

    def clean(self) -> None:
        """Refuse accommodations that no policy could take, naming each field by path."""
        self.accommodations = self.accommodations or {}
        try:
            accommodations_check(self.accommodations)
        except PolicyError as error:
            messages = [f"{path}: {message}" for path, message in error.errors.items()]
            raise ValidationError({"accommodations": messages}) from None


class Consent(models.Model):
    """What a candidate agreed to, and when; checked before any biometric is processed."""

    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="consents")
    candidate = models.ForeignKey(Candidate, on_delete=models.CASCADE, related_name="consents")
    version = models.CharField(max_length=64)
    locale = models.CharField(max_length=35)
    given_at = models.DateTimeField()
    recorded_at = models.DateTimeField(default=timezone.now)
    withdrawn_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.candidate} {self.version}"


class Enrollment(models.Model):
    """One act of enrolling: the pictures' quality is kept, the pictures are not."""

    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="enrollments")
    candidate = models.ForeignKey(Candidate, on_delete=models.CASCADE, related_name="enrollments")
    consent = models.ForeignKey(Consent, on_delete=models.PROTECT, related_name="enrollments")
    images = models.JSONField(
        help_text="Per picture: face size, sharpness, brightness and pose as the gate measured them."
    )
    created_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"{self.candidate} {self.created_at:%Y-%m-%d %H:%M}"


class FaceTemplate(models.Model):
    """The enrolled embedding as AES-256-GCM ciphertext under the candidate's data key. One per candidate."""

    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="face_templates")
    candidate = models.OneToOneField(Candidate, on_delete=models.CASCADE, related_name="face_template")
    enrollment = models.ForeignKey(Enrollment, on_delete=models.CASCADE, related_name="face_templates")
    model = models.CharField(max_length=64)
    ciphertext = models.BinaryField()
    created_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"{self.candidate} ({self.model})"


class DuplicateSearchQuerySet(models.QuerySet["DuplicateSearch"]):
    """Settings of organisations."""

    def active(self) -> DuplicateSearchQuerySet:
        """Return those that are switched on."""
        return self.exclude(mode=DuplicateSearch.Mode.OFF)


class DuplicateSearch(models.Model):
    """What an organisation does about one face under two candidate ids. Without a row, or off, nothing is searched."""

    class Mode(models.TextChoices):
        OFF = "off", "Off: no protected templates are kept"
        REPORT = "report", "Enrol, and report the suspicion"
        REFUSE = "refuse", "Refuse until a person has decided"

    organisation = models.OneToOneField(
        Organisation, on_delete=models.CASCADE, primary_key=True, related_name="duplicate_search"
    )
    mode = models.CharField(max_length=8, choices=Mode.choices, default=Mode.OFF)
    similarity_from = models.FloatField(
        default=0.98,
        validators=[MinValueValidator(0.75), MaxValueValidator(1.0)],
        help_text="Similarity from which two candidates are suspected to be one person. The more candidates there are, "
        "the higher it must be. Estimated for 10,000 of them: at 0.98 one enrolment in 170 is suspected wrongly, at "
        "0.99 one in 1,700, at 0.995 one in 20,000; with 1,000 of them ten times fewer.",
    )

    objects = DuplicateSearchQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "duplicate searches"

    def __str__(self) -> str:
        return f"{self.organisation}: {self.get_mode_display()}"


class Gallery(models.Model):
    """Protected templates that may be compared: of one organisation, one version of its search key and one model."""

    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="galleries")
    key = models.ForeignKey(OrganisationKey, on_delete=models.RESTRICT, related_name="galleries")
    model = models.CharField(max_length=64)
    dimensions = models.PositiveSmallIntegerField()
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name_plural = "galleries"
        constraints = [models.UniqueConstraint(fields=["key", "model"], name="gallery_once")]

    def __str__(self) -> str:
        return f"{self.model} under {self.key}"


class ProtectedTemplate(models.Model):
    """An embedding under the secret rotation of its gallery (``enrollment.transform``), for the search of duplicates.

    Derived from the sealed template, which alone is the truth. The table is partitioned by gallery
    (``enrollment.galleries``): each has an index of its own, and goes as a whole. Backups can leave it out.
    """

    pk = models.CompositePrimaryKey("gallery_id", "candidate_id")
    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="+", db_index=False)
    gallery = models.ForeignKey(Gallery, on_delete=models.CASCADE, related_name="templates", db_index=False)
    candidate = models.ForeignKey(Candidate, on_delete=models.CASCADE, related_name="protected_templates")
    embedding = VectorField()

    def __str__(self) -> str:
        return f"{self.candidate_id} in {self.gallery_id}"


class DuplicateSuspicion(models.Model):
    """Two candidates whose faces are alike, for a person to decide on. ``candidate`` enrolled when it was noticed."""

    class Decision(models.TextChoices):
        OPEN = "open", "Nobody has decided"
        SAME = "same", "One person"
        DIFFERENT = "different", "Two people"

    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="duplicate_suspicions")
    candidate = models.ForeignKey(Candidate, on_delete=models.CASCADE, related_name="suspicions")
    other = models.ForeignKey(Candidate, on_delete=models.CASCADE, related_name="suspicions_of_others")
    model = models.CharField(max_length=64)
    similarity = models.FloatField()
    comparison_score = models.FloatField()
    noticed_at = models.DateTimeField(default=timezone.now)
    decision = models.CharField(max_length=16, choices=Decision.choices, default=Decision.OPEN)
    decided_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    decided_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["candidate", "other"], name="duplicate_suspicion_once")]
        indexes = [models.Index(fields=["organisation", "-noticed_at"], name="duplicate_suspicion_recent")]

    def __str__(self) -> str:
        return f"{self.candidate} and {self.other}"


class FailedVerifications(models.Model):
    """How often in a row a candidate was not recognised, and how long nobody is compared (``enrollment.attempts``)."""

    candidate = models.OneToOneField(
        Candidate, on_delete=models.CASCADE, primary_key=True, related_name="failed_verifications"
    )
    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="+")
    count = models.PositiveIntegerField(default=0)
    paused_until = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name_plural = "failed verifications"

    def __str__(self) -> str:
        return f"{self.candidate_id}: {self.count}"
