"""What people decide is told to platforms and proctors, by webhook and socket, and not to candidates."""

from __future__ import annotations

import json
from typing import Any

import pytest
from standardwebhooks import Webhook

from accounts.api_keys import api_key_create
from accounts.models import Organisation
from alerts import delivery, payload
from alerts.models import Incident
from alerts.reviews import Reviewer, incident_review
from detection.engine.policy import EventType
from sessions.models import ExamSession
from tests.alerts import builders
from tests.alerts.builders import on_db
from tests.alerts.dialling import hear, hear_all, join_token
from tests.alerts.receiver import Receiver
from tests.alerts.test_socket import listening

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("no_listener_outlives_its_test")]


@pytest.fixture
def owner() -> Organisation:
    return builders.organisation()


@pytest.fixture
def session(owner: Organisation) -> ExamSession:
    return builders.session(owner)


@pytest.fixture
def api_key(owner: Organisation) -> str:
    return api_key_create(organisation=owner, name="platform", scopes=["sessions"])[1]


def decide(of: ExamSession, decision: str) -> None:
    incident = Incident.objects.filter(session=of).latest("created_at")
    incident_review(incident=incident, decision=decision, reason="seen", reviewer=Reviewer("Ann"))


def test_a_webhook_gets_opening_closing_and_decisions_in_order(owner: Organisation, receiver: Receiver) -> None:
    subscription, secret = builders.subscription(owner, receiver.url(), event_types=["PHONE"])
    of = builders.session(owner)
    opened = builders.change(EventType.PHONE)
    builders.apply(of, opened)
    builders.apply(of, builders.closing(opened))
    for decision in ("dismissed", "reopened", "confirmed"):
        decide(of, decision)

    delivery.drain([subscription.id])

    bodies = [Webhook(secret).verify(request.body, request.headers) for request in receiver.requests]
    for body in bodies:
        payload.validate(body)
    told = [
        (body["metadata"]["phase"], body["metadata"]["sequence"], body["metadata"]["incident_version"])
        for body in bodies
    ]
    assert told == [("opened", 1, 1), ("closed", 2, 2), ("dismissed", 3, 3), ("reopened", 4, 4), ("confirmed", 5, 5)]
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 5
    assert len({json.loads(request.body)["metadata"]["incident_id"] for request in receiver.requests}) == 1


async def test_a_proctor_hears_the_decision_and_what_the_incident_is_now(session: ExamSession, api_key: str) -> None:
    await on_db(builders.apply)(session, builders.change(phase="closed"))
    async with listening(session.session_id, token=api_key) as socket:
        assert (await hear(socket))["type"] == "state"
        await on_db(decide)(session, "confirmed")
        incident, alert = await hear(socket), await hear(socket)
    assert (incident["type"], incident["data"]["state"], incident["data"]["version"]) == ("incident", "confirmed", 3)
    assert (alert["data"]["metadata"]["phase"], alert["data"]["metadata"]["review"]["by"]) == ("confirmed", "Ann")


async def test_decisions_are_replayed(session: ExamSession, api_key: str) -> None:
    first = await on_db(builders.apply)(session, builders.change(phase="closed"))
    await on_db(decide)(session, "confirmed")
    async with listening(session.session_id, token=api_key, query=f"?after={first.event_id}") as socket:
        (alert,) = await hear_all(socket, 1)
    assert alert["metadata"]["phase"] == "confirmed"


async def test_a_candidate_hears_no_decision_even_about_a_technical_incident(
    session: ExamSession, settings: Any
) -> None:
    opened = builders.change(EventType.CAMERA_COVERED)
    await on_db(builders.apply)(session, opened)
    async with listening(session.id, token=join_token(session, settings)) as socket:
        assert (await hear(socket))["type"] == "state"
        await on_db(builders.apply)(session, builders.closing(opened))
        assert [(await hear(socket))["type"] for _ in range(2)] == ["incident", "alert"]
        await on_db(decide)(session, "confirmed")
        await on_db(builders.apply)(session, builders.change(EventType.CAMERA_LOST))
        incident, alert = await hear(socket), await hear(socket)
        assert [message["data"]["event_type"] for message in (incident, alert)] == ["CAMERA_LOST"] * 2
        assert await socket.receive_nothing(timeout=0.3)
