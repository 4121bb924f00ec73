"""Shapes of what the incident endpoints read and answer."""

from __future__ import annotations

from typing import Any, Final

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from alerts import why
from alerts.evidence import link
from alerts.incident_selectors import UNDECIDED
from alerts.models import Incident, Review
from alerts.reviews import REASON_LENGTH
from detection.engine.policy import EventType
from enrollment.serializers import ExternalIdField

STATES: Final = [*Incident.State.values, UNDECIDED]
ORDERINGS: Final = ["-created_at", "created_at", "-severity", "severity"]


class IncidentListQuerySerializer(serializers.Serializer[Any]):
    """How the list of incidents may be filtered and sorted."""

    session_id = ExternalIdField(required=False, help_text="Your name for the session, or ours.")
    exam_id = ExternalIdField(required=False)
    candidate_id = ExternalIdField(required=False)
    event_type = serializers.ChoiceField(choices=[event.value for event in EventType], required=False)
    state = serializers.ChoiceField(
        choices=STATES, required=False, help_text="`undecided`: over, about behaviour, and waiting for a person."
    )
    technical = serializers.BooleanField(required=False, allow_null=True, default=None)
    since = serializers.DateTimeField(required=False, help_text="Began at this time or later.")
    until = serializers.DateTimeField(required=False, help_text="Began before this time.")
    min_severity = serializers.FloatField(required=False, min_value=0, max_value=1)
    ordering = serializers.ChoiceField(choices=ORDERINGS, default="-created_at")


class IncidentRowSerializer(serializers.Serializer[Any]):
    """An incident in a list."""

    incident_id = serializers.UUIDField(source="id")
    session_id = serializers.CharField(source="session.session_id", help_text="Your name for the session.")
    candidate_id = serializers.CharField(source="session.candidate.candidate_id")
    exam_id = serializers.SerializerMethodField()
    event_type = serializers.CharField()
    technical = serializers.BooleanField(help_text="About connection or equipment: no part of any score.")
    state = serializers.ChoiceField(choices=Incident.State.choices)
    version = serializers.IntegerField(help_text="One more with each change; name it when you review.")
    started_at = serializers.DateTimeField()
    decided_at = serializers.DateTimeField(help_text="When the rule was sure.")
    ended_at = serializers.DateTimeField(allow_null=True)
    severity_score = serializers.FloatField(source="severity", help_text="0 to 1, of the peak.")
    risk_points = serializers.FloatField(source="points", help_text="What it adds to the session's risk.")
    created_at = serializers.DateTimeField()

    @extend_schema_field(serializers.CharField(allow_null=True))
    def get_exam_id(self, incident: Incident) -> str | None:
        return incident.session.exam.exam_id if incident.session.exam else None


class ReviewSerializer(serializers.Serializer[Any]):
    """A person's decision on an incident."""

    version = serializers.IntegerField(help_text="The incident's version that it made.")
    decision = serializers.ChoiceField(choices=Review.Decision.choices)
    reason = serializers.CharField()
    reviewer = serializers.CharField(help_text="Who decided.")
    api_key = serializers.SerializerMethodField(help_text="Name of the platform's key; null for who signed in here.")
    created_at = serializers.DateTimeField()

    @extend_schema_field(serializers.CharField(allow_null=True))
    def get_api_key(self, review: Review) -> str | None:
        return review.api_key.name if review.api_key else None


class PictureSerializer(serializers.Serializer[Any]):
    """A picture that is kept."""

    evidence_id = serializers.UUIDField(source="id")
    frame_id = serializers.CharField()
    captured_at = serializers.DateTimeField()
    sha256 = serializers.CharField()
    expires_at = serializers.DateTimeField()
    url = serializers.SerializerMethodField(help_text="Signed, good for four days without a key.")

    def get_url(self, row: Any) -> str:
        return link(row.pk)


class NamedSerializer(serializers.Serializer[Any]):
    """A value with its name."""

    name = serializers.CharField()
    value = serializers.CharField()


class MeasureSerializer(serializers.Serializer[Any]):
    """One measure at three moments; empty where it was not measured."""

    name = serializers.CharField()
    onset = serializers.CharField(allow_blank=True)
    decision = serializers.CharField(allow_blank=True)
    peak = serializers.CharField(allow_blank=True)


class WhySerializer(serializers.Serializer[Any]):
    """Why the incident was opened, in the words and numbers that the admin shows."""

    sentence = serializers.CharField()
    scores = NamedSerializer(many=True)
    rule = serializers.DictField(help_text="The rule as the policy had it.")
    model = serializers.CharField(help_text="What measured it.")
    policy = serializers.CharField()
    policy_version = serializers.CharField()
    accommodations = serializers.ListField(child=serializers.CharField())
    severity = serializers.CharField(help_text="How the severity came about.")
    measures = MeasureSerializer(many=True)


class IncidentSerializer(IncidentRowSerializer):
    """An incident with its pictures, the reasons for it, and what people decided. ``pictures`` in the context: links
    to pictures are given."""

    evidence = serializers.SerializerMethodField()
    reviews = ReviewSerializer(many=True, source="reviews.all")
    why = serializers.SerializerMethodField()

    @extend_schema_field(PictureSerializer(many=True))
    def get_evidence(self, incident: Incident) -> list[dict[str, Any]]:
        rows = [row for row in incident.evidence.all() if row.removed_at is None and self.context["pictures"]]
        return list(PictureSerializer(rows, many=True).data)

    @extend_schema_field(WhySerializer)
    def get_why(self, incident: Incident) -> dict[str, Any]:
        return dict(
            WhySerializer(
                {
                    "sentence": why.sentence(incident),
                    "scores": [{"name": name, "value": value} for name, value in why.scores(incident)],
                    "rule": incident.rule,
                    "model": incident.model,
                    "policy": incident.session.policy_name,
                    "policy_version": incident.policy_version,
                    "accommodations": why.accommodations(incident),
                    "severity": why.severity_sum(incident),
                    "measures": why.measures(incident),
                }
            ).data
        )


class IncidentPageSerializer(serializers.Serializer[Any]):
    """One page of incidents."""

    count = serializers.IntegerField(help_text="Of all pages.")
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
    results = IncidentRowSerializer(many=True)


class ReviewCreateSerializer(serializers.Serializer[Any]):
    """What a person decided."""

    decision = serializers.ChoiceField(choices=Review.Decision.choices)
    reason = serializers.CharField(max_length=REASON_LENGTH)
    version = serializers.IntegerField(
        required=False,
        min_value=1,
        max_value=2**31 - 1,
        help_text="The incident's version as you read it: if somebody was faster, 409 `incident_changed`.",
    )
    reviewer = serializers.CharField(
        required=False,
        max_length=150,
        help_text="The person at your platform who decided, with an API key. Who signs in here is known.",
    )
