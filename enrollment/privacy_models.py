"""Texts that candidates agree to, and erasures: begun, resumable, and remembered without the person."""

from __future__ import annotations

import uuid

from django.db import models
from django.utils import timezone

from accounts.models import AuditEntry, Organisation


def nothing_erased() -> dict[str, int]:
    """Return the counts an erasure begins with."""
    return {}


class ConsentTextQuerySet(models.QuerySet["ConsentText"]):
    def in_force(self) -> ConsentTextQuerySet:
        """Texts that may be agreed to now."""
        return self.filter(published_at__lte=timezone.now(), retired_at=None)


class ConsentText(models.Model):
    """A text that candidates agree to, in one language. While an organisation has any in force, no other will do.

    A published text is never changed: another wording is another version.
    """

    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="consent_texts")
    version = models.CharField(max_length=64)
    locale = models.CharField(max_length=35, help_text="A language tag such as en or de-AT.")
    text = models.TextField()
    published_at = models.DateTimeField(null=True, blank=True, help_text="From when on it may be agreed to.")
    retired_at = models.DateTimeField(
        null=True, blank=True, help_text="Since when it may not any more; consents given before stay."
    )

    objects = ConsentTextQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organisation", "version", "locale"], name="consent_text_once"),
        ]
        ordering = ["-published_at", "locale"]

    def __str__(self) -> str:
        return f"{self.version} ({self.locale})"


class Erasure(models.Model):
    """One erasure: begun in the transaction that destroyed the data key, finished when nothing is left.

    ``subject`` is ``accounts.audit.candidate_subject``: whoever still knows the candidate's id finds the receipt again,
    and nobody finds the id in here. One that was broken off is taken up by the next request or by the sweep.
    """

    class Kind(models.TextChoices):
        ENROLLMENT = "enrollment", "What makes the candidate recognisable"
        EVERYTHING = "everything"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="erasures")
    candidate = models.ForeignKey(
        "enrollment.Candidate", on_delete=models.SET_NULL, null=True, blank=True, related_name="erasures"
    )
    subject = models.CharField(max_length=32)
    kind = models.CharField(max_length=16, choices=Kind.choices)
    actor_kind = models.CharField(max_length=16, choices=AuditEntry.ActorKind.choices)
    actor = models.CharField(max_length=150, blank=True)
    begun_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)
    erased = models.JSONField(default=nothing_erased, help_text="How much of each kind is gone.")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["candidate"], condition=models.Q(finished_at=None), name="erasure_one_at_a_time"
            )
        ]
        indexes = [
            models.Index(fields=["organisation", "subject", "-begun_at"], name="erasure_by_subject"),
            models.Index(fields=["begun_at"], condition=models.Q(finished_at=None), name="erasure_unfinished"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.begun_at:%Y-%m-%d %H:%M}"
