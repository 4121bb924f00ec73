"""The published contract as a client reads it: the served AsyncAPI document, with the schemas that it names."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import yaml
from django.test import Client
from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

BASE = "http://testserver/api/asyncapi/"
SCHEMAS = "http://testserver/api/schemas/"


@cache
def document() -> dict[str, Any]:
    """Fetch the AsyncAPI document."""
    return dict(yaml.safe_load(fetch("/api/asyncapi/")))


def fetch(path: str) -> bytes:
    answer = Client().get(path)
    assert answer.status_code == 200, path
    return answer.content


def _retrieve(uri: str) -> Resource[Any]:
    assert uri.startswith(SCHEMAS), uri
    return Resource.from_contents(yaml.safe_load(fetch(uri.removeprefix("http://testserver"))), DRAFT202012)


_registry: Registry[Any] = Registry(retrieve=_retrieve)  # type: ignore[call-arg]


def at(pointer: str) -> Any:
    """Return what stands at a pointer of the document, and at the pointers that it leads to."""
    found: Any = document()
    for name in pointer.removeprefix("#/").split("/"):
        found = found[name]
    return at(found["$ref"]) if isinstance(found, dict) and str(found.get("$ref", "")).startswith("#/") else found


def messages(channel: str) -> dict[str, Any]:
    """Return the messages of a channel by name."""
    return {name: at(f"#/channels/{channel}/messages/{name}") for name in at(f"#/channels/{channel}")["messages"]}


def misfits(channel: str, message: str, part: str, said: Any) -> list[str]:
    """Tell where something that was sent, its ``payload`` or ``headers``, leaves the contract; empty when nowhere."""
    schema = messages(channel)[message][part]
    while "$ref" in schema:
        schema = at(schema["$ref"])
    schema = {"$id": BASE, **schema.get("schema", schema)}
    validator = Draft202012Validator(schema, registry=_registry, format_checker=FormatChecker())
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(said)]


def require(channel: str, message: str, said: Any, headers: Mapping[str, str] | None = None) -> None:
    """Fail unless a message that was sent, and its headers, are as the contract says."""
    assert misfits(channel, message, "payload", said) == []
    if headers is not None:
        assert misfits(channel, message, "headers", dict(headers)) == []
