"""What persisted (incidents with evidence), the events that tell of it (alerts), and who was told (deliveries)."""

from __future__ import annotations

import uuid

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils import timezone

from accounts.models import Organisation
from sessions.models import ExamSession


class Incident(models.Model):
    """A rule's verdict over time: opened, closed, looked at by a person. It never decides guilt."""

    class State(models.TextChoices):
        OPEN = "open"
        CLOSED = "closed"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="incidents")
    session = models.ForeignKey(ExamSession, on_delete=models.CASCADE, related_name="incidents")
    event_type = models.CharField(max_length=32)
    technical = models.BooleanField(help_text="About the connection or equipment; never part of a behaviour score.")
    state = models.CharField(max_length=8, choices=State.choices, default=State.OPEN)
    started_at = models.DateTimeField(help_text="Capture time of the onset.")
    decided_at = models.DateTimeField(help_text="Capture time at which the hold time was fulfilled.")
    ended_at = models.DateTimeField(null=True, blank=True, help_text="Capture time of the end.")
    severity = models.FloatField(help_text="0 to 1, from the policy.")
    peak_value = models.FloatField(help_text="The measure at its most extreme.")
    rule = models.JSONField(help_text="The rule as the policy had it: measure, thresholds, hold and release times.")
    measures = models.JSONField(help_text="What was measured at the onset, at the decision and at the peak.")
    model = models.CharField(max_length=64, help_text="Which model measured it.")
    policy_version = models.CharField(max_length=32)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes = [
            models.Index(fields=["session", "started_at"], name="incident_by_session"),
            models.Index(fields=["organisation", "-created_at"], name="incident_recent"),
        ]

    def __str__(self) -> str:
        return f"{self.event_type} {self.started_at:%H:%M:%S}"


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
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name_plural = "evidence"
        constraints = [models.UniqueConstraint(fields=["incident", "frame_id"], name="evidence_frame_once")]

    def __str__(self) -> str:
        return f"{self.frame_id} {self.captured_at:%H:%M:%S}"


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
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["session", "sequence"], name="alert_sequence_once")]
        ordering = ["session", "sequence"]

    def __str__(self) -> str:
        return f"{self.event_type} {self.phase}"


class Subscription(models.Model):
    """Where an organisation wants its alerts delivered."""

    class Transport(models.TextChoices):
        WEBHOOK = "webhook"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="subscriptions")
    transport = models.CharField(max_length=16, choices=Transport.choices)
    url = models.URLField(max_length=2000)
    sealed_secret = models.BinaryField(help_text="Sealed under the key-encryption key; never shown again.")
    event_types = ArrayField(models.CharField(max_length=32), default=list, blank=True, help_text="Empty: all.")
    exam_ids = ArrayField(models.CharField(max_length=128), default=list, blank=True, help_text="Empty: all.")
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"{self.transport} {self.url}"


class Delivery(models.Model):
    """One alert on its way to one subscription. Committed with the alert; Celery only wakes it."""

    class State(models.TextChoices):
        PENDING = "pending"
        DELIVERED = "delivered"
        PARKED = "parked"

    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="deliveries")
    alert = models.ForeignKey(Alert, on_delete=models.CASCADE, related_name="deliveries")
    subscription = models.ForeignKey(Subscription, on_delete=models.CASCADE, related_name="deliveries")
    state = models.CharField(max_length=16, choices=State.choices, default=State.PENDING)
    attempt_count = models.PositiveIntegerField(default=0)
    next_attempt_at = models.DateTimeField(default=timezone.now)
    delivered_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name_plural = "deliveries"
        constraints = [models.UniqueConstraint(fields=["alert", "subscription"], name="delivery_once")]
        indexes = [
            models.Index(fields=["next_attempt_at"], condition=models.Q(state="pending"), name="delivery_due"),
        ]

    def __str__(self) -> str:
        return f"{self.alert} → {self.subscription}"


class DeliveryAttempt(models.Model):
    """One try at a delivery, and what the subscriber answered."""

    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="+")
    delivery = models.ForeignKey(Delivery, on_delete=models.CASCADE, related_name="attempts")
    attempted_at = models.DateTimeField(default=timezone.now)
    duration_ms = models.FloatField()
    status_code = models.PositiveSmallIntegerField(null=True, blank=True)
    response = models.TextField(blank=True, help_text="The first kilobyte of the answer.")
    error = models.TextField(blank=True)

    class Meta:
        ordering = ["attempted_at"]

    def __str__(self) -> str:
        return f"{self.attempted_at:%H:%M:%S} {self.status_code or self.error}"
