"""How long what is kept, and what must not be removed at all."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator
from django.db import models
from django.utils import timezone

from accounts.models import Organisation

OF_ORGANISATION = ("templates", "audit")
"""Classes of data that belong to no exam."""

_DAYS = [MaxValueValidator(36_500)]
_INHERITS = "Days; 0: without limit. Empty: as the organisation's, or else the deployment's."


class RetentionPolicy(models.Model):
    """How many days an organisation keeps what, or what one of its exams keeps that differs."""

    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="retention_policies")
    exam = models.ForeignKey(
        "exam_sessions.Exam",
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="retention_policies",
        help_text="Empty: the organisation's own, for all exams that have none.",
    )
    evidence_days = models.PositiveIntegerField(
        "evidence", null=True, blank=True, validators=_DAYS, help_text=f"Pictures, from their storing on. {_INHERITS}"
    )
    detections_days = models.PositiveIntegerField(
        "detections",
        null=True,
        blank=True,
        validators=_DAYS,
        help_text=f"What was measured, frame by frame. {_INHERITS}",
    )
    incidents_days = models.PositiveIntegerField(
        "incidents",
        null=True,
        blank=True,
        validators=_DAYS,
        help_text=f"Sessions with their incidents, reviews and alerts, from the end of the session on. {_INHERITS}",
    )
    deliveries_days = models.PositiveIntegerField(
        "deliveries",
        null=True,
        blank=True,
        validators=_DAYS,
        help_text=f"What was sent to whom, once settled. {_INHERITS}",
    )
    templates_days = models.PositiveIntegerField(
        "templates",
        null=True,
        blank=True,
        validators=_DAYS,
        help_text=f"Of the organisation alone: from the enrolment or the last session on. {_INHERITS}",
    )
    audit_days = models.PositiveIntegerField(
        "audit log", null=True, blank=True, validators=_DAYS, help_text=f"Of the organisation alone. {_INHERITS}"
    )
    redate_due = models.BooleanField(
        default=True, editable=False, help_text="Pictures stored before are to be given their new time."
    )
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name = "retention"
        verbose_name_plural = "retention"
        constraints = [
            models.UniqueConstraint(fields=["organisation", "exam"], name="retention_per_exam_once"),
            models.UniqueConstraint(
                fields=["organisation"],
                condition=models.Q(exam=None),
                name="retention_one_per_organisation",
                violation_error_message="The organisation's own days are set already: change those, or name an exam.",
            ),
        ]

    def __str__(self) -> str:
        return f"of {self.exam or self.organisation}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Store; the pictures stored before get the time that this says, with the next retention run."""
        self.redate_due = True
        super().save(*args, **kwargs)

    def clean(self) -> None:
        """Refuse what an exam cannot have of its own, and the exam of another organisation."""
        if self.exam is None:
            return
        wrong = {
            f"{kind}_days": "Belongs to the organisation, not to an exam: leave it empty."
            for kind in OF_ORGANISATION
            if getattr(self, f"{kind}_days") is not None
        }
        if self.organisation_id is not None and self.exam.organisation_id != self.organisation_id:
            wrong["exam"] = "Is another organisation's."
        if wrong:
            raise ValidationError(wrong)


class LegalHoldQuerySet(models.QuerySet["LegalHold"]):
    def in_force(self) -> LegalHoldQuerySet:
        return self.filter(lifted_at=None)


class LegalHold(models.Model):
    """Nothing of a candidate, or of one session, is removed while this is in force: neither by time nor on request."""

    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="legal_holds")
    candidate = models.ForeignKey(
        "enrollment.Candidate", on_delete=models.CASCADE, null=True, blank=True, related_name="legal_holds"
    )
    session = models.ForeignKey(
        "exam_sessions.ExamSession", on_delete=models.CASCADE, null=True, blank=True, related_name="legal_holds"
    )
    reason = models.TextField()
    placed_by = models.CharField(max_length=150)
    placed_at = models.DateTimeField(default=timezone.now)
    lifted_by = models.CharField(max_length=150, blank=True)
    lifted_at = models.DateTimeField(null=True, blank=True)

    objects = LegalHoldQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(candidate=None, session__isnull=False)
                | models.Q(candidate__isnull=False, session=None),
                name="hold_on_one",
                violation_error_message="Name a candidate or a session, one of both.",
            ),
            models.UniqueConstraint(
                fields=["candidate"], condition=models.Q(lifted_at=None), name="hold_on_candidate_once"
            ),
            models.UniqueConstraint(
                fields=["session"], condition=models.Q(lifted_at=None), name="hold_on_session_once"
            ),
        ]

    def __str__(self) -> str:
        return f"on {self.candidate or self.session}"
