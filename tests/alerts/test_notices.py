"""An alert that is given up is itself told: to the other subscriptions and to whoever watches."""

from __future__ import annotations

import json
from typing import Any

import pytest

from accounts.models import Organisation
from alerts import payload, wake
from alerts.models import Delivery, Notice, Subscription
from sessions.models import ExamSession
from tests.alerts import builders
from tests.alerts.receiver import Receiver
from tests.alerts.test_delivery import drain, make_due

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def owner() -> Organisation:
    return builders.organisation()


def park(subscription: Subscription, session: ExamSession, count: int = 1) -> None:
    """Let alerts of the session fail for the last time."""
    for _ in range(count):
        builders.apply(session)
    mine = Delivery.objects.filter(subscription=subscription, session=session, state="pending")
    assert mine.update(attempt_count=12) == count
    drain(subscription)


def notices(receiver: Receiver) -> list[dict[str, Any]]:
    told = [json.loads(request.body) for request in receiver.requests]
    return [document for document in told if document["event_type"] == "DELIVERY_PARKED"]


def test_the_other_subscriptions_are_told_in_the_notices_schema(owner: Organisation, receiver: Receiver) -> None:
    refusing, _ = builders.subscription(owner, receiver.url("/status/400"))
    listening, _ = builders.subscription(owner, receiver.url("/ok"))
    session = builders.session(owner, exam_id="maths")
    park(refusing, session)
    drain(listening)

    (document,) = notices(receiver)
    payload.validate_notice(document)
    assert (document["exam_session_id"], document["metadata"]["exam_id"]) == (session.session_id, "maths")
    assert document["metadata"]["subscription_id"] == str(refusing.id)
    assert document["metadata"]["reason"] == "The subscriber answered 400."
    alert = Delivery.objects.get(subscription=refusing).alert_id
    assert document["metadata"]["parked_event_ids"] == [str(alert)]
    (request,) = [request for request in receiver.requests if request.headers["webhook-id"] == document["event_id"]]
    assert request.path == "/ok"


def test_several_of_a_session_given_up_together_are_told_together(owner: Organisation, receiver: Receiver) -> None:
    refusing, _ = builders.subscription(owner, receiver.url("/status/410"))
    listening, _ = builders.subscription(owner, receiver.url("/ok"))
    park(refusing, builders.session(owner), 3)
    drain(listening)
    assert [document["metadata"]["parked_count"] for document in notices(receiver)] == [1]
    assert Delivery.objects.filter(subscription=refusing, state="pending").count() == 2  # 410 ended it before


def test_a_notice_that_is_given_up_begets_none(owner: Organisation, receiver: Receiver) -> None:
    first, _ = builders.subscription(owner, receiver.url("/status/400"))
    second, _ = builders.subscription(owner, receiver.url("/status/400"))
    park(first, builders.session(owner))
    assert Notice.objects.count() == 1
    Delivery.objects.filter(subscription=second, alert__isnull=False).delete()
    Delivery.objects.filter(notice__isnull=False).update(attempt_count=12)
    make_due()
    drain(second)
    assert Delivery.objects.get(notice__isnull=False).state == "parked"
    assert Notice.objects.count() == 1


def test_filters_let_notices_through_only_by_name(owner: Organisation, receiver: Receiver) -> None:
    refusing, _ = builders.subscription(owner, receiver.url("/status/400"))
    without, _ = builders.subscription(owner, receiver.url("/ok"), event_types=["NO_FACE"])
    named, _ = builders.subscription(owner, receiver.url("/ok"), event_types=["DELIVERY_PARKED"])
    elsewhere, _ = builders.subscription(owner, receiver.url("/ok"), exam_ids=["art"])
    builders.subscription(builders.organisation(), receiver.url("/ok"))
    park(refusing, builders.session(owner, exam_id="maths"))
    told = Delivery.objects.filter(notice__isnull=False).values_list("subscription", flat=True)
    assert list(told) == [named.id]
    assert {without.id, elsewhere.id}.isdisjoint(told)


@pytest.mark.parametrize("failing", ["NO_FACE", "DELIVERY_PARKED"])
def test_a_notice_neither_waits_for_the_sessions_alerts_nor_holds_them(
    owner: Organisation, receiver: Receiver, failing: str
) -> None:
    def refuse(handler: Any) -> None:
        ids = {document["event_id"] for document in told() if document["event_type"] == failing}
        handler.answer(400 if handler.headers["webhook-id"] in ids else 200)

    def told() -> list[dict[str, Any]]:
        return [json.loads(request.body) for request in list(receiver.requests)]

    receiver.behaviours["/picky"] = refuse
    refusing, _ = builders.subscription(owner, receiver.url("/status/400"))
    listening, _ = builders.subscription(owner, receiver.url("/picky"))
    park(refusing, builders.session(owner))
    drain(listening)
    mine = Delivery.objects.filter(subscription=listening)
    states = {delivery.event_type: delivery.state for delivery in mine}
    assert states == dict.fromkeys(("NO_FACE", "DELIVERY_PARKED"), "delivered") | {failing: "pending"}


def test_who_watches_the_session_is_told(
    owner: Organisation, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing, _ = builders.subscription(owner, receiver.url("/status/400"))
    session, said = builders.session(owner), []
    monkeypatch.setattr(wake, "notice", lambda *told: said.append(told))
    park(refusing, session)
    ((*listeners, document),) = said
    assert listeners == [owner.pk, session.id]
    payload.validate_notice(document)
