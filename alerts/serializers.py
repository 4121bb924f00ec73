"""Shapes of what the subscription endpoints read and answer."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from alerts.models import Subscription
from enrollment.models import EXTERNAL_ID

URL_LENGTH = 2000
LIST_LENGTH = 100
_ADDRESS = "Of a public host: http(s)://… for webhook, grpc(s)://host:port for grpc."


class _SubscriptionFields(serializers.Serializer[Subscription]):
    url = serializers.CharField(max_length=URL_LENGTH, help_text=_ADDRESS)
    secret = serializers.CharField(
        write_only=True,
        required=False,
        max_length=200,
        help_text="whsec_ and the base64 of 24 to 64 bytes. Generated when left out. Never shown again.",
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
    enabled = serializers.BooleanField(required=False)


class SubscriptionCreateSerializer(_SubscriptionFields):
    """What a new subscription is made of."""

    transport = serializers.ChoiceField(choices=Subscription.Transport.choices)


class SubscriptionUpdateSerializer(_SubscriptionFields):
    """What can be changed; fields that are left out stay as they are."""

    url = serializers.CharField(max_length=URL_LENGTH, required=False, help_text=_ADDRESS)


class SubscriptionSerializer(serializers.ModelSerializer[Subscription]):
    """A subscription as it is shown: without its secret."""

    class Meta:
        model = Subscription
        fields = ["id", "transport", "url", "event_types", "exam_ids", "enabled", "disabled_reason", "created_at"]
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
