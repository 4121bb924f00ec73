"""What bodies may say and answers may tell: nobody sets what is not theirs, and no secret is read back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
import yaml
from asgiref.sync import async_to_sync
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from rest_framework import serializers
from rest_framework.test import APIClient

from accounts.models import Organisation, Scope
from alerts.models import Subscription
from enrollment.models import Candidate
from sessions.models import ExamSession
from tests.access.test_tenants_rest import PUBLIC, addresses
from tests.access.world import Tenant, make_tenant
from tests.factories import make_api_key, make_enrolled_candidate, make_organisation, make_user

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_client")]

NOBODYS_TO_SET = {
    "organisation", "organisation_id", "id", "pk", "created_at", "updated_at", "is_staff", "is_superuser", "scopes",
    "prefix", "secret_sha256", "data_key", "ciphertext", "wrapped_key", "risk_score", "severity", "ended_at", "live_at",
    "end_reason", "closed_at", "public_key", "failing_since", "user", "user_id", "permissions", "groups", "key",
}  # fmt: skip
"""Names of fields that no body has."""
SECRET = "whsec_" + "QUJD" * 11


def project_serializers() -> Iterator[type[serializers.BaseSerializer[Any]]]:
    waiting = list(serializers.BaseSerializer.__subclasses__())
    while waiting:
        found = waiting.pop()
        waiting += found.__subclasses__()
        if found.__module__.partition(".")[0] in {"accounts", "alerts", "enrollment", "sessions", "detection"}:
            yield found


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    out = StringIO()
    call_command("spectacular", stdout=out)
    return dict(yaml.safe_load(out.getvalue()))


def test_no_serializer_takes_whatever_fields_a_model_has() -> None:
    """A field that a model gets later must not be settable by that."""
    addresses()  # the views are imported by that, and their serializers
    found = list(project_serializers())
    assert len(found) >= 30
    of_models = [one for one in found if issubclass(one, serializers.ModelSerializer)]
    assert len(of_models) >= 3
    for one in of_models:
        assert isinstance(one.Meta.fields, list | tuple), one.__name__
        assert not hasattr(one.Meta, "exclude"), one.__name__


def names_of(schema: dict[str, Any], document: dict[str, Any]) -> Iterator[str]:
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    for name, field in schema.get("properties", {}).items():
        yield name
        yield from names_of(field, document)
    for part in ("items", "allOf", "oneOf", "anyOf"):
        below = schema.get(part, [])
        for each in below if isinstance(below, list) else [below]:
            yield from names_of(each, document)


def test_no_body_has_a_field_that_is_nobodys_to_set(document: dict[str, Any]) -> None:
    bodies = 0
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            for content in operation.get("requestBody", {}).get("content", {}).values():
                bodies += 1
                assert not set(names_of(content["schema"], document)) & NOBODYS_TO_SET, f"{method} {path}"
    assert bodies >= 9


@pytest.fixture
def own() -> Organisation:
    return make_organisation()


@pytest.fixture
def client(own: Organisation) -> APIClient:
    return APIClient(HTTP_AUTHORIZATION=f"Bearer {make_api_key(own)[1]}")


def test_fields_that_are_sent_all_the_same_set_nothing(own: Organisation, client: APIClient) -> None:
    other = make_organisation()
    more = {
        "organisation": other.pk, "organisation_id": other.pk, "id": "00000000-0000-0000-0000-000000000001",
        "created_at": "2001-01-01T00:00:00Z", "state": "ended", "risk_score": 0, "is_superuser": True, "version": 99,
        "candidate": 1, "session": 1, "policy_name": "mine", "delivered_at": "2001-01-01T00:00:00Z",
    }  # fmt: skip
    make_enrolled_candidate(own, "ada")
    started = client.post("/api/v1/session/start", {"candidate_id": "ada", **more}, format="json")
    assert started.status_code == 201, started.json()
    session = ExamSession.objects.get()
    assert (session.organisation, session.state) == (own, "created")
    assert str(session.id) != more["id"]
    assert session.created_at.year > 2001
    asked = {"accommodations": {}, "candidate_id": "eve", **more}
    assert client.put("/api/v1/candidates/ada/accommodations", asked, format="json").status_code == 200
    assert list(Candidate.objects.values_list("organisation", "candidate_id")) == [(own.pk, "ada")]
    hook = {"transport": "webhook", "url": "https://8.8.8.8/in"}
    made = client.post("/api/v1/subscriptions", hook | more, format="json")
    assert made.status_code == 201, made.json()
    patched = client.patch(f"/api/v1/subscriptions/{made.json()['id']}", {"enabled": False, **more}, format="json")
    assert patched.status_code == 200, patched.json()
    subscription = Subscription.objects.get()
    assert (subscription.organisation, subscription.enabled) == (own, False)
    assert str(subscription.id) != more["id"]
    assert not other.candidates.exists()


def test_secrets_stand_in_the_answers_that_make_them_alone(document: dict[str, Any]) -> None:
    answers = {
        name: {field for field in schema.get("properties", {}) if "secret" in field} - {"previous_secret_until"}
        for name, schema in document["components"]["schemas"].items()
        if not name.endswith("Request")
    }
    assert {name for name, secrets in answers.items() if secrets} == {"SubscriptionCreated", "Rotated"}


@pytest.mark.django_db(transaction=True)  # an export is streamed from a thread of its own
def test_no_webhook_secret_and_no_key_is_read_back(settings: Any) -> None:
    tenant = make_tenant()
    _, raw = make_api_key(tenant.organisation)
    client = APIClient(HTTP_AUTHORIZATION=f"Bearer {raw}")
    settings.WEBHOOK_ALLOWED_NETWORKS = []
    hook = {"transport": "webhook", "url": "https://8.8.8.8/in"}
    generated = client.post("/api/v1/subscriptions", hook, format="json").json()
    rotated = client.post(f"/api/v1/subscriptions/{generated['id']}/rotate-secret", {}, format="json").json()
    given = client.post("/api/v1/subscriptions", hook | {"secret": SECRET}, format="json")
    secrets = [generated["secret"], rotated["secret"], raw.rpartition("_")[2]]
    if given.status_code == 201:
        assert "secret" not in given.json()
        secrets.append(SECRET)
    plain = [part for secret in secrets for part in (secret, re.sub(r"^whsec_", "", secret))]
    told = list(every_answer(tenant, client, [generated["id"]]))
    assert len(told) >= 20
    for where, text in told:
        assert not any(secret in text for secret in plain), where


def _text(answer: Any) -> str:
    if not answer.streaming:
        return str(answer.content.decode(errors="replace"))
    if answer.is_async:

        async def read() -> bytes:
            return b"".join([part async for part in answer])

        return async_to_sync(read)().decode(errors="replace")
    return b"".join(answer).decode(errors="replace")


def every_answer(tenant: Tenant, client: APIClient, subscriptions: list[str]) -> Iterator[tuple[str, str]]:
    """Read everything that the tenant itself can read, over REST and in the admin."""
    given = {**PUBLIC, **tenant.given, "subscription_id": [*tenant.given["subscription_id"], *subscriptions]}
    for address in addresses():
        if address.method == "get":
            for url, _ in address.urls(given):
                yield url, _text(client.get(url))
    browser = Client()
    browser.force_login(make_user(tenant.organisation, superuser=True))
    for name, rows in (("alerts_subscription", subscriptions), ("accounts_apikey", tenant.organisation.api_keys.all())):
        yield name, browser.get(reverse(f"admin:{name}_changelist")).content.decode()
        for row in rows:
            url = reverse(f"admin:{name}_change", args=[getattr(row, "pk", row)])
            yield url, browser.get(url, follow=True).content.decode()


def test_a_key_of_one_scope_opens_nothing_of_another(own: Organisation) -> None:
    needed = {
        "/api/v1/enroll/ada": Scope.ENROLL, "/api/v1/session/any": Scope.SESSIONS, "/api/v1/incidents": Scope.SESSIONS,
        "/api/v1/admin/sessions": Scope.ADMIN, "/api/v1/admin/stats": Scope.ADMIN,
        "/api/v1/subscriptions": Scope.SUBSCRIPTIONS, "/api/v1/deliveries": Scope.SUBSCRIPTIONS,
    }  # fmt: skip
    for scope in Scope:
        client = APIClient(HTTP_AUTHORIZATION=f"Bearer {make_api_key(own, scopes=[scope])[1]}")
        for address, asked in needed.items():
            answer = client.get(address)
            assert (answer.status_code == 403) == (scope != asked), (scope, address, answer.status_code)
