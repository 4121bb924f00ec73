"""Figures of one organisation for ``GET /api/v1/admin/stats``: a handful of grouped queries, whatever the size."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, F, Q, QuerySet, Sum
from django.db.models.functions import TruncHour
from django.utils import timezone
from rest_framework import serializers

from accounts.models import Organisation
from alerts.models import Alert, Delivery, Incident, Review, Subscription
from alerts.payload import iso
from sessions.models import RISK_NOTE, ExamSession, MediaGap

WINDOW = timedelta(hours=24)
RETRIED_FOR = timedelta(days=4)
HIGHEST = 10
"""So many sessions are named with their risk scores."""


class StatsWindow(serializers.Serializer[Any]):
    since = serializers.DateTimeField()
    until = serializers.DateTimeField()


class IncidentFigures(serializers.Serializer[Any]):
    open = serializers.IntegerField(help_text="Open now.")
    by_type = serializers.DictField(child=serializers.IntegerField(), help_text="Within the window.")
    behaviour = serializers.IntegerField(help_text="Within the window, about behaviour.")
    technical = serializers.IntegerField(help_text="Within the window, about connection and equipment.")


class ReviewFigures(serializers.Serializer[Any]):
    waiting = serializers.IntegerField(help_text="Incidents about behaviour that wait for a person now.")
    confirmed = serializers.IntegerField(help_text="Decisions within the window.")
    dismissed = serializers.IntegerField(help_text="Decisions within the window.")
    reopened = serializers.IntegerField(help_text="Decisions within the window.")


class RiskFigures(serializers.Serializer[Any]):
    session_id = serializers.CharField()
    state = serializers.CharField()
    risk_score = serializers.FloatField(help_text=RISK_NOTE)


class HourFigures(serializers.Serializer[Any]):
    hour = serializers.DateTimeField()
    alerts = serializers.IntegerField()


class SubscriptionFigures(serializers.Serializer[Any]):
    enabled = serializers.IntegerField()
    disabled = serializers.IntegerField()


class GapFigures(serializers.Serializer[Any]):
    stream = serializers.CharField()
    reason = serializers.CharField()
    gaps = serializers.IntegerField()
    skipped = serializers.IntegerField(help_text="Sampled frames or audio windows.")
    seconds = serializers.FloatField()


class StatsSerializer(serializers.Serializer[Any]):
    """What ``collect`` returns."""

    window = StatsWindow(help_text="The last 24 hours.")
    sessions = serializers.DictField(child=serializers.IntegerField(), help_text="By state, of all time.")
    incidents = IncidentFigures()
    reviews = ReviewFigures()
    highest_risks = RiskFigures(many=True, help_text="Of sessions that run or ended within the window.")
    risk_note = serializers.CharField(help_text="What the scores are for, to be shown with them.")
    alerts_per_hour = HourFigures(many=True)
    subscriptions = SubscriptionFigures()
    deliveries = serializers.DictField(
        child=serializers.IntegerField(), help_text="By state: pending and parked now, delivered within the window."
    )
    media_gaps = GapFigures(many=True)


def collect(organisation: Organisation, *, now: datetime | None = None) -> dict[str, Any]:
    """Return the organisation's figures; "within the window" is the last 24 hours."""
    until = now or timezone.now()
    since = until - WINDOW
    return {
        "window": {"since": iso(since), "until": iso(until)},
        "sessions": _sessions(organisation),
        "incidents": _incidents(organisation, since),
        "reviews": _reviews(organisation, since),
        "highest_risks": _highest_risks(organisation, since),
        "risk_note": RISK_NOTE,
        "alerts_per_hour": _alerts_per_hour(organisation, since),
        "subscriptions": _subscriptions(organisation),
        "deliveries": _deliveries(organisation, since),
        "media_gaps": _media_gaps(organisation, since),
    }


def _by(queryset: QuerySet[Any], field: str) -> dict[Any, int]:
    return dict(queryset.order_by().values_list(field).annotate(n=Count("pk")))


def _sessions(organisation: Organisation) -> dict[str, int]:
    return dict.fromkeys(ExamSession.State.values, 0) | _by(ExamSession.objects.of(organisation), "state")


def _incidents(organisation: Organisation, since: datetime) -> dict[str, Any]:
    recent = Incident.objects.of(organisation).filter(created_at__gte=since)
    rows = list(recent.order_by("event_type").values_list("event_type", "technical").annotate(n=Count("pk")))
    return {
        "open": Incident.objects.of(organisation).filter(state=Incident.State.OPEN).count(),
        "by_type": {event_type: count for event_type, _, count in rows},
        "behaviour": sum(count for _, technical, count in rows if not technical),
        "technical": sum(count for _, technical, count in rows if technical),
    }


def _reviews(organisation: Organisation, since: datetime) -> dict[str, int]:
    recent = Review.objects.filter(organisation=organisation, created_at__gte=since)
    waiting = Incident.objects.of(organisation).undecided().count()
    return {"waiting": waiting} | dict.fromkeys(Review.Decision.values, 0) | _by(recent, "decision")


def _highest_risks(organisation: Organisation, since: datetime) -> list[dict[str, Any]]:
    current = ExamSession.objects.of(organisation).filter(Q(ended_at=None) | Q(ended_at__gte=since))
    rows = current.filter(tally__risk_score__gt=0).order_by("-tally__risk_score", "id")[:HIGHEST]
    return [
        {"session_id": session_id, "state": state, "risk_score": risk_score}
        for session_id, state, risk_score in rows.values_list("session_id", "state", "tally__risk_score")
    ]


def _alerts_per_hour(organisation: Organisation, since: datetime) -> list[dict[str, Any]]:
    recent = Alert.objects.of(organisation).filter(created_at__gte=since)
    hours = recent.annotate(hour=TruncHour("created_at")).order_by("hour").values_list("hour").annotate(n=Count("pk"))
    return [{"hour": iso(hour), "alerts": count} for hour, count in hours]


def _subscriptions(organisation: Organisation) -> dict[str, int]:
    counts = _by(Subscription.objects.of(organisation), "enabled")
    return {"enabled": counts.get(True, 0), "disabled": counts.get(False, 0)}


def _deliveries(organisation: Organisation, since: datetime) -> dict[str, int]:
    deliveries = Delivery.objects.of(organisation)
    # What is delivered now was written at most the whole retry schedule ago: that bounds how far back we look.
    delivered = deliveries.filter(
        state=Delivery.State.DELIVERED, delivered_at__gte=since, created_at__gte=since - RETRIED_FOR
    )
    counts = _by(deliveries.exclude(state=Delivery.State.DELIVERED), "state")
    return dict.fromkeys(Delivery.State.values, 0) | counts | {"delivered": delivered.count()}


def _media_gaps(organisation: Organisation, since: datetime) -> list[dict[str, Any]]:
    recent = MediaGap.objects.filter(organisation=organisation, ended_at__gte=since)
    grouped = recent.order_by("stream", "reason").values("stream", "reason")
    rows = grouped.annotate(gaps=Count("pk"), skipped=Sum("skipped"), length=Sum(F("ended_at") - F("started_at")))
    return [
        {
            "stream": row["stream"],
            "reason": row["reason"],
            "gaps": row["gaps"],
            "skipped": row["skipped"],
            "seconds": round(row["length"].total_seconds(), 1),
        }
        for row in rows
    ]
