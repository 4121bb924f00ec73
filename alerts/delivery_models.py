"""Who is told (subscriptions), of what besides alerts (notices), and how it goes (deliveries and their attempts)."""

from __future__ import annotations

import uuid
from datetime import datetime

from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Coalesce
from django.utils import timezone

from accounts.models import Organisation
from sessions.models import ExamSession


class Notice(models.Model):
    """What the service tells of its own work, such as an alert that could not be delivered.

    Like an alert it is delivered to subscriptions; it has no incident and no place in the session's sequence.
    """

    event_id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="notices", db_index=False)
    session = models.ForeignKey(ExamSession, on_delete=models.CASCADE, related_name="notices")
    event_type = models.CharField(max_length=32)
    payload = models.JSONField()
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes = [models.Index(fields=["organisation", "-created_at"], name="notice_recent")]

    def __str__(self) -> str:
        return self.event_type


CONCURRENCY_LIMITS = [MinValueValidator(1), MaxValueValidator(32)]
RATE_LIMITS = [MinValueValidator(1), MaxValueValidator(10_000)]


class SubscriptionQuerySet(models.QuerySet["Subscription"]):
    def of(self, organisation: Organisation) -> SubscriptionQuerySet:
        return self.filter(organisation=organisation)

    def with_queue(self) -> SubscriptionQuerySet:
        """Add ``pending_count`` and ``parked_count``; reads the indexes of what is not delivered alone."""
        counts = {
            f"{state}_count": Coalesce(
                models.Subquery(
                    Delivery.objects.filter(subscription=models.OuterRef("pk"), state=state)
                    .order_by()
                    .values("subscription")
                    .annotate(n=models.Count("pk"))
                    .values("n")
                ),
                0,
            )
            for state in (Delivery.State.PENDING, Delivery.State.PARKED)
        }
        return self.annotate(**counts)

    def with_due(self, now: datetime) -> SubscriptionQuerySet:
        """Enabled subscriptions that have a delivery whose time has come, and whose breaker lets it through.

        Its cost does not grow with what has been delivered: it reads the index of what is pending, once a subscription.
        """
        due = Delivery.objects.due(now).filter(subscription=models.OuterRef("pk"))
        ready = models.Q(breaker_until=None) | models.Q(breaker_until__lte=now)
        return self.filter(ready, models.Exists(due), enabled=True)


class Subscription(models.Model):
    """Where an organisation wants its alerts delivered, and how it goes.

    What follows ``disabled_reason`` but ``created_at`` is written by the deliveries, under the row's lock; whoever else
    saves a row names the fields.
    """

    class Transport(models.TextChoices):
        WEBHOOK = "webhook"
        GRPC = "grpc", "gRPC"
        KAFKA = "kafka"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="subscriptions")
    transport = models.CharField(max_length=16, choices=Transport.choices)
    url = models.CharField(
        "address", max_length=2000, blank=True, help_text="A URL; by Kafka a topic, empty for the deployment's."
    )
    sealed_secret = models.BinaryField(
        default=bytes, help_text="Sealed under the key-encryption key; never shown again. Empty: there is none."
    )
    sealed_previous_secret = models.BinaryField(
        default=bytes, help_text="The one before, with which messages are signed too until previous_secret_until."
    )
    previous_secret_until = models.DateTimeField(null=True, blank=True, editable=False)
    public_key = models.CharField(
        max_length=100,
        blank=True,
        editable=False,
        help_text="Checks signatures, if the secret is an ed25519 key.",
    )
    event_types = ArrayField(models.CharField(max_length=32), default=list, blank=True, help_text="Empty: all.")
    exam_ids = ArrayField(models.CharField(max_length=128), default=list, blank=True, help_text="Empty: all.")
    ordered = models.BooleanField(
        default=True, help_text="The alerts of a session one after the other: one that fails holds the later ones."
    )
    concurrency = models.PositiveSmallIntegerField(
        default=4, validators=CONCURRENCY_LIMITS, help_text="Calls under way at once, each with other sessions."
    )
    rate_per_s = models.PositiveIntegerField(
        null=True, blank=True, validators=RATE_LIMITS, help_text="Most alerts a second. Empty: as many as it takes."
    )
    enabled = models.BooleanField(default=True)
    disabled_reason = models.CharField(max_length=200, blank=True, help_text="Why it was switched off by the service.")
    created_at = models.DateTimeField(default=timezone.now)
    calls = models.JSONField(
        default=dict, editable=False, help_text="Calls under way: each one's lease and when that ends, Unix seconds."
    )
    rate_used_at = models.DateTimeField(
        null=True, editable=False, help_text="Up to which moment the rate is used up; may lie ahead."
    )
    last_success_at = models.DateTimeField(null=True, editable=False)
    failing_since = models.DateTimeField(
        null=True, editable=False, help_text="First of the failures in a row: nothing has been taken since."
    )
    failure_count = models.PositiveIntegerField(
        default=0, editable=False, help_text="How many in a row look like an outage."
    )
    breaker_until = models.DateTimeField(null=True, editable=False, help_text="Nothing is sent before.")
    breaker_trips = models.PositiveSmallIntegerField(
        default=0, editable=False, help_text="How often the breaker has opened since the last success."
    )

    objects = SubscriptionQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(concurrency__gte=1), name="subscription_concurrency_positive"),
            models.CheckConstraint(
                condition=models.Q(rate_per_s=None) | models.Q(rate_per_s__gte=1), name="subscription_rate_positive"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.transport} {self.place}"

    @property
    def place(self) -> str:
        """Return the address for people, also where Kafka's topic is left to the deployment."""
        return self.url or "(the deployment's topic)"

    def wants(self, *, event_type: str, exam_id: str | None) -> bool:
        """Tell whether the filters let an alert of this type and exam through; an empty filter lets all through."""
        right_type = not self.event_types or event_type in self.event_types
        return right_type and (not self.exam_ids or exam_id in self.exam_ids)


HOLDING_ATTEMPTS = 5
"""So often a delivery is tried before the later ones of its session go ahead of it: two minutes, by the schedule."""


class DeliveryQuerySet(models.QuerySet["Delivery"]):
    def of(self, organisation: Organisation) -> DeliveryQuerySet:
        return self.filter(organisation=organisation)

    def pending(self) -> DeliveryQuerySet:
        return self.filter(state=Delivery.State.PENDING)

    def due(self, now: datetime) -> DeliveryQuerySet:
        """Pending deliveries whose time has come and that no worker holds.

        Order is not looked at: an earlier one of the session may have to go first. Claiming sees to that.
        """
        return self.pending().free(now).filter(next_attempt_at__lte=now)

    def free(self, now: datetime) -> DeliveryQuerySet:
        """Deliveries that no worker is making."""
        return self.filter(models.Q(leased_until=None) | models.Q(leased_until__lte=now))

    def of_event(self, event_id: uuid.UUID) -> DeliveryQuerySet:
        """Deliveries of one alert or notice."""
        return self.filter(models.Q(alert=event_id) | models.Q(notice=event_id))

    def of_event_type(self, event_type: str) -> DeliveryQuerySet:
        """Deliveries of alerts and notices of one type."""
        return self.filter(models.Q(alert__event_type=event_type) | models.Q(notice__event_type=event_type))


class Delivery(models.Model):
    """One alert, or one notice, on its way to one subscription. Committed with it; Celery only wakes the delivery.

    ``session`` and ``sequence`` repeat the alert's, so that the order within a session is kept by one index; a notice
    has no sequence. A worker claims a delivery by its ``lease``, until ``leased_until``; neither is in any index, so
    claiming touches none.
    """

    class State(models.TextChoices):
        PENDING = "pending"
        DELIVERED = "delivered"
        PARKED = "parked"

    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="deliveries", db_index=False)
    alert = models.ForeignKey(
        "alerts.Alert", on_delete=models.CASCADE, related_name="deliveries", null=True, blank=True, db_index=False
    )
    notice = models.ForeignKey(Notice, on_delete=models.CASCADE, related_name="deliveries", null=True, blank=True)
    subscription = models.ForeignKey(Subscription, on_delete=models.CASCADE, related_name="deliveries", db_index=False)
    session = models.ForeignKey(ExamSession, on_delete=models.CASCADE, related_name="deliveries")
    sequence = models.PositiveBigIntegerField(null=True, blank=True)
    state = models.CharField(max_length=16, choices=State.choices, default=State.PENDING)
    attempt_count = models.PositiveIntegerField(default=0)
    next_attempt_at = models.DateTimeField(default=timezone.now)
    lease = models.UUIDField(null=True, blank=True, editable=False, help_text="The call of a worker that makes it now.")
    leased_until = models.DateTimeField(null=True, blank=True, editable=False)
    delivered_at = models.DateTimeField(null=True, blank=True)
    queued_at = models.DateTimeField(
        default=timezone.now, help_text="When it was last put into the queue: with its alert, or to be sent again."
    )
    created_at = models.DateTimeField(default=timezone.now)

    objects = DeliveryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "deliveries"
        constraints = [
            models.UniqueConstraint(fields=["alert", "subscription"], name="delivery_once"),
            models.CheckConstraint(
                condition=models.Q(alert=None, notice__isnull=False, sequence=None)
                | models.Q(alert__isnull=False, notice=None, sequence__isnull=False),
                name="delivery_of_one",
            ),
        ]
        indexes = [
            models.Index(
                fields=["subscription", "next_attempt_at"], condition=models.Q(state="pending"), name="delivery_due"
            ),
            models.Index(
                fields=["subscription", "session", "sequence"],
                condition=models.Q(state="pending"),
                name="delivery_in_order",
            ),
            models.Index(fields=["subscription"], condition=models.Q(state="parked"), name="delivery_parked"),
            models.Index(fields=["subscription", "-created_at"], name="delivery_by_subscription"),
            models.Index(fields=["organisation", "-created_at"], name="delivery_recent"),
            models.Index(
                fields=["organisation", "state"], condition=~models.Q(state="delivered"), name="delivery_unsettled"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.alert or self.notice} → {self.subscription}"

    @property
    def event_type(self) -> str:
        """Event type of the alert or the notice."""
        told = self.alert or self.notice
        assert told is not None
        return told.event_type


class DeliveryAttempt(models.Model):
    """One try at a delivery, and what the subscriber answered."""

    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="+", db_index=False)
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
