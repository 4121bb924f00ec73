"""What people decided on incidents, and what a session's incidents add up to."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models
from django.utils import timezone

from accounts.models import APIKey, Organisation
from sessions.models import ExamSession


class Review(models.Model):
    """A person's decision on an incident: who, when, why. Rows are only ever added; a trigger refuses to change one."""

    class Decision(models.TextChoices):
        CONFIRMED = "confirmed"
        DISMISSED = "dismissed"
        REOPENED = "reopened"

    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="reviews")
    incident = models.ForeignKey("alerts.Incident", on_delete=models.CASCADE, related_name="reviews")
    version = models.PositiveIntegerField(help_text="The incident's version that this made.")
    decision = models.CharField(max_length=16, choices=Decision.choices)
    reason = models.TextField()
    reviewer = models.CharField(max_length=200, help_text="The person's name as it was then.")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="reviews",
        help_text="Who was signed in here.",
    )
    api_key = models.ForeignKey(
        APIKey,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="reviews",
        help_text="The key of the platform at which the person decided.",
    )
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["version"]
        constraints = [models.UniqueConstraint(fields=["incident", "version"], name="review_version_once")]
        indexes = [models.Index(fields=["organisation", "-created_at"], name="review_recent")]

    def __str__(self) -> str:
        return f"{self.decision} by {self.reviewer}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Store a new row; what was decided is never changed."""
        if not self._state.adding:
            raise TypeError("A review is never changed: add another.")
        super().save(*args, **kwargs)


class SessionTally(models.Model):
    """What a session's incidents add up to. Its row lock hands out the alerts' numbers, to workers and people alike.

    Made with the session's first alert (``alerts.tally``).
    """

    session = models.OneToOneField(ExamSession, on_delete=models.CASCADE, primary_key=True, related_name="tally")
    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="+", db_index=False)
    alert_sequence = models.PositiveBigIntegerField(default=0, help_text="Number of the session's last alert.")
    risk_score = models.FloatField(default=0.0, help_text="0 to 100, by the formula in docs/events.md.")

    def __str__(self) -> str:
        return f"{self.alert_sequence} alerts, risk {self.risk_score:g}"
