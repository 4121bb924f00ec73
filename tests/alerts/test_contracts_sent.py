"""What really leaves the service, held against the served contract: sockets, webhooks and Kafka records over TCP."""

from __future__ import annotations

import asyncio
import json
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from websockets.asyncio.client import ClientConnection, connect

from accounts.api_keys import api_key_create
from alerts import delivery, services
from alerts.samples import sample_send
from alerts.subscriptions import subscription_create
from detection.announce import summary
from detection.engine.policy import EventType
from sessions.models import Challenge, ExamSession
from tests.alerts import builders, contract, kafka_peers
from tests.alerts.builders import on_db
from tests.alerts.receiver import Receiver
from tests.alerts.web import running_web
from tests.detection.builders import frame, sound

pytestmark = pytest.mark.django_db(transaction=True)

apply = on_db(builders.apply)


@pytest.fixture
def session() -> ExamSession:
    return builders.session(exam_id="maths")


@pytest.fixture
def headers(session: ExamSession) -> dict[str, str]:
    _, raw = api_key_create(organisation=session.organisation, name="platform", scopes=["sessions"])
    return {"Authorization": f"Bearer {raw}"}


def measures() -> dict[str, Any]:
    """What the workers broadcast of a frame and a window of sound."""
    return {"type": "detections", "data": summary([frame(1.5, similarity=0.91), sound(1.0, share=0.25)])}


@on_db
def check_in(session: ExamSession) -> None:
    """Begin a challenge of which one movement has been seen, and wake the session's sockets."""
    steps = [
        {"prompt": "turn_left", "result": "done", "shown_at": 1_790_000_000.0, "done_at": 1_790_000_001.234567},
        {"prompt": "look_up", "result": "open", "shown_at": None, "done_at": None},
    ]
    Challenge.objects.create(
        organisation=session.organisation,
        session=session,
        expires_at=timezone.now() + timedelta(seconds=40),
        steps=steps,
    )
    services.broadcast(session.id, {"type": "state", "data": {}})


async def hear_until(client: ClientConnection, kinds: set[str]) -> list[dict[str, Any]]:
    """Return the messages until each of the kinds was among them."""
    heard: list[dict[str, Any]] = []
    async with asyncio.timeout(15):
        while not kinds <= {message["type"] for message in heard}:
            heard.append(json.loads(await client.recv()))
    return heard


def park(session: ExamSession, receiver: Receiver) -> None:
    """Have a subscriber refuse an alert for good."""
    gone, _ = builders.subscription(session.organisation, receiver.url("/status/410"))
    builders.apply(session)
    delivery.drain([gone.id])


async def test_everything_that_sockets_say_is_in_the_contract(
    session: ExamSession, headers: dict[str, str], tmp_path: Path, receiver: Receiver
) -> None:
    heard: dict[str, list[dict[str, Any]]] = {"session": [], "proctor": []}
    with running_web(tmp_path) as (port, _):
        one = f"ws://127.0.0.1:{port}/api/v1/session/ws/{session.session_id}"
        every = f"ws://127.0.0.1:{port}/api/v1/proctor/ws"
        async with (
            connect(one, additional_headers=headers) as of_one,
            connect(every, additional_headers=headers) as of_all,
        ):
            heard["session"] += await hear_until(of_one, {"state"})
            heard["proctor"] += await hear_until(of_all, {"ready", "session"})
            await check_in(session)
            heard["session"] += await hear_until(of_one, {"challenge"})
            opened = builders.change(EventType.FACE_MISMATCH)
            await apply(session, opened, frames={"f1": (builders.ONSET, builders.jpeg())})
            await apply(session, builders.closing(opened))
            heard["proctor"] += await hear_until(of_all, {"alert"})
            heard["session"] += await hear_until(of_one, {"incident", "alert"})
            await on_db(park)(session, receiver)
            services.broadcast(session.id, measures())
            heard["session"] += await hear_until(of_one, {"detections", "notice"})
            heard["proctor"] += await hear_until(of_all, {"notice"})
        for channel, address in (("session", one), ("proctor", every)):
            async with connect(f"{address}?after={uuid.uuid4()}", additional_headers=headers) as refused:
                heard[channel] += await hear_until(refused, {"error"})
    for channel, messages in heard.items():
        assert {message["type"] for message in messages} == set(await on_db(contract.messages)(channel))
        for message in messages:
            await on_db(contract.require)(channel, message["type"], message)


def test_what_webhooks_carry_is_in_the_contract(session: ExamSession, receiver: Receiver) -> None:
    subscription, _ = builders.subscription(session.organisation, receiver.url("/ok"))
    opened = builders.change(EventType.FACE_MISMATCH)
    builders.apply(session, opened, frames={"f1": (builders.ONSET, builders.jpeg())})
    builders.apply(session, builders.closing(opened))
    park(session, receiver)
    sample_send(subscription=subscription)
    delivery.drain([subscription.id])
    told = [request for request in receiver.requests if request.path == "/ok"]
    bodies = [json.loads(request.body) for request in told]
    assert sorted(body["event_type"] for body in bodies) == [
        "DELIVERY_PARKED", "FACE_MISMATCH", "FACE_MISMATCH", "NO_FACE", "TEST",
    ]  # fmt: skip
    for request, body in zip(told, bodies, strict=True):
        kind = "notice" if body["event_type"] == "DELIVERY_PARKED" else "alert"
        contract.require("webhook", kind, body, request.headers)
        assert request.headers["webhook-id"] == body["event_id"]


def test_what_kafka_carries_is_in_the_contract(session: ExamSession, broker: kafka_peers.Broker, settings: Any) -> None:
    subscription, _ = subscription_create(organisation=session.organisation, transport="kafka")
    opened = builders.change(EventType.FACE_MISMATCH)
    builders.apply(session, opened)
    builders.apply(session, builders.closing(opened))
    delivery.drain([subscription.id])
    records = kafka_peers.read(broker.servers, settings.KAFKA_ALERT_TOPIC, 2)
    assert [json.loads(record.value() or b"")["metadata"]["phase"] for record in records] == ["opened", "closed"]
    for record in records:
        headers = {name: value.decode() for name, value in record.headers() or []}
        contract.require("topic", "alert", json.loads(record.value() or b""), headers)


def test_the_contract_refuses_what_is_not_sent(session: ExamSession) -> None:
    """The check itself: each of these is no message of its channel."""
    alert = builders.apply(session).payload
    assert contract.misfits("webhook", "alert", "payload", alert) == []
    assert contract.misfits("webhook", "alert", "payload", alert | {"more": 1})
    assert contract.misfits("webhook", "alert", "headers", {"content-type": "application/json"})
    assert contract.misfits("session", "alert", "payload", alert)  # without its envelope
    assert contract.misfits("session", "state", "payload", {"type": "state", "data": {"id": str(session.id)}})
    assert contract.misfits("proctor", "error", "payload", {"type": "error", "data": {"code": "Not a code"}})
