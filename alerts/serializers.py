"""Shapes of what the subscription endpoints read and answer."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from alerts.delivery.breaker import State
from alerts.delivery.breaker import state as breaker_state
from alerts.models import Subscription
from enrollment.models import EXTERNAL_ID

URL_LENGTH = 2000
LIST_LENGTH = 100
_ADDRESS = "http(s)://… for webhook, grpc(s)://host:port for grpc; a topic for kafka, empty for the deployment's."


class _SubscriptionFields(serializers.Serializer[Subscription]):
    url = serializers.CharField(max_length=URL_LENGTH, required=False, allow_blank=True, help_text=_ADDRESS)
    secret = serializers.CharField(
        write_only=True,
        required=False,
        max_length=200,
        help_text="whsec_ and the base64 of 24 to 64 bytes, or an ed25519 key: whsk_ and the base64 of its 32 bytes. "
        "Generated when left out. Never shown again.",
    )
    event_types = serializers.ListField(
        child=serializers.CharField(max_length=32),
        required=False,
        max_length=LIST_LENGTH,
        help_text="Only alerts of these types; empty: all.",
    )
    exam_ids = serializers.ListField(
        child=serializers.CharField(max_length=128, validators=[EXTERNAL_ID]),
        required=False,
        max_length=LIST_LENGTH,
        help_text="Only alerts of these exams; empty: all.",
    )
    ordered = serializers.BooleanField(
        required=False, help_text="Alerts of a session one after the other: one that fails holds the later ones."
    )
    concurrency = serializers.IntegerField(
        required=False, min_value=1, max_value=32, help_text="Calls under way at once; 4 when left out."
    )
    rate_per_s = serializers.IntegerField(
        required=False,
        allow_null=True,
        min_value=1,
        max_value=10_000,
        help_text="Most alerts a second; null: no limit.",
    )
    enabled = serializers.BooleanField(required=False)


class SubscriptionCreateSerializer(_SubscriptionFields):
    """What a new subscription is made of."""

    transport = serializers.ChoiceField(choices=Subscription.Transport.choices)
    signature = serializers.ChoiceField(
        choices=["hmac-sha256", "ed25519"], required=False, help_text="The kind of a generated secret."
    )

    def validate(self, given: dict[str, Any]) -> dict[str, Any]:
        """Ask for the address where there is no other to fall back on."""
        if given["transport"] != Subscription.Transport.KAFKA and not given.get("url"):
            raise serializers.ValidationError({"url": ["This field is required."]})
        return given


class SubscriptionUpdateSerializer(_SubscriptionFields):
    """What can be changed; fields that are left out stay as they are."""


class HealthSerializer(serializers.Serializer[Subscription]):
    """How it goes with a subscription."""

    breaker = serializers.SerializerMethodField(help_text="While it is open, nothing is sent.")
    breaker_until = serializers.DateTimeField(allow_null=True)
    last_success_at = serializers.DateTimeField(allow_null=True)
    failing_since = serializers.DateTimeField(allow_null=True, help_text="Since when it has taken nothing.")
    pending = serializers.IntegerField(source="pending_count", help_text="Deliveries waiting.")
    parked = serializers.IntegerField(source="parked_count", help_text="Deliveries given up.")

    @extend_schema_field(serializers.ChoiceField(choices=State.choices))
    def get_breaker(self, subscription: Subscription) -> str:
        return breaker_state(subscription, timezone.now()).value


class SubscriptionSerializer(serializers.ModelSerializer[Subscription]):
    """A subscription as it is shown: without its secret. Its row comes from ``with_queue()``."""

    health = HealthSerializer(source="*")

    class Meta:
        model = Subscription
        fields = [
            "id", "transport", "url", "event_types", "exam_ids", "ordered", "concurrency", "rate_per_s", "public_key",
            "previous_secret_until", "enabled", "disabled_reason", "health", "created_at",
        ]  # fmt: skip
        read_only_fields = fields


class SubscriptionCreatedSerializer(SubscriptionSerializer):
    """A new subscription, with its secret if that was generated: this once."""

    secret = serializers.CharField(
        required=False, read_only=True, help_text="The generated secret, shown only now. Absent when one was given."
    )

    class Meta(SubscriptionSerializer.Meta):
        fields = [*SubscriptionSerializer.Meta.fields, "secret"]
        read_only_fields = fields


class SubscriptionListSerializer(serializers.Serializer[Any]):
    """All subscriptions of the organisation."""

    results = SubscriptionSerializer(many=True)
