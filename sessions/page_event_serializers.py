"""The shapes of what the exam's page tells, and of the answer."""

from __future__ import annotations

import math
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from sessions.browser import MAX_AGE_S, MAX_EVENTS, NEEDED, TOLD, PageEvent


@extend_schema_field({"oneOf": [{"type": "string", "format": "date-time"}, {"type": "number"}]})
class MomentField(serializers.DateTimeField):
    """A time in ISO 8601 or in Unix seconds; becomes Unix seconds."""

    def to_internal_value(self, value: Any) -> Any:
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
        return super().to_internal_value(value).timestamp()


class PageEventSerializer(serializers.Serializer[Any]):
    """One thing that the exam's page noticed."""

    type = serializers.CharField(max_length=32, help_text=f"One of {', '.join(TOLD)}.")
    at = MomentField(help_text=f"When, on the page's clock; told at most {MAX_AGE_S / 60:g} minutes later.")
    ended = serializers.BooleanField(default=False, help_text="It is over.")
    action = serializers.ChoiceField(
        choices=["copy", "cut", "paste"], default="", help_text="Of CLIPBOARD. What was copied is nobody's business."
    )
    camera = serializers.CharField(
        default="",
        allow_blank=True,
        max_length=256,
        help_text="Of CAMERA: `MediaStreamTrack.label`. Kept is the name of a known program only.",
    )
    challenge_id = serializers.UUIDField(required=False, help_text="Of CHALLENGE_STEP.")
    step = serializers.IntegerField(
        required=False,
        min_value=0,
        max_value=9,
        help_text="Of CHALLENGE_STEP: which movement is asked for from now on.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Require what belongs to the type."""
        missing = [name for name in NEEDED.get(attrs["type"], ()) if name not in attrs]
        if missing:
            raise serializers.ValidationError(dict.fromkeys(missing, "This field is required with this type."))
        return attrs


class PageEventsSerializer(serializers.Serializer[Any]):
    """What the exam's page noticed."""

    now = MomentField(required=False, help_text="What the page's clock shows while it sends this: corrects all times.")
    events = serializers.ListField(child=PageEventSerializer(), min_length=1, max_length=MAX_EVENTS)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Turn the body into ``browser_events_send``'s arguments."""
        events = [PageEvent(event.pop("type"), **event) for event in attrs["events"]]
        return {"events": events, "page_now": attrs.get("now")}


class PageEventsTakenSerializer(serializers.Serializer[Any]):
    """What became of it."""

    accepted = serializers.IntegerField(help_text="Events queued.")
