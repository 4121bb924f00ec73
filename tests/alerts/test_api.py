"""Subscriptions and statistics over REST."""

from __future__ import annotations

import base64
import json
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.api_keys import api_key_create
from accounts.models import Organisation
from alerts import payload, stats
from alerts.models import Delivery, Incident, Subscription
from alerts.subscriptions import secret_open
from detection.engine.policy import EventType
from sessions.models import MediaGap
from tests.alerts import builders

pytestmark = pytest.mark.django_db

PUBLIC = "https://93.184.216.34/hook"
SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()


@pytest.fixture
def owner() -> Organisation:
    return builders.organisation()


def client_of(owner: Organisation, *scopes: str) -> APIClient:
    _, raw = api_key_create(organisation=owner, name=f"key-{uuid.uuid4().hex[:6]}", scopes=scopes)
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {raw}")
    return client


@pytest.fixture
def client(owner: Organisation) -> APIClient:
    return client_of(owner, "subscriptions")


def post(client: APIClient, **fields: Any) -> Any:
    return client.post("/api/v1/subscriptions", {"transport": "webhook", "url": PUBLIC} | fields, format="json")


def test_a_subscription_is_made_with_a_secret_shown_this_once(client: APIClient) -> None:
    made = post(client, event_types=["NO_FACE"], exam_ids=["maths"])

    assert made.status_code == 201
    body = made.json()
    assert body["secret"].startswith("whsec_")
    assert (body["transport"], body["url"], body["enabled"]) == ("webhook", PUBLIC, True)
    assert (body["event_types"], body["exam_ids"]) == (["NO_FACE"], ["maths"])
    row = Subscription.objects.get(id=body["id"])
    assert secret_open(row) == body["secret"]
    assert body["secret"].encode() not in bytes(row.sealed_secret)
    for answer in (client.get("/api/v1/subscriptions"), client.get(f"/api/v1/subscriptions/{row.id}")):
        assert answer.status_code == 200
        assert '"secret"' not in answer.content.decode()
        assert body["secret"][6:20] not in answer.content.decode()


def test_a_given_secret_is_kept_and_never_answered(client: APIClient) -> None:
    made = post(client, secret=SECRET)
    assert made.status_code == 201
    assert "secret" not in made.json()
    assert secret_open(Subscription.objects.get()) == SECRET


@pytest.mark.parametrize(
    "secret", ["x", "", "whsec_short", "whsec_" + base64.b64encode(b"s" * 23).decode(), "whsec_" + "é" * 40]
)
def test_a_secret_of_the_wrong_shape_is_422(client: APIClient, secret: str) -> None:
    answer = post(client, secret=secret)
    assert answer.status_code in (400, 422)
    assert answer.json()["code"] == ("request_invalid" if secret == "" else "secret_invalid")
    assert not Subscription.objects.exists()


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/hook", "http://localhost:9/", "http://[::1]/", "http://169.254.169.254/latest", "https://10.1.2.3/",
     "ftp://93.184.216.34/", "nonsense", "https://a..example/", "https://user:pw@93.184.216.34/", "http://[::ffff:10.0.0.1]/"],
)  # fmt: skip
def test_an_address_that_is_malformed_or_private_is_422(client: APIClient, url: str) -> None:
    answer = post(client, url=url)
    assert (answer.status_code, answer.json()["code"]) == (422, "address_refused")
    assert not Subscription.objects.exists()


def test_private_addresses_pass_where_the_operator_allows_them(client: APIClient, settings: Any) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = ["10.1.0.0/16", "::1/128"]
    assert post(client, url="https://10.1.2.3/").status_code == 201
    assert post(client, url="http://[::1]:8080/").status_code == 201
    assert post(client, url="https://10.2.2.3/").status_code == 422


def test_an_unknown_event_type_is_422_and_named(client: APIClient) -> None:
    answer = post(client, event_types=["NO_FACE", "SNEEZE"])
    assert (answer.status_code, answer.json()["code"]) == (422, "event_type_unknown")
    assert answer.json()["unknown"] == ["SNEEZE"]
    assert "FACE_MISMATCH" in answer.json()["known"]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"url": PUBLIC}, "transport"),
        ({"transport": "pigeon", "url": PUBLIC}, "transport"),
        ({"transport": "webhook"}, "url"),
        ({"transport": "webhook", "url": PUBLIC, "exam_ids": ["../etc"]}, "exam_ids"),
        ({"transport": "webhook", "url": PUBLIC, "exam_ids": "maths"}, "exam_ids"),
        ({"transport": "webhook", "url": PUBLIC, "enabled": "perhaps"}, "enabled"),
        ({"transport": "webhook", "url": "https://93.184.216.34/" + "x" * 3000}, "url"),
        ({"transport": "webhook", "url": PUBLIC, "event_types": ["NO_FACE"] * 500}, "event_types"),
    ],
)
def test_what_is_missing_or_wrong_is_named(client: APIClient, body: dict[str, Any], named: str) -> None:
    answer = client.post("/api/v1/subscriptions", body, format="json")
    assert (answer.status_code, answer.json()["code"]) == (400, "request_invalid")
    assert any(path.startswith(named) for path in answer.json()["errors"])


def test_fields_that_are_not_the_callers_to_set_are_ignored(client: APIClient, owner: Organisation) -> None:
    stranger = builders.organisation()
    made = post(client, organisation=stranger.id, id=str(uuid.uuid4()), disabled_reason="x").json()
    row = Subscription.objects.get()
    assert (row.organisation, row.disabled_reason, str(row.id)) == (owner, "", made["id"])


def test_a_subscription_is_changed_field_by_field(client: APIClient) -> None:
    made = post(client, exam_ids=["maths"]).json()
    path = f"/api/v1/subscriptions/{made['id']}"

    answer = client.patch(path, {"event_types": ["NO_FACE"], "enabled": False}, format="json")
    assert answer.status_code == 200
    assert (answer.json()["event_types"], answer.json()["enabled"]) == (["NO_FACE"], False)
    assert answer.json()["exam_ids"] == ["maths"]

    assert client.patch(path, {"secret": SECRET}, format="json").status_code == 200
    assert secret_open(Subscription.objects.get()) == SECRET
    assert client.patch(path, {"url": "http://10.0.0.1/"}, format="json").json()["code"] == "address_refused"
    assert client.patch(path, {"event_types": ["X"]}, format="json").json()["code"] == "event_type_unknown"
    assert client.patch(path, {"transport": "kafka"}, format="json").status_code == 200  # not a field of a change
    row = Subscription.objects.get()
    assert (row.url, row.event_types, row.transport) == (PUBLIC, ["NO_FACE"], "webhook")


def test_a_subscription_is_deleted_with_its_deliveries(client: APIClient, owner: Organisation) -> None:
    made = post(client).json()
    builders.apply(builders.session(owner))
    assert Delivery.objects.count() == 1
    assert client.delete(f"/api/v1/subscriptions/{made['id']}").status_code == 204
    assert not Delivery.objects.exists()
    assert client.get(f"/api/v1/subscriptions/{made['id']}").json()["code"] == "subscription_unknown"


def test_subscriptions_of_another_organisation_are_unknown(client: APIClient) -> None:
    path = f"/api/v1/subscriptions/{post(client).json()['id']}"
    stranger = client_of(builders.organisation(), "subscriptions")
    assert stranger.get("/api/v1/subscriptions").json() == {"results": []}
    for answer in (stranger.get(path), stranger.patch(path, {"enabled": False}, format="json"), stranger.delete(path)):
        assert (answer.status_code, answer.json()["code"]) == (404, "subscription_unknown")
    assert Subscription.objects.get().enabled


def test_the_scope_is_asked_for(owner: Organisation) -> None:
    for client, status in ((APIClient(), 401), (client_of(owner, "sessions", "admin"), 403)):
        for path in ("/api/v1/subscriptions", f"/api/v1/subscriptions/{uuid.uuid4()}"):
            assert client.get(path).status_code == status
            assert client.delete(path).status_code == status
        assert post(client).status_code == status


# --- Statistics -------------------------------------------------------------------------------------------------------
STATS = "/api/v1/admin/stats"


def fill(owner: Organisation) -> None:
    """Two sessions, four incidents (one yesterday's, one open), deliveries in each state, two gaps."""
    subscription, _ = builders.subscription(owner, PUBLIC)
    live, ended = builders.session(owner, state="live"), builders.session(owner, state="ended")
    opened = builders.change(EventType.NO_FACE)
    builders.apply(live, opened)
    builders.apply(live, builders.closing(opened))
    builders.apply(live, builders.change(EventType.CAMERA_LOST, "closed"))
    builders.apply(live, builders.change(EventType.NO_FACE))
    old = builders.apply(ended, builders.change(EventType.FACE_MISMATCH, "closed"))
    yesterday = timezone.now() - timedelta(hours=30)
    Incident.objects.filter(id=old.incident_id).update(created_at=yesterday)
    type(old).objects.filter(pk=old.pk).update(created_at=yesterday)
    first, second, *_ = Delivery.objects.filter(subscription=subscription).order_by("id")
    Delivery.objects.filter(pk=first.pk).update(state="delivered", delivered_at=timezone.now())
    Delivery.objects.filter(pk=second.pk).update(state="parked")
    at = timezone.now() - timedelta(minutes=5)
    for reason, seconds in (("stale", 2), ("stale", 3)):
        MediaGap.objects.create(
            organisation=owner, session=live, stream="video", reason=reason, skipped=4,
            started_at=at, ended_at=at + timedelta(seconds=seconds),
        )  # fmt: skip


def test_statistics_count_what_there_is(owner: Organisation) -> None:
    fill(owner)
    fill(builders.organisation())
    body = client_of(owner, "admin").get(STATS).json()
    assert body["sessions"] == {"created": 0, "live": 1, "interrupted": 0, "ended": 1}
    assert body["incidents"] == {
        "open": 1, "by_type": {"NO_FACE": 2, "CAMERA_LOST": 1}, "behaviour": 2, "technical": 1
    }  # fmt: skip
    assert sum(hour["alerts"] for hour in body["alerts_per_hour"]) == 4
    assert body["deliveries"] == {"pending": 3, "delivered": 1, "parked": 1}
    assert body["subscriptions"] == {"enabled": 1, "disabled": 0}
    assert body["media_gaps"] == [{"stream": "video", "reason": "stale", "gaps": 2, "skipped": 8, "seconds": 5.0}]


def test_an_empty_organisation_has_zeros(owner: Organisation) -> None:
    body = client_of(owner, "admin").get(STATS).json()
    assert set(body["sessions"].values()) == set(body["deliveries"].values()) == {0}
    assert body["alerts_per_hour"] == body["media_gaps"] == []
    assert body["incidents"] == {"open": 0, "by_type": {}, "behaviour": 0, "technical": 0}


def test_the_number_of_queries_does_not_grow(owner: Organisation) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            stats.collect(owner)
        return len(captured)

    empty = queries()
    for _ in range(3):
        fill(owner)
    assert queries() == empty <= 11


def test_statistics_are_for_the_admin_scope_and_signed_in_staff(owner: Organisation) -> None:
    assert client_of(owner, "sessions").get(STATS).status_code == 403
    assert APIClient().get(STATS).status_code == 401
    staff = APIClient()
    staff.force_login(builders.staff(owner, may=["view_examsession"]))
    assert staff.get(STATS).status_code == 200
    staff.force_login(builders.staff(owner, may=[]))
    assert staff.get(STATS).status_code == 403


# --- The OpenAPI document ---------------------------------------------------------------------------------------------
def test_the_openapi_document_describes_these_endpoints_truly(client: APIClient, owner: Organisation) -> None:
    document = APIClient().get("/api/schema/?format=json").json()
    paths = document["paths"]
    assert {"get", "post"} <= paths["/api/v1/subscriptions"].keys()
    assert {"get", "patch", "delete"} <= paths["/api/v1/subscriptions/{subscription_id}"].keys()
    assert "image/jpeg" in paths["/api/v1/evidence/{evidence_id}"]["get"]["responses"]["200"]["content"]
    schemas = document["components"]["schemas"]
    made = post(client).json()
    assert made.keys() == schemas["SubscriptionCreated"]["properties"].keys()
    shown = client.get(f"/api/v1/subscriptions/{made['id']}").json()
    assert shown.keys() == schemas["Subscription"]["properties"].keys()
    fill(owner)
    assert client_of(owner, "admin").get(STATS).json().keys() == schemas["Stats"]["properties"].keys()


def test_pictures_never_make_an_alert_too_large_for_a_webhook(owner: Organisation) -> None:
    frames = {f"frame-{n:026d}": (builders.ONSET + n, builders.jpeg(n)) for n in range(6)}
    change = builders.change(sample_ids=tuple(frames), frame_ids=tuple(frames))
    alert = builders.apply(builders.session(owner), change, frames=frames)
    assert len(alert.payload["metadata"]["evidence"]) == 6
    assert len(payload.body(alert.payload)) < 20_000
    assert json.loads(payload.body(alert.payload)) == alert.payload
