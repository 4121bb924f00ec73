"""Subscriptions by Kafka, over REST and in the admin, and alerts from the outbox to a broker."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.api_keys import api_key_create
from accounts.models import Organisation
from alerts import delivery, kafka_config, payload
from alerts.models import Delivery, DeliveryAttempt, Subscription
from alerts.subscriptions import subscription_create
from tests.alerts import builders
from tests.alerts.kafka_peers import Broker, ids, read
from tests.factories import make_user

pytestmark = pytest.mark.django_db(transaction=True)

TOPIC = "sdproctor.alerts"
ADD = "/admin/alerts/subscription/add/"


@pytest.fixture
def owner() -> Organisation:
    return builders.organisation()


@pytest.fixture
def client(owner: Organisation) -> APIClient:
    _, raw = api_key_create(organisation=owner, name="key", scopes=("subscriptions",))
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {raw}")
    return client


@pytest.fixture
def configured(settings: Any) -> None:
    """Name a cluster that nobody asks."""
    settings.KAFKA_BOOTSTRAP_SERVERS = "kafka:9092"
    settings.KAFKA_ALLOWED_TOPICS = ["exams.*"]


def post(client: APIClient, **fields: Any) -> Any:
    return client.post("/api/v1/subscriptions", {"transport": "kafka"} | fields, format="json")


@pytest.mark.usefixtures("configured")
class TestOverRest:
    @pytest.mark.parametrize("fields", [{}, {"url": ""}, {"url": TOPIC}, {"url": "exams.algebra"}])
    def test_a_topic_is_subscribed_without_any_secret(self, client: APIClient, fields: dict[str, str]) -> None:
        made = post(client, **fields)
        assert made.status_code == 201
        body = made.json()
        assert (body["transport"], body["url"]) == ("kafka", fields.get("url", ""))
        assert "secret" not in body
        assert bytes(Subscription.objects.get().sealed_secret) == b""

    @pytest.mark.parametrize("topic", ["__consumer_offsets", "a b", "https://example.org"])
    def test_a_topic_that_is_not_allowed_is_422(self, client: APIClient, topic: str) -> None:
        answer = post(client, url=topic)
        assert (answer.status_code, answer.json()["code"]) == (422, "address_refused")
        made = post(client).json()
        answer = client.patch(f"/api/v1/subscriptions/{made['id']}", {"url": topic}, format="json")
        assert (answer.status_code, answer.json()["code"]) == (422, "address_refused")

    def test_a_secret_is_422_for_there_is_none(self, client: APIClient) -> None:
        answer = post(client, secret="whsec_" + "c" * 44)
        assert (answer.status_code, answer.json()["code"]) == (422, "secret_invalid")

    def test_without_kafka_in_the_deployment_it_is_422_with_a_code_of_its_own(
        self, client: APIClient, settings: Any
    ) -> None:
        settings.KAFKA_BOOTSTRAP_SERVERS = ""
        answer = post(client)
        assert (answer.status_code, answer.json()["code"]) == (422, "transport_unavailable")
        assert "KAFKA_BOOTSTRAP_SERVERS" in answer.json()["detail"]
        assert not Subscription.objects.exists()

    @pytest.mark.parametrize("fields", [{}, {"url": ""}])
    def test_a_webhook_still_needs_an_address(self, client: APIClient, fields: dict[str, str]) -> None:
        answer = post(client, transport="webhook", **fields)
        assert (answer.status_code, answer.json()["code"]) == (400, "request_invalid")
        assert list(answer.json()["errors"]) == ["url"]


class TestInTheAdmin:
    @pytest.fixture
    def staff(self, owner: Organisation) -> Client:
        client = Client()
        client.force_login(make_user(owner, superuser=True))
        return client

    def form(self, owner: Organisation, **fields: str) -> dict[str, str]:
        given = {"organisation": str(owner.pk), "transport": "kafka", "concurrency": "4", "ordered": "on"}
        return given | {"enabled": "on", "url": "", "exam_ids": ""} | fields

    @pytest.mark.usefixtures("configured")
    def test_the_deployments_topic_is_subscribed_and_no_secret_is_shown(
        self, owner: Organisation, staff: Client
    ) -> None:
        answer = staff.post(ADD, self.form(owner))
        assert answer.status_code == 302, answer.context["adminform"].form.errors
        row = Subscription.objects.get()
        assert (row.transport, row.url, bytes(row.sealed_secret)) == ("kafka", "", b"")
        assert "the deployment&#x27;s topic" in staff.get("/admin/alerts/subscription/").content.decode()
        assert staff.get(f"/admin/alerts/subscription/{row.id}/change/").status_code == 200

    @pytest.mark.usefixtures("configured")
    @pytest.mark.parametrize(("fields", "field"), [({"url": "a b"}, "url"), ({"transport": "webhook"}, "url")])
    def test_what_is_refused_stands_beside_its_field(
        self, owner: Organisation, staff: Client, fields: dict[str, str], field: str
    ) -> None:
        answer = staff.post(ADD, self.form(owner, **fields))
        assert list(answer.context["adminform"].form.errors) == [field]

    def test_without_kafka_in_the_deployment_the_form_says_so(self, owner: Organisation, staff: Client) -> None:
        answer = staff.post(ADD, self.form(owner))
        assert "KAFKA_BOOTSTRAP_SERVERS" in str(answer.context["adminform"].form.errors["url"])


def subscribe(owner: Organisation) -> Subscription:
    subscription, secret = subscription_create(organisation=owner, transport="kafka")
    assert secret == ""
    return subscription


def deliver(subscription: Subscription) -> None:
    """Let all waiting be over, and deliver."""
    Subscription.objects.exclude(breaker_until=None).update(breaker_until=timezone.now())
    Delivery.objects.filter(state="pending").update(next_attempt_at=timezone.now() - timedelta(seconds=1))
    delivery.drain([subscription.id])


class TestFromTheOutbox:
    def test_alerts_arrive_as_published_in_order_and_are_marked_by_their_reports(
        self, owner: Organisation, broker: Broker
    ) -> None:
        subscription = subscribe(owner)
        sessions = [builders.session(owner) for _ in range(3)]
        alerts = [builders.apply(session) for _ in range(4) for session in sessions]
        deliver(subscription)
        records = read(broker.servers, TOPIC, len(alerts))
        for record in records:
            document = json.loads(record.value() or b"")
            payload.validate(document)
            told = {name: value.decode() for name, value in record.headers() or []}
            assert told["ce_id"] == document["event_id"]
            assert told["ce_time"] == document["timestamp"]
            assert told["schema_version"] == document["metadata"]["schema_version"]
            assert (record.key() or b"").decode() == document["exam_session_id"]
        wanted = {s.session_id: [str(a.event_id) for a in alerts if a.session_id == s.pk] for s in sessions}
        assert ids(records) == wanted
        assert set(Delivery.objects.values_list("state", flat=True)) == {"delivered"}
        places = {f"partition {record.partition()}, offset {record.offset()}" for record in records}
        assert set(DeliveryAttempt.objects.values_list("response", flat=True)) == places

    def test_while_the_cluster_is_away_alerts_wait_and_none_is_marked(
        self, owner: Organisation, broker: Broker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(kafka_config, "FIXED", {**kafka_config.FIXED, "delivery.timeout.ms": 1000})
        subscription = subscribe(owner)
        session = builders.session(owner)
        first, second = builders.apply(session), builders.apply(session)
        broker.kill()
        deliver(subscription)
        assert list(Delivery.objects.order_by("sequence").values_list("state", "attempt_count")) == [
            ("pending", 1),
            ("pending", 0),
        ]
        assert "may have arrived" in DeliveryAttempt.objects.get().error
        broker.start()
        deliver(subscription)
        assert set(Delivery.objects.values_list("state", flat=True)) == {"delivered"}
        found = ids(read(broker.servers, TOPIC, 2))
        assert found == {session.session_id: [str(first.event_id), str(second.event_id)]}

    def test_an_organisations_filters_hold_for_kafka_too(self, owner: Organisation, broker: Broker) -> None:
        subscription, _ = subscription_create(organisation=owner, transport="kafka", exam_ids=["algebra"])
        wanted = builders.apply(builders.session(owner, exam_id="algebra"))
        builders.apply(builders.session(owner, exam_id="biology"))
        deliver(subscription)
        found = ids(read(broker.servers, TOPIC, 2, timeout_s=2))
        assert list(found.values()) == [[str(wanted.event_id)]]
