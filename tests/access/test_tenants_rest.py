"""Every address below ``/api/``, asked by another tenant: nothing of the first is seen, nothing of it changes.

The addresses come from the URL resolver and their queries from the OpenAPI document, so a new one is asked too; what
it takes that nobody has thought of here makes the test fail and say so.
"""

from __future__ import annotations

import base64
import itertools
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from typing import Any

import pytest
import yaml
from django.core.management import call_command
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from rest_framework.test import APIClient

from tests.access.world import Intruder, Tenant, make_intruder, make_tenant, rows_of
from tests.alerts.builders import jpeg

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_client")]

HARMLESS = {
    "before", "decision", "delivered", "event_type", "limit", "min_severity", "ordering", "page", "page_size", "search",
    "signature", "since", "state", "technical", "until", "format", "lang",
}  # fmt: skip
"""Parameters of a query that name nothing that is anybody's."""
PUBLIC = {
    "version": ["1.0", "1.1"], "name": ["alert-1.1.json"], "rest": ["nowhere"], "key_id": [str(uuid.UUID(int=0))],
}  # fmt: skip
"""Parts of addresses whose answers are the same for everybody."""
MAKES_ONES_OWN = {("put", "api/v1/candidates/<str:candidate_id>/accommodations")}
"""Addresses that make what they name: the intruder gets a row of their own under the same name."""
REFUSALS = {"key": {401, 404, 405}, "person": {401, 403, 404, 405}, "candidate": {401, 403, 404, 405}}
"""A key with all scopes is told 404, and 401 only where candidates alone are let in."""
METHODS = ("get", "post", "put", "patch", "delete")


@dataclass(frozen=True)
class Address:
    """One pattern below ``/api/`` with a method that it answers."""

    method: str
    pattern: str
    parameters: tuple[str, ...]

    def urls(self, given: dict[str, list[Any]]) -> Iterator[tuple[str, tuple[Any, ...]]]:
        """Fill in every value given for every part."""
        for values in itertools.product(*(given[name] for name in self.parameters)):
            url = self.pattern
            for name, value in zip(self.parameters, values, strict=True):
                before, _, rest = url.partition("<")
                kind, _, after = rest.partition(">")
                assert kind.rpartition(":")[2] == name
                url = f"{before}{value}{after}"
            yield f"/{url}", values


def addresses() -> list[Address]:
    found = list(_walk(get_resolver().url_patterns, ""))
    assert len(found) >= 30
    return found


def _walk(patterns: list[URLPattern | URLResolver], prefix: str) -> Iterator[Address]:
    for pattern in patterns:
        where = f"{prefix}{pattern.pattern}"
        if isinstance(pattern, URLResolver):
            yield from _walk(pattern.url_patterns, where)
        elif where.startswith("api/"):
            view = getattr(pattern.callback, "cls", None) or getattr(pattern.callback, "view_class", None)
            for method in METHODS:
                if view is None or hasattr(view, method):
                    yield Address(method, where, tuple(pattern.pattern.converters))


@pytest.fixture
def tenant() -> Tenant:
    return make_tenant()


@pytest.fixture
def intruder() -> Intruder:
    return make_intruder()


def callers(intruder: Intruder) -> dict[str, Client]:
    signed_in = APIClient()
    signed_in.force_login(intruder.user)
    return {
        "key": APIClient(HTTP_AUTHORIZATION=f"Bearer {intruder.key}"),
        "person": signed_in,
        "candidate": APIClient(HTTP_AUTHORIZATION=f"Bearer {intruder.join_token}"),
    }


def body_of(tenant: Tenant) -> dict[str, Any]:
    """Return a body that names everything of the tenant's that a body can name, and is valid as far as possible."""
    picture = base64.b64encode(jpeg()).decode()
    consent = {"version": "1", "locale": "en", "given_at": "2026-01-01T00:00:00Z"}
    return {name: values[0] for name, values in tenant.given.items()} | {
        "organisation": tenant.organisation.pk, "organisation_id": tenant.organisation.pk, "accommodations": {},
        "decision": "dismissed", "reason": "none", "version": 2, "image": picture, "images": [picture],
        "consent": consent, "transport": "webhook", "url": "https://8.8.8.8/in", "exam_ids": tenant.given["exam_id"],
        "events": [{"type": "TAB_HIDDEN", "at": "2026-01-01T00:00:00Z"}],
    }  # fmt: skip


@pytest.mark.parametrize("caller", ["key", "person", "candidate"])
def test_no_address_shows_or_changes_what_is_another_tenants(
    tenant: Tenant, intruder: Intruder, caller: str, settings: Any
) -> None:
    settings.ENROLL_TIMEOUT_S = 0.05  # nobody looks at pictures here
    settings.RATE_LIMITS = dict.fromkeys(settings.RATE_LIMITS, "100000/min")
    client = callers(intruder)[caller]
    given = {**PUBLIC, **tenant.given}
    body, before = body_of(tenant), rows_of(tenant)
    asked = 0
    for address in sorted(addresses(), key=lambda one: (one.method, one.pattern) in MAKES_ONES_OWN):  # those last
        unknown = set(address.parameters) - set(given)
        assert not unknown, f"Say in tests/access/world.py which {unknown} the tenant has: {address.pattern}"
        for url, values in address.urls(given):
            sent = {} if address.method == "get" else {"data": body, "format": "json"}
            answer = getattr(client, address.method)(url, **sent)
            text = b"".join(answer) if answer.streaming else answer.content
            told = f"{address.method} {url}: {answer.status_code} {text[:300]!r}"
            assert answer.status_code < 500 or answer.json()["code"] == "workers_unavailable", told
            assert not tenant.leaks(text.decode(errors="replace"), *values, body), told
            theirs = set(address.parameters) & set(tenant.given)
            if theirs and (address.method, address.pattern) not in MAKES_ONES_OWN:
                assert answer.status_code in REFUSALS[caller], told
            asked += 1
    assert asked >= 40
    assert rows_of(tenant) == before


def operations_with_queries() -> list[tuple[str, list[str]]]:
    out = StringIO()
    call_command("spectacular", stdout=out)
    paths = yaml.safe_load(out.getvalue())["paths"]
    found = [
        (path, [one["name"] for one in methods["get"].get("parameters", []) if one["in"] == "query"])
        for path, methods in paths.items()
        if "get" in methods
    ]
    return [(path, names) for path, names in found if names and "{" not in path]


def _results(answer: Any) -> list[Any]:
    found = answer.json()
    return list(found["results"] if "results" in found else found.get("sessions", []))


def test_no_filter_finds_what_is_another_tenants(tenant: Tenant, intruder: Intruder) -> None:
    operations = operations_with_queries()
    assert len(operations) >= 3
    filtered = 0
    for path, names in operations:
        for name in names:
            if name in HARMLESS:
                continue
            assert name in tenant.given, f"Say in tests/access/world.py which {name} the tenant has: {path}"
            for value in tenant.given[name]:
                for who in ("key", "person"):
                    answer = callers(intruder)[who].get(path, {name: value})
                    if answer.status_code in {401, 403, 404}:
                        continue
                    assert answer.status_code == 200, answer.content
                    assert _results(answer) == [], (path, name)
                    assert not tenant.leaks(answer.content.decode(), value)
                    filtered += 1
    assert filtered >= 8


def test_the_first_tenant_itself_finds_all_of_it(tenant: Tenant) -> None:
    """Without this, the tests above would pass on addresses that answer nobody."""
    from tests.factories import make_api_key

    client = APIClient(HTTP_AUTHORIZATION=f"Bearer {make_api_key(tenant.organisation)[1]}")
    opened = set()
    for address in addresses():
        if address.method != "get" or not set(address.parameters) & set(tenant.given):
            continue
        for url, _ in address.urls({**PUBLIC, **tenant.given}):
            answer = client.get(url)
            if answer.status_code == 200:
                opened.add(address.pattern)
    assert opened >= {
        "api/v1/enroll/<str:candidate_id>",
        "api/v1/candidates/<str:candidate_id>/accommodations",
        "api/v1/session/<str:session_id>",
        "api/v1/subscriptions/<uuid:subscription_id>",
        "api/v1/deliveries/<int:delivery_id>",
        "api/v1/incidents/<uuid:incident_id>",
        "api/v1/evidence/<uuid:evidence_id>",
    }
