"""What is published: served, valid, complete, and the same for ever once a version is out."""

from __future__ import annotations

import hashlib
import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from asyncapi3.models.asyncapi import AsyncAPI3
from django.test import Client
from jsonschema import Draft202012Validator

from alerts import contracts, payload
from tests.alerts import contract

PUBLISHED = json.loads((Path(__file__).parent / "published.json").read_text())
ANNOTATIONS = {"title", "description", "examples", "$comment"}


def meaning(schema: Any) -> Any:
    """Return a schema without the words for people, which may be bettered."""
    if isinstance(schema, list):
        return [meaning(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    named = {"properties", "$defs"}  # there, a name is a member's and no keyword
    return {
        key: {name: meaning(below) for name, below in value.items()} if key in named else meaning(value)
        for key, value in schema.items()
        if key not in ANNOTATIONS
    }


def fingerprint(schema: Any) -> str:
    return hashlib.sha256(json.dumps(meaning(schema), sort_keys=True).encode()).hexdigest()


def schema(name: str) -> dict[str, Any]:
    return dict(json.loads((contracts.SCHEMAS / name).read_text()))


def versions(kind: str) -> list[str]:
    """Return the schemas of a kind, oldest version first."""
    numbered = re.compile(rf"{kind}-(\d+)\.(\d+)\.json")
    found = {name: found.groups() for name in contracts.schema_names() if (found := numbered.fullmatch(name))}
    return sorted(found, key=lambda name: tuple(int(number) for number in found[name]))


# --- Served -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", contracts.schema_names())
def test_every_schema_is_valid_and_served_to_everybody(name: str) -> None:
    Draft202012Validator.check_schema(schema(name))
    answer = Client().get(f"/api/schemas/{name}")
    assert (answer.status_code, answer["Content-Type"]) == (200, "application/schema+json")
    assert answer["Access-Control-Allow-Origin"] == "*"
    assert answer.content == (contracts.SCHEMAS / name).read_bytes()
    again = Client().get(f"/api/schemas/{name}", headers={"if-none-match": answer["ETag"]})
    assert again.status_code == 304


@pytest.mark.parametrize("name", ["alert-9.9.json", "asyncapi.yaml", "..%2fmodels.py", "alert-1.0"])
def test_what_is_no_schema_is_not_found(name: str) -> None:
    answer = Client().get(f"/api/schemas/{name}")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_the_asyncapi_document_follows_its_specification() -> None:
    answer = Client().get("/api/asyncapi/")
    assert answer["Content-Type"] == "application/vnd.aai.asyncapi+yaml;version=3.0.0"
    assert AsyncAPI3.model_validate(contract.document()).asyncapi == "3.0.0"
    assert Client().get("/api/asyncapi", follow=True).status_code == 200


def test_every_channel_has_messages_that_an_operation_sends_and_every_schema_is_named() -> None:
    operations = contract.document()["operations"].values()
    sent = {message["$ref"] for operation in operations for message in operation["messages"]}
    there = {f"#/channels/{name}/messages/{key}" for name in contract.document()["channels"]
             for key in contract.messages(name)}  # fmt: skip
    assert len(there) >= 10
    assert sent == there
    text = contract.fetch("/api/asyncapi/").decode()
    assert all(f"../schemas/{name}" in text for name in contracts.schema_names())


def test_the_contracts_are_linked_from_where_people_look() -> None:
    description = Client().get("/api/schema/").content.decode()
    readme = (contracts.PROTO.parents[1] / "README.md").read_text()
    for place in (description, readme):
        assert "/api/asyncapi/" in place


# --- Frozen -----------------------------------------------------------------------------------------------------------
def test_a_published_version_never_changes() -> None:
    """A failure here is a question: what was published stays as it is, and what is added makes the next version."""
    assert {name: fingerprint(schema(name)) for name in PUBLISHED} == PUBLISHED


def test_every_version_is_listed_as_published() -> None:
    assert sorted(PUBLISHED) == contracts.schema_names()


def differences(old: Any, new: Any, at: str = "$") -> list[str]:
    """List what of ``old`` somebody who knows only it would miss in what ``new`` describes; empty: nothing.

    A new version may say more of what it sends, and promise more. What it widens must have been announced: an ``enum``.
    """
    if not isinstance(old, dict) or not isinstance(new, dict):
        return [] if old == new else [f"{at}: {old} became {new}"]
    found = []
    for key in sorted({*old} - {"$id"}):
        place = f"{at}.{key}"
        if key in ("properties", "$defs"):
            found += _members(old[key], new.get(key, {}), place, closed=old.get("additionalProperties") is False)
        elif key in ("enum", "required") or (key, at) == ("oneOf", "$"):  # kinds of message may be added
            gone = [name for name in old[key] if name not in new.get(key, [])]
            found += [f"{place}: {name} is gone" for name in gone]
        elif key == "const" and at.endswith(".schema_version"):
            continue
        else:
            found += differences(old[key], new.get(key), place)
    return found


def _members(old: dict[str, Any], new: dict[str, Any], at: str, *, closed: bool) -> list[str]:
    gone = [f"{at}: {name} is gone" for name in old if name not in new]
    added = [f"{at}: {name} is new where nothing may be added" for name in new if name not in old and closed]
    kept = [found for name in old if name in new for found in differences(old[name], new[name], f"{at}.{name}")]
    return gone + added + kept


@pytest.mark.parametrize("kind", ["alert", "notice", "socket"])
def test_a_minor_version_takes_nothing_from_who_reads_by_the_one_before(kind: str) -> None:
    assert versions(kind)
    for older, newer in pairwise(versions(kind)):
        assert differences(meaning(schema(older)), meaning(schema(newer))) == [], f"{older} to {newer}"


def test_the_comparison_of_versions_sees_what_breaks_a_reader() -> None:
    """The check itself: each of these would break somebody who reads by the old version."""
    old = meaning(schema("alert-1.0.json"))
    breaking = {
        "a member is gone": lambda new: new["properties"]["metadata"]["properties"].pop("sequence"),
        "a form is gone": lambda new: new["properties"]["event_type"].pop("pattern"),
        "one is required no more": lambda new: new["required"].remove("severity_score"),
        "a type changed": lambda new: new["properties"]["severity_score"].update(type="string"),
        "a range grew": lambda new: new["properties"]["severity_score"].update(maximum=100),
        "a phase is gone": lambda new: new["properties"]["metadata"]["properties"]["phase"]["enum"].remove("closed"),
        "a closed object grew": lambda new: new["properties"].update(extra={"type": "string"}),
    }
    for what, change in breaking.items():
        new = json.loads(json.dumps(old))
        change(new)
        assert differences(old, new), what
    new = json.loads(json.dumps(old))
    new["properties"]["metadata"]["properties"] |= {"extra": {"type": "string"}, "schema_version": {"const": "1.1"}}
    new["properties"]["metadata"]["properties"]["phase"]["enum"].append("reopened")
    assert differences(old, new) == []


def test_alerts_are_written_in_the_newest_version() -> None:
    assert f"alert-{payload.SCHEMA_VERSION}.json" == versions("alert")[-1]
