"""Shapes of what the delivery endpoints read and answer."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from alerts.deliveries import Wanted
from alerts.models import Delivery, DeliveryAttempt
from alerts.subscriptions import event_types_check

PAGE = 50
PAGE_MOST = 200


class WantedSerializer(serializers.Serializer[Any]):
    """Which deliveries."""

    state = serializers.MultipleChoiceField(choices=Delivery.State.choices, required=False, help_text="One or more.")
    subscription_id = serializers.UUIDField(required=False)
    session_id = serializers.CharField(required=False, max_length=128, help_text="The platform's name of the session.")
    event_type = serializers.CharField(required=False, max_length=32)
    event_id = serializers.UUIDField(required=False)
    since = serializers.DateTimeField(required=False, help_text="Alerts written at this time or later.")
    until = serializers.DateTimeField(required=False, help_text="Alerts written before this time.")

    def validate(self, given: dict[str, Any]) -> dict[str, Any]:
        """Refuse what can find nothing: a kind that there is not, a time that ends before it begins."""
        if "event_type" in given:
            event_types_check([given["event_type"]])
        if "since" in given and "until" in given and given["until"] <= given["since"]:
            raise serializers.ValidationError({"until": ["It must be later than since."]})
        return given

    def wanted(self) -> Wanted:
        """Return what was asked for."""
        given = dict(self.validated_data)
        return Wanted(
            states=sorted(given.get("state", ())),
            **{name: given.get(name) for name in ("subscription_id", "session_id", "event_type", "event_id")},
            since=given.get("since"),
            until=given.get("until"),
        )


class DeliveryQuerySerializer(WantedSerializer):
    """Which deliveries, and from where on."""

    before = serializers.IntegerField(required=False, min_value=1, help_text="`next` of the page before.")
    limit = serializers.IntegerField(required=False, min_value=1, max_value=PAGE_MOST, default=PAGE)


class AttemptSerializer(serializers.ModelSerializer[DeliveryAttempt]):
    """One try."""

    class Meta:
        model = DeliveryAttempt
        fields = ["attempted_at", "duration_ms", "status_code", "response", "error"]
        read_only_fields = fields


class DeliverySerializer(serializers.ModelSerializer[Delivery]):
    """One alert, or one notice, on its way to one subscription."""

    event_id = serializers.SerializerMethodField()
    event_type = serializers.SerializerMethodField()
    session_id = serializers.CharField(source="session.session_id")
    subscription_id = serializers.UUIDField()
    next_attempt_at = serializers.SerializerMethodField(help_text="Null when it is settled.")

    class Meta:
        model = Delivery
        fields = [
            "id", "event_id", "event_type", "session_id", "sequence", "subscription_id", "state", "attempt_count",
            "next_attempt_at", "delivered_at", "queued_at", "created_at",
        ]  # fmt: skip
        read_only_fields = fields

    def get_event_id(self, delivery: Delivery) -> str:
        return str(delivery.alert_id or delivery.notice_id)

    def get_event_type(self, delivery: Delivery) -> str:
        return delivery.event_type

    def get_next_attempt_at(self, delivery: Delivery) -> str | None:
        waiting = delivery.state == Delivery.State.PENDING
        return delivery.next_attempt_at.isoformat().replace("+00:00", "Z") if waiting else None


class DeliveryDetailSerializer(DeliverySerializer):
    """A delivery with every try."""

    attempts = AttemptSerializer(many=True)

    class Meta(DeliverySerializer.Meta):
        fields = [*DeliverySerializer.Meta.fields, "attempts"]
        read_only_fields = fields


class DeliveryListSerializer(serializers.Serializer[Any]):
    """One page of deliveries, the newest first."""

    results = DeliverySerializer(many=True)
    next = serializers.IntegerField(allow_null=True, help_text="Give it as `before` for the next page; null: no more.")


class ResentSerializer(serializers.Serializer[Any]):
    """How many deliveries were queued again."""

    queued = serializers.IntegerField()
    more = serializers.BooleanField(help_text="There are more: ask again, with `since` or `until` moved.")


class TestedSerializer(serializers.Serializer[Any]):
    """What came of a sample."""

    event_id = serializers.UUIDField()
    delivered = serializers.BooleanField()
    status_code = serializers.IntegerField(allow_null=True)
    response = serializers.CharField(help_text="The first kilobyte of the answer.")
    error = serializers.CharField(help_text="Empty when it was delivered.")
    duration_ms = serializers.FloatField()


class RotateSerializer(serializers.Serializer[Any]):
    """The new secret, and for how long the old one is used as well."""

    secret = serializers.CharField(required=False, max_length=200, help_text="Generated when left out.")
    signature = serializers.ChoiceField(
        choices=["hmac-sha256", "ed25519"], default="hmac-sha256", help_text="The kind of a generated secret."
    )
    overlap_s = serializers.IntegerField(
        default=86_400, min_value=0, max_value=30 * 86_400, help_text="Seconds in which alerts carry both signatures."
    )


class RotatedSerializer(serializers.Serializer[Any]):
    """A subscription's new secret."""

    secret = serializers.CharField(required=False, help_text="Shown only now; absent when one was given.")
    public_key = serializers.CharField(help_text="For ed25519; otherwise empty.")
    previous_secret_until = serializers.DateTimeField()
