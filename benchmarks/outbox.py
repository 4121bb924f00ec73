"""Rows for the benchmarks of the delivery. Imported once Django is set up."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import timedelta

from django.db import connection, transaction
from django.utils import timezone

from accounts.models import Organisation
from alerts import services
from alerts.models import Alert, Delivery, Incident, Subscription
from alerts.subscriptions import subscription_create
from detection.engine.policy import DEFAULT_RULES, EventType
from detection.engine.rules import Change
from enrollment.models import Candidate
from sessions.models import ExamSession


def organisation() -> Organisation:
    """Make an organisation of its own."""
    name = f"bench-{uuid.uuid4().hex[:8]}"
    return Organisation.objects.create(slug=name, name=name)


def sessions(owner: Organisation, count: int) -> list[ExamSession]:
    """Make sessions, each with a candidate."""
    made = []
    for number in range(count):
        candidate = Candidate.objects.create(organisation=owner, candidate_id=f"candidate-{number}")
        made.append(
            ExamSession.objects.create(
                organisation=owner, session_id=f"session-{number}", candidate=candidate, policy_name="default",
                policy_version="1", policy={}, planned_end_at=timezone.now() + timedelta(hours=1),
            )
        )  # fmt: skip
    return made


def subscribe(owner: Organisation, transport: str, address: str) -> Subscription:
    """Make a subscription."""
    return subscription_create(organisation=owner, transport=transport, url=address)[0]


def change() -> Change:
    """Return a finding of its own."""
    at = timezone.now().timestamp()
    return Change(
        finding_id=uuid.uuid4().hex, event_type=EventType.NO_FACE, phase="opened", started_at=at - 3, decided_at=at,
        ended_at=None, value=0.0, peak_value=0.0, peak_at=at - 1, sample_ids=("f1", "f2", "f3"),
        measures={"onset": {}, "decision": {}, "peak": {}}, rule=DEFAULT_RULES[EventType.NO_FACE],
        model="yunet-2023mar", frame_ids=("f1", "f2", "f3"),
    )  # fmt: skip


def apply(session: ExamSession) -> Alert:
    """Commit one alert as detection does."""
    with transaction.atomic():
        return services.incident_apply(session=session, change=change())


def fill(owner: Organisation, among: Sequence[ExamSession], count: int, subscriptions: Sequence[Subscription]) -> None:
    """Write ``count`` alerts dealt out to the sessions, pending for each subscription; like a real one but for ids."""
    with transaction.atomic():
        template = services.incident_apply(session=among[0], change=change())
        Delivery.objects.filter(alert=template).delete()
    incident, document = Incident.objects.get(pk=template.incident_id), template.payload
    fields = {field.attname: getattr(incident, field.attname) for field in Incident._meta.concrete_fields}
    incidents, alerts = [], []
    for number in range(count):
        session, sequence = among[number % len(among)], number // len(among) + 2
        incidents.append(Incident(**fields | {"id": uuid.uuid4(), "session_id": session.pk}))
        event_id = uuid.uuid4()
        payload = document | {
            "event_id": str(event_id), "exam_session_id": session.session_id,
            "metadata": document["metadata"] | {"sequence": sequence, "incident_id": str(incidents[-1].id)},
        }  # fmt: skip
        alerts.append(
            Alert(
                event_id=event_id, organisation=owner, session=session, incident=incidents[-1], sequence=sequence,
                event_type=template.event_type, phase=template.phase, payload=payload,
            )
        )  # fmt: skip
    Incident.objects.bulk_create(incidents, batch_size=1000)
    Alert.objects.bulk_create(alerts, batch_size=1000)
    deliveries = (
        Delivery(
            organisation=owner, alert=alert, subscription=subscription, session_id=alert.session_id,
            sequence=alert.sequence,
        )
        for subscription in subscriptions
        for alert in alerts
    )  # fmt: skip
    Delivery.objects.bulk_create(deliveries, batch_size=1000)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE alerts_delivery, alerts_alert, alerts_subscription")
