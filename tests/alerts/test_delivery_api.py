"""Deliveries over REST: found, looked at, sent again; samples, health and new secrets."""

from __future__ import annotations

import base64
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient
from standardwebhooks import Webhook, WebhookVerificationError

from accounts.models import Organisation
from alerts import payload, signing
from alerts.models import Delivery, DeliveryAttempt, Subscription
from alerts.subscriptions import secrets_open
from tests.alerts import builders
from tests.alerts.receiver import Receiver
from tests.alerts.test_api import PUBLIC, SECRET, client_of
from tests.alerts.test_delivery import drain, let_leases_run_out, one_call

pytestmark = pytest.mark.django_db(transaction=True)

DELIVERIES = "/api/v1/deliveries"


@pytest.fixture
def owner() -> Organisation:
    return builders.organisation()


@pytest.fixture
def client(owner: Organisation) -> APIClient:
    return client_of(owner, "subscriptions")


def found(client: APIClient, **query: Any) -> list[dict[str, Any]]:
    answer = client.get(DELIVERIES, query)
    assert answer.status_code == 200, answer.content
    results: list[dict[str, Any]] = answer.json()["results"]
    return results


def resend(client: APIClient, **wanted: Any) -> Any:
    return client.post(f"{DELIVERIES}/resend", wanted, format="json")


# --- Finding ----------------------------------------------------------------------------------------------------------
def test_deliveries_are_found_by_each_of_their_sides(owner: Organisation, client: APIClient) -> None:
    first, _ = builders.subscription(owner, PUBLIC)
    second, _ = builders.subscription(owner, PUBLIC)
    one, other = builders.session(owner), builders.session(owner)
    alert = builders.apply(one)
    builders.apply(other, builders.change(builders.EventType.PHONE))
    Delivery.objects.filter(subscription=first, session=one).update(state="parked")

    assert len(found(client)) == 4
    assert {row["subscription_id"] for row in found(client, subscription_id=second.id)} == {str(second.id)}
    assert [row["session_id"] for row in found(client, session_id=other.session_id)] == [other.session_id] * 2
    assert [row["event_type"] for row in found(client, event_type="PHONE")] == ["PHONE"] * 2
    assert [row["event_id"] for row in found(client, event_id=alert.event_id)] == [str(alert.event_id)] * 2
    (parked,) = found(client, state="parked")
    assert (parked["state"], parked["next_attempt_at"]) == ("parked", None)
    assert len(found(client, state=["parked", "pending"])) == 4
    moment = timezone.now().isoformat()
    assert (len(found(client, since=moment)), len(found(client, until=moment))) == (0, 4)


def test_pages_hold_every_delivery_once_the_newest_first(owner: Organisation, client: APIClient) -> None:
    builders.subscription(owner, PUBLIC)
    session = builders.session(owner)
    for _ in range(7):
        builders.apply(session)
    Delivery.objects.update(created_at=timezone.now())  # all at the same instant
    numbers, query = [], {"limit": 3}
    while True:
        page = client.get(DELIVERIES, query).json()
        numbers += [row["sequence"] for row in page["results"]]
        if page["next"] is None:
            break
        query["before"] = page["next"]
    assert numbers == [7, 6, 5, 4, 3, 2, 1]


def test_a_delivery_shows_every_try(owner: Organisation, client: APIClient, receiver: Receiver) -> None:
    subscription, _ = builders.subscription(owner, receiver.url("/status/503"))
    builders.apply(builders.session(owner))
    drain(subscription)
    (row,) = found(client)
    body = client.get(f"{DELIVERIES}/{row['id']}").json()
    (attempt,) = body["attempts"]
    assert (attempt["status_code"], attempt["response"]) == (503, "why: because")
    assert attempt["error"] == "The subscriber answered 503."
    assert attempt["duration_ms"] > 0
    assert body["next_attempt_at"] is not None


@pytest.mark.parametrize(
    "query",
    [
        {"state": "lost"}, {"subscription_id": "x"}, {"since": "yesterday"}, {"limit": 0}, {"limit": 1000},
        {"since": "2026-09-21T12:00:00Z", "until": "2026-09-21T08:00:00Z"},
    ],
)  # fmt: skip
def test_a_question_that_makes_no_sense_is_400(client: APIClient, query: dict[str, Any]) -> None:
    answer = client.get(DELIVERIES, query)
    assert (answer.status_code, answer.json()["code"]) == (400, "request_invalid")


def test_a_kind_of_event_that_there_is_not_is_named_and_not_just_not_found(client: APIClient) -> None:
    for answer in (client.get(DELIVERIES, {"event_type": "PHONES"}), resend(client, event_type="PHONES")):
        assert (answer.status_code, answer.json()["code"]) == (422, "event_type_unknown")
        assert answer.json()["unknown"] == ["PHONES"]
    assert found(client, event_type="DELIVERY_PARKED") == []


def test_deliveries_of_others_are_unknown(owner: Organisation, client: APIClient) -> None:
    builders.subscription(owner, PUBLIC)
    builders.apply(builders.session(owner))
    (row,) = found(client)
    stranger = client_of(builders.organisation(), "subscriptions")
    assert found(stranger) == []
    for answer in (
        stranger.get(f"{DELIVERIES}/{row['id']}"),
        stranger.post(f"{DELIVERIES}/{row['id']}/resend"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "delivery_unknown")
    assert resend(stranger, event_id=row["event_id"]).json() == {"queued": 0, "more": False}
    assert client_of(owner, "admin").get(DELIVERIES).status_code == 403


# --- Sending again ----------------------------------------------------------------------------------------------------
def test_one_delivery_is_sent_again_under_its_id_and_with_a_new_schedule(
    owner: Organisation, client: APIClient, receiver: Receiver
) -> None:
    subscription, _ = builders.subscription(owner, receiver.url())
    builders.apply(builders.session(owner))
    drain(subscription)
    (row,) = found(client)
    answer = client.post(f"{DELIVERIES}/{row['id']}/resend")
    assert answer.status_code == 202
    assert (answer.json()["state"], answer.json()["attempt_count"]) == ("pending", 0)
    drain(subscription)
    first, second = receiver.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert DeliveryAttempt.objects.count() == 2


def test_what_is_being_sent_is_not_sent_again(owner: Organisation, client: APIClient) -> None:
    subscription, _ = builders.subscription(owner, PUBLIC)
    builders.apply(builders.session(owner))
    one_call(subscription)
    (row,) = found(client)
    answer = client.post(f"{DELIVERIES}/{row['id']}/resend")
    assert (answer.status_code, answer.json()["code"]) == (409, "delivery_under_way")
    let_leases_run_out()
    assert client.post(f"{DELIVERIES}/{row['id']}/resend").status_code == 202


def test_a_range_of_time_is_sent_again_as_far_as_it_is_parked(owner: Organisation, client: APIClient) -> None:
    builders.subscription(owner, PUBLIC)
    session = builders.session(owner)
    for _ in range(4):
        builders.apply(session)
    now = timezone.now()
    for number, state in ((1, "parked"), (2, "parked"), (3, "delivered"), (4, "parked")):
        at = now - timedelta(hours=10 - number)
        Delivery.objects.filter(sequence=number).update(state=state, attempt_count=13, created_at=at)
    since, until = now - timedelta(hours=8.5), now - timedelta(hours=6.5)

    assert resend(client, since=since, until=until).json() == {"queued": 1, "more": False}
    states = list(Delivery.objects.order_by("sequence").values_list("state", flat=True))
    assert states == ["parked", "pending", "delivered", "parked"]
    assert resend(client, since=since, state=["delivered", "parked"]).json()["queued"] == 2


def test_an_event_is_sent_again_to_all_who_had_it(owner: Organisation, client: APIClient) -> None:
    for _ in range(3):
        builders.subscription(owner, PUBLIC)
    alert = builders.apply(builders.session(owner))
    Delivery.objects.update(state="delivered")
    assert resend(client, event_id=str(alert.event_id)).json() == {"queued": 3, "more": False}


def test_a_range_larger_than_one_request_takes_says_so(
    owner: Organisation, client: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alerts.deliveries.RESEND_MOST", 2)
    subscription, _ = builders.subscription(owner, PUBLIC)
    for _ in range(3):
        builders.apply(builders.session(owner))
    Delivery.objects.update(state="parked")
    assert resend(client, subscription_id=subscription.id).json() == {"queued": 2, "more": True}
    assert resend(client, subscription_id=subscription.id).json() == {"queued": 1, "more": False}


@pytest.mark.parametrize("wanted", [{}, {"state": ["parked"]}])
def test_nothing_is_sent_again_unless_it_is_said_what(client: APIClient, wanted: dict[str, Any]) -> None:
    answer = resend(client, **wanted)
    assert (answer.status_code, answer.json()["code"]) == (422, "range_missing")


# --- Samples and health -----------------------------------------------------------------------------------------------
def test_a_sample_arrives_marked_signed_and_in_the_schema(
    owner: Organisation, client: APIClient, receiver: Receiver
) -> None:
    subscription, secret = builders.subscription(owner, receiver.url(), enabled=False)
    body = client.post(f"/api/v1/subscriptions/{subscription.id}/test").json()
    assert (body["delivered"], body["status_code"], body["response"], body["error"]) == (True, 200, "thanks", "")
    (request,) = receiver.requests
    told = Webhook(secret).verify(request.body, request.headers)
    payload.validate(told)
    assert (told["event_id"], told["event_type"], told["metadata"]["sample"]) == (body["event_id"], "TEST", True)
    assert not Delivery.objects.exists()


@pytest.mark.parametrize(("path", "named"), [("/status/500", "answered 500"), ("/nothing", "without response")])
def test_a_sample_that_is_not_taken_says_why(
    owner: Organisation, client: APIClient, receiver: Receiver, path: str, named: str
) -> None:
    subscription, _ = builders.subscription(owner, receiver.url(path))
    answer = client.post(f"/api/v1/subscriptions/{subscription.id}/test")
    assert answer.status_code == 200
    assert not answer.json()["delivered"]
    assert named in answer.json()["error"]


def test_a_sample_that_is_taken_closes_the_breaker(owner: Organisation, client: APIClient, receiver: Receiver) -> None:
    subscription, _ = builders.subscription(owner, receiver.url())
    soon = timezone.now() + timedelta(minutes=5)
    Subscription.objects.update(failure_count=7, breaker_trips=3, breaker_until=soon, failing_since=timezone.now())
    path = f"/api/v1/subscriptions/{subscription.id}"
    assert client.get(path).json()["health"]["breaker"] == "open"
    client.post(f"{path}/test")
    health = client.get(path).json()["health"]
    assert (health["breaker"], health["failing_since"], health["breaker_until"]) == ("closed", None, None)
    assert health["last_success_at"] is not None


def test_health_counts_what_waits_and_what_was_given_up(owner: Organisation, client: APIClient) -> None:
    subscription, _ = builders.subscription(owner, PUBLIC)
    for _ in range(3):
        builders.apply(builders.session(owner))
    last = Delivery.objects.latest("id")
    Delivery.objects.filter(pk=last.pk).update(state="parked")
    (listed,) = client.get("/api/v1/subscriptions").json()["results"]
    assert (listed["health"]["pending"], listed["health"]["parked"]) == (2, 1)
    assert listed == client.get(f"/api/v1/subscriptions/{subscription.id}").json()


def test_samples_are_limited(owner: Organisation, client: APIClient, receiver: Receiver, settings: Any) -> None:
    settings.RATE_LIMITS = settings.RATE_LIMITS | {"samples": "2/d"}
    subscription, _ = builders.subscription(owner, receiver.url())
    path = f"/api/v1/subscriptions/{subscription.id}/test"
    assert [client.post(path).status_code for _ in range(3)] == [200, 200, 429]


# --- Secrets ----------------------------------------------------------------------------------------------------------
def rotate(client: APIClient, subscription: Subscription, **fields: Any) -> Any:
    return client.post(f"/api/v1/subscriptions/{subscription.id}/rotate-secret", fields, format="json")


def test_during_the_overlap_both_secrets_verify_and_after_it_the_new_one_alone(
    owner: Organisation, client: APIClient, receiver: Receiver
) -> None:
    subscription, old = builders.subscription(owner, receiver.url())
    answer = rotate(client, subscription, overlap_s=3600)
    assert answer.status_code == 200
    new = answer.json()["secret"]
    builders.apply(builders.session(owner))
    drain(subscription)
    for secret in (old, new):
        Webhook(secret).verify(receiver.requests[0].body, receiver.requests[0].headers)

    Subscription.objects.update(previous_secret_until=timezone.now())
    builders.apply(builders.session(owner))
    drain(subscription)
    Webhook(new).verify(receiver.requests[1].body, receiver.requests[1].headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(old).verify(receiver.requests[1].body, receiver.requests[1].headers)


def test_a_second_rotation_keeps_the_two_newest(owner: Organisation, client: APIClient) -> None:
    subscription, _ = builders.subscription(owner, PUBLIC)
    second = rotate(client, subscription).json()["secret"]
    third = rotate(client, subscription, secret=SECRET).json()
    assert "secret" not in third
    row = Subscription.objects.get()
    assert secrets_open(row, timezone.now()) == (SECRET, second)


def test_a_subscription_can_be_signed_for_with_an_ed25519_key(
    owner: Organisation, client: APIClient, receiver: Receiver
) -> None:
    url = receiver.url()
    asked = {"transport": "webhook", "url": url, "signature": "ed25519"}
    made = client.post("/api/v1/subscriptions", asked, format="json").json()
    assert made["secret"].startswith("whsk_")
    assert made["public_key"] == signing.public_key(made["secret"])
    builders.apply(builders.session(owner))
    drain(Subscription.objects.get())
    assert receiver.requests[0].headers["webhook-signature"].startswith("v1a,")


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [({"secret": "short"}, 422, "secret_invalid"), ({"overlap_s": -1}, 400, "request_invalid"),
     ({"overlap_s": 10**9}, 400, "request_invalid"), ({"signature": "md5"}, 400, "request_invalid"),
     ({"secret": "whsk_" + base64.b64encode(b"x" * 31).decode()}, 422, "secret_invalid")],
)  # fmt: skip
def test_a_rotation_that_makes_no_sense_changes_nothing(
    owner: Organisation, client: APIClient, fields: dict[str, Any], status: int, code: str
) -> None:
    subscription, secret = builders.subscription(owner, PUBLIC)
    answer = rotate(client, subscription, **fields)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert secrets_open(Subscription.objects.get(), timezone.now()) == (secret,)


@pytest.mark.parametrize("action", ["test", "rotate-secret"])
def test_subscriptions_of_others_are_unknown_here_too(client: APIClient, action: str) -> None:
    other, _ = builders.subscription(builders.organisation(), PUBLIC)
    for key in (other.id, uuid.uuid4()):
        answer = client.post(f"/api/v1/subscriptions/{key}/{action}", {}, format="json")
        assert (answer.status_code, answer.json()["code"]) == (404, "subscription_unknown")
