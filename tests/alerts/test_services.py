"""What a rule's change leaves in the database."""

from __future__ import annotations

import hashlib
import uuid

import pytest
from django.db import transaction

from alerts import payload, services
from alerts.models import Alert, Delivery, Evidence, Incident
from detection.engine.policy import DEFAULT_RULES, EventType
from tests.alerts import builders

pytestmark = pytest.mark.django_db


def test_opening_writes_the_incident_with_the_reasons_for_it() -> None:
    session = builders.session()
    change = builders.change(
        EventType.FACE_MISMATCH,
        measures={"onset": {}, "decision": {"identity": {"comparison_score": 0.31, "similarity": 0.68}}, "peak": {}},
        model="sface-2021dec",
    )

    alert = builders.apply(session, change)

    incident = Incident.objects.get()
    assert incident.id == uuid.UUID(change.finding_id)
    assert (incident.state, incident.technical, incident.ended_at) == ("open", False, None)
    assert incident.started_at.timestamp() == builders.ONSET
    assert incident.rule["enter"] == 0.75
    assert incident.raw_score == 0.31
    assert incident.sample_ids == ["f1", "f2", "f3"]
    assert incident.organisation_id == session.organisation_id
    assert alert.payload["metadata"]["raw_score"] == 0.31
    assert alert.payload["evidence"]["confidence_metrics"] == {"face_sim": 0.68, "face_sim_peak": 0.68}


def test_closing_sets_end_peak_and_state() -> None:
    session = builders.session()
    opened = builders.change(EventType.FACE_MISMATCH, value=0.7, peak_value=0.7)
    builders.apply(session, opened)

    alert = builders.apply(session, builders.closing(opened, value=0.7, peak_value=0.1, peak_at=builders.ONSET + 5))

    incident = Incident.objects.get()
    assert incident.state == "closed"
    assert incident.ended_at is not None
    assert incident.ended_at.timestamp() == builders.ONSET + 9.5
    assert incident.peak_value == 0.1
    assert incident.severity > 0.8
    assert [a.phase for a in Alert.objects.order_by("sequence")] == ["opened", "closed"]
    assert alert.payload["metadata"]["duration_s"] == 9.5
    assert alert.payload["metadata"]["peak"] == {"value": 0.1, "at": "2026-09-21T14:13:25.250Z"}


@pytest.mark.parametrize("phase", ["opened", "closed"])
def test_the_same_change_again_changes_nothing(phase: str) -> None:
    session = builders.session()
    builders.subscription(session.organisation, "https://93.184.216.34/hook")
    change = builders.change(phase=phase)

    first = builders.apply(session, change)
    second = builders.apply(session, change)

    assert second.event_id == first.event_id
    assert second.sequence == 1
    assert Incident.objects.count() == Alert.objects.count() == Delivery.objects.count() == 1


def test_a_close_without_its_opening_still_tells_the_whole_story() -> None:
    builders.apply(builders.session(), builders.change(phase="closed"))
    incident = Incident.objects.get()
    assert incident.state == "closed"
    assert incident.ended_at is not None


def test_nothing_remains_of_a_transaction_that_is_rolled_back() -> None:
    session = builders.session()
    builders.subscription(session.organisation, "https://93.184.216.34/hook")
    with transaction.atomic():
        services.incident_apply(session=session, change=builders.change())
        transaction.set_rollback(True)
    assert not Incident.objects.exists()
    assert not Alert.objects.exists()
    assert not Delivery.objects.exists()


def test_one_delivery_for_each_enabled_subscription_whose_filters_match() -> None:
    session = builders.session(exam_id="maths")
    owner = session.organisation
    url = "https://93.184.216.34/hook"
    wanted = {
        builders.subscription(owner, url)[0].id,
        builders.subscription(owner, url, event_types=["NO_FACE", "FACE_MISMATCH"])[0].id,
        builders.subscription(owner, url, exam_ids=["maths", "art"])[0].id,
    }
    builders.subscription(owner, url, event_types=["FACE_MISMATCH"])
    builders.subscription(owner, url, exam_ids=["art"])
    builders.subscription(owner, url, enabled=False)
    builders.subscription(builders.organisation(), url)

    alert = builders.apply(session)

    deliveries = Delivery.objects.all()
    assert {delivery.subscription_id for delivery in deliveries} == wanted
    assert len(deliveries) == 3
    assert {(d.alert_id, d.session_id, d.sequence, d.state) for d in deliveries} == {
        (alert.event_id, session.id, 1, "pending")
    }


def test_a_session_without_exam_passes_only_subscriptions_without_exam_filter() -> None:
    session = builders.session()
    builders.subscription(session.organisation, "https://93.184.216.34/", exam_ids=["maths"])
    builders.apply(session)
    assert not Delivery.objects.exists()


def test_technical_events_are_marked_and_measured_by_no_model() -> None:
    change = builders.change(EventType.CAMERA_LOST, model="", sample_ids=("t1",), frame_ids=("f9",))
    alert = builders.apply(builders.session(), change)
    assert alert.payload["metadata"]["technical"] is True
    assert alert.payload["ai_model_source"] == "media-gateway"
    assert alert.payload["evidence"] == {"frame_ids": ["f9"], "confidence_metrics": {}}
    assert Incident.objects.get().technical


def test_pictures_given_with_the_change_are_linked_in_the_alert() -> None:
    session = builders.session()
    pictures = {"f1": (builders.ONSET, builders.jpeg(10)), "f3": (builders.ONSET + 3, builders.jpeg(30))}

    alert = builders.apply(session, builders.change(), frames=pictures)

    linked = alert.payload["metadata"]["evidence"]
    assert [entry["frame_id"] for entry in linked] == ["f1", "f3"]
    assert linked[0]["sha256"] == hashlib.sha256(pictures["f1"][1]).hexdigest()
    assert linked[0]["captured_at"] == "2026-09-21T14:13:20.250Z"
    assert "?signature=" in linked[0]["url"]
    assert Evidence.objects.count() == 2


def test_every_event_type_makes_an_alert_that_follows_the_schema() -> None:
    session = builders.session(exam_id="maths")
    assert len(DEFAULT_RULES) >= 7
    for event_type in DEFAULT_RULES:
        opened = builders.change(event_type)
        for change in (opened, builders.closing(opened)):
            payload.validate(builders.apply(session, change).payload)
    assert Alert.objects.count() == 2 * len(DEFAULT_RULES)
