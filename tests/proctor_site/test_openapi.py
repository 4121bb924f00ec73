"""The OpenAPI document: complete, valid, and without a word from elsewhere."""

from __future__ import annotations

import re
from io import StringIO
from typing import Any

import pytest
import yaml
from django.core.management import call_command
from django.test import Client

from accounts.problems import CODES

ERRORS = re.compile(r"[45]\d\d")


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    out = StringIO()
    call_command("spectacular", "--validate", "--fail-on-warn", stdout=out)
    return dict(yaml.safe_load(out.getvalue()))


def operations(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    found = [
        (f"{method} {path}", operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if method in {"get", "post", "put", "patch", "delete"}
    ]
    assert len(found) >= 15
    return found


def test_it_is_valid_and_without_warnings(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.")


def test_every_endpoint_of_the_issue_is_there(document: dict[str, Any]) -> None:
    assert {name for name, _ in operations(document)} >= {
        "post /api/v1/enroll",
        "get /api/v1/enroll/{candidate_id}",
        "delete /api/v1/enroll/{candidate_id}",
        "post /api/v1/verify",
        "post /api/v1/session/start",
        "post /api/v1/session/{session_id}/end",
        "post /api/v1/session/{session_id}/enroll",
        "get /api/v1/session/{session_id}",
        "get /api/v1/admin/stats",
        "get /api/v1/admin/sessions",
        "post /api/v1/subscriptions",
        "get /api/v1/incidents",
        "get /api/v1/incidents/{incident_id}",
        "post /api/v1/incidents/{incident_id}/review",
    }


def test_every_operation_has_a_summary(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        assert operation.get("summary"), name


def test_no_schema_is_named_like_something_internal(document: dict[str, Any]) -> None:
    assert [name for name in document["components"]["schemas"] if not name[0].isupper()] == []


def test_every_operation_says_what_it_answers_and_what_can_go_wrong(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        responses = operation["responses"]
        assert any(status.startswith("2") for status in responses), name
        if name.startswith("get /api/v1/schemas/"):
            continue  # a file for everybody: nothing to authenticate, nothing to look up
        assert {"401", "403", "500", "503"} <= set(responses), name
        if "requestBody" in operation:
            assert {"400", "413", "415"} <= set(responses), name


def test_every_error_is_a_problem_with_an_example_of_each_code(document: dict[str, Any]) -> None:
    codes: set[str] = set()
    for name, operation in operations(document):
        for status, response in operation["responses"].items():
            if not ERRORS.fullmatch(status):
                continue
            assert list(response["content"]) == ["application/problem+json"], name
            content = response["content"]["application/problem+json"]
            assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
            for example in content["examples"].values():
                assert example["value"]["status"] == int(status) == CODES[example["value"]["code"]].status
                codes.add(example["value"]["code"])
    assert codes <= set(CODES)
    missing = set(CODES) - codes - ANYWHERE
    assert not missing, missing


ANYWHERE = {
    "not_found", "method_not_allowed", "too_many_requests", "permission_denied", "token_revoked", "keys_unavailable",
}  # fmt: skip
"""Codes that belong to no operation in particular, or to the socket."""


def test_bodies_with_pictures_come_as_json_and_as_form(document: dict[str, Any]) -> None:
    for path in ("/api/v1/enroll", "/api/v1/verify"):
        content = document["paths"][path]["post"]["requestBody"]["content"]
        assert set(content) == {"application/json", "multipart/form-data"}


def test_every_operation_is_described_and_tagged(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        assert operation.get("description") or operation.get("summary"), name
        assert operation["tags"] != ["api"], name


def test_both_kinds_of_credentials_are_described(document: dict[str, Any]) -> None:
    schemes = document["components"]["securitySchemes"]
    assert {"apiKey", "joinToken"} <= set(schemes)
    assert all(schemes[name]["scheme"] == "bearer" for name in ("apiKey", "joinToken"))
    security = document["paths"]["/api/v1/session/{session_id}"]["get"]["security"]
    assert {name for entry in security for name in entry} == {"apiKey", "joinToken"}


def test_the_pages_are_served_from_here() -> None:
    client = Client()
    assert client.get("/api/schema/").status_code == 200
    page = client.get("/api/docs/").content.decode()
    addresses = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert addresses
    assert not [address for address in addresses if address.startswith(("http:", "https:", "//"))]
    scripts = [address for address in addresses if address.startswith("/static/")]
    assert scripts
    assert all(client.get(address).status_code == 200 for address in scripts)
    for path in ("/api/schema", "/api/docs"):
        assert client.get(path, follow=True).status_code == 200
