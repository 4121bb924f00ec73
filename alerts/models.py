"""What persisted (incidents with evidence), the events that tell of it (alerts), and who was told (deliveries)."""

from __future__ import annotations

import uuid

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils import timezone
from django.utils.timezone import localtime

from accounts.models import Organisation
from alerts.delivery_models import (
    HOLDING_ATTEMPTS,
    Delivery,
    DeliveryAttempt,
    DeliveryQuerySet,
    Notice,
    Subscription,
    SubscriptionQuerySet,
)
from alerts.review_models import Review, SessionTally
from sessions.models import ExamSession

__all__ = [
    "HOLDING_ATTEMPTS", "Alert", "Delivery", "DeliveryAttempt", "DeliveryQuerySet", "Evidence", "EvidenceChain",
    "Incident", "Notice", "Review", "SessionTally", "Subscription", "SubscriptionQuerySet",
]  # fmt: skip


class IncidentQuerySet(models.QuerySet["Incident"]):
    def of(self, organisation: Organisation) -> IncidentQuerySet:
        return self.filter(organisation=organisation)

    def undecided(self) -> IncidentQuerySet:
        """Incidents about behaviour that are over and wait for a person."""
        return self.filter(state__in=Incident.UNDECIDED, technical=False)


class Incident(models.Model):
    """A rule's verdict over time: opened, closed, decided on by a person (``Review``). It never decides guilt."""

    class State(models.TextChoices):
        OPEN = "open"
        CLOSED = "closed"
        CONFIRMED = "confirmed"
        DISMISSED = "dismissed"
        REOPENED = "reopened"

    UNDECIDED = (State.CLOSED, State.REOPENED)
    """Over, and nobody has decided, or not for good."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="incidents")
    session = models.ForeignKey(ExamSession, on_delete=models.CASCADE, related_name="incidents")
    event_type = models.CharField(max_length=32)
    technical = models.BooleanField(help_text="About the connection or equipment; never part of a behaviour score.")
    state = models.CharField(max_length=16, choices=State.choices, default=State.OPEN)
    version = models.PositiveIntegerField(
        default=1, help_text="1 while open, 2 when closed, one more with each decision of a person."
    )
    started_at = models.DateTimeField(help_text="Capture time of the onset.")
    decided_at = models.DateTimeField(help_text="Capture time at which the hold time was fulfilled.")
    ended_at = models.DateTimeField(null=True, blank=True, help_text="Capture time of the end.")
    severity = models.FloatField(help_text="0 to 1, by the formula in docs/events.md, with the weight of then.")
    excess = models.FloatField(default=1.0, help_text="How far the peak went beyond the threshold, 0 to 1.")
    points = models.FloatField(default=0.0, help_text="What it adds to the session's risk, by the weight of today.")
    value = models.FloatField(null=True, blank=True, help_text="The measure at the decision.")
    peak_value = models.FloatField(help_text="The measure at its most extreme.")
    peak_at = models.DateTimeField(null=True, blank=True, help_text="Capture time of the peak.")
    raw_score = models.FloatField(null=True, blank=True, help_text="What the model itself gave at the decision.")
    sample_ids = ArrayField(
        models.CharField(max_length=32), default=list, help_text="The frames or audio windows behind the decision."
    )
    frame_ids = ArrayField(
        models.CharField(max_length=32), default=list, help_text="The frames of onset, peak and decision."
    )
    rule = models.JSONField(help_text="The rule as the policy had it: measure, thresholds, hold and release times.")
    measures = models.JSONField(help_text="What was measured at the onset, at the decision and at the peak.")
    model = models.CharField(max_length=64, help_text="Which model measured it.")
    policy_version = models.CharField(max_length=32)
    created_at = models.DateTimeField(default=timezone.now)

    objects = IncidentQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["session", "started_at"], name="incident_by_session"),
            models.Index(fields=["organisation", "-created_at"], name="incident_recent"),
            models.Index(
                fields=["organisation", "session", "started_at"],
                condition=models.Q(state__in=["closed", "reopened"], technical=False),
                name="incident_undecided",
            ),
        ]
        permissions = [("review_incident", "Can decide on incidents")]

    def __str__(self) -> str:
        return f"{self.event_type} {localtime(self.started_at):%H:%M:%S %Z}"


class Evidence(models.Model):
    """A stored frame behind an incident, sealed under the candidate's data key."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="evidence")
    incident = models.ForeignKey(Incident, on_delete=models.CASCADE, related_name="evidence")
    session = models.ForeignKey(ExamSession, on_delete=models.CASCADE, related_name="evidence")
    frame_id = models.CharField(max_length=32)
    captured_at = models.DateTimeField()
    content_type = models.CharField(max_length=64, default="image/jpeg")
    sha256 = models.CharField(max_length=64, help_text="Of the picture before it was sealed.")
    storage_name = models.CharField(max_length=255)
    expires_at = models.DateTimeField()
    removed_at = models.DateTimeField(
        null=True, blank=True, help_text="When the picture was removed; the row stays as proof that there was one."
    )
    created_at = models.DateTimeField(default=timezone.now)
    chain_index = models.PositiveIntegerField(
        null=True, editable=False, help_text="1, 2, 3 … within the session. Empty: stored before there were chains."
    )
    chain_mac = models.BinaryField(
        default=bytes, help_text="Binds the row to the one before: alerts/evidence_chain.py."
    )

    class Meta:
        verbose_name_plural = "evidence"
        constraints = [models.UniqueConstraint(fields=["incident", "frame_id"], name="evidence_frame_once")]
        indexes = [models.Index(fields=["expires_at"], condition=models.Q(removed_at=None), name="evidence_expiring")]

    def __str__(self) -> str:
        return f"{self.frame_id} {self.captured_at:%H:%M:%S}"


class EvidenceChain(models.Model):
    """Where a session's chain of evidence ends; sealed, so that it cannot be set back to an earlier end."""

    session = models.OneToOneField(
        ExamSession, on_delete=models.CASCADE, primary_key=True, related_name="evidence_chain"
    )
    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="+", db_index=False)
    key_version = models.PositiveIntegerField(help_text="Of the organisation's evidence key.")
    length = models.PositiveIntegerField(default=0)
    mac = models.BinaryField(default=bytes, help_text="Of the last row.")
    seal = models.BinaryField(default=bytes, help_text="Over length and mac.")

    def __str__(self) -> str:
        return f"{self.length} of {self.session_id}"


class AlertQuerySet(models.QuerySet["Alert"]):
    def of(self, organisation: Organisation) -> AlertQuerySet:
        return self.filter(organisation=organisation)

    def after(self, *, session_id: uuid.UUID, sequence: int) -> AlertQuerySet:
        """Alerts of a session that came after the one numbered ``sequence``, oldest first."""
        return self.filter(session_id=session_id, sequence__gt=sequence).order_by("sequence")


class Alert(models.Model):
    """The event that tells of an incident, in the published schema. Committed with the incident: the outbox."""

    event_id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="alerts")
    session = models.ForeignKey(ExamSession, on_delete=models.CASCADE, related_name="alerts")
    incident = models.ForeignKey(Incident, on_delete=models.CASCADE, related_name="alerts")
    sequence = models.PositiveBigIntegerField(help_text="1, 2, 3 … within the session.")
    event_type = models.CharField(max_length=32)
    phase = models.CharField(max_length=16)
    payload = models.JSONField()
    position = models.BigIntegerField(
        null=True,
        editable=False,
        help_text="Place in the order of all alerts, given after the commit: alerts/stream.py.",
    )
    created_at = models.DateTimeField(default=timezone.now)

    objects = AlertQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["session", "sequence"], name="alert_sequence_once")]
        indexes = [
            models.Index(fields=["organisation", "-created_at"], name="alert_recent"),
            # Not unique: setting a column of a unique index locks out whoever writes a row that points here.
            models.Index(fields=["organisation", "position"], name="alert_in_order"),
            models.Index(fields=["session", "sequence"], condition=models.Q(position=None), name="alert_unplaced"),
        ]
        ordering = ["session", "sequence"]

    def __str__(self) -> str:
        return f"{self.event_type} {self.phase}"

    @property
    def exam_id(self) -> str | None:
        """Return the platform's name of the exam, as the alert tells it."""
        exam_id: str | None = self.payload["metadata"]["exam_id"]
        return exam_id
