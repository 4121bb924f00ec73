"""What is published besides JSON Schemas: the proto's names and numbers, and the channels of the AsyncAPI document."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto
from google.protobuf.json_format import MessageToDict

from alerts.rpc import alerts_pb2
from tests.alerts import contract
from tests.alerts.test_contracts import meaning

PUBLISHED = json.loads((Path(__file__).parent / "published_wire.json").read_text())
"""Only ever added to: `proto` by message and field, `asyncapi` by channel."""


def proto() -> dict[str, Any]:
    """Return what a client of the proto was compiled with."""
    file = FileDescriptorProto()
    alerts_pb2.DESCRIPTOR.CopyToProto(file)
    return {
        "package": file.package,
        "messages": {message.name: _message(message) for message in file.message_type},
        "services": {
            service.name: {method.name: MessageToDict(method) for method in service.method} for service in file.service
        },
    }


def _message(message: DescriptorProto) -> dict[str, Any]:
    oneofs = [oneof.name for oneof in message.oneof_decl]
    fields = {}
    for field in message.field:
        told = MessageToDict(field)
        one_of = {"oneof": oneofs[field.oneof_index]} if field.HasField("oneof_index") else {}
        fields[field.name] = {key: told[key] for key in ("number", "label", "type", "typeName") if key in told} | one_of
    return {"fields": fields, "nested": {nested.name: _message(nested) for nested in message.nested_type}}


def asyncapi() -> dict[str, Any]:
    """Return what a client of the channels relies on: addresses, parameters, messages and their headers."""
    return {name: _channel(name, channel) for name, channel in contract.document()["channels"].items()}


def _channel(name: str, channel: dict[str, Any]) -> dict[str, Any]:
    query = channel.get("bindings", {}).get("ws", {}).get("query", {})
    messages = contract.messages(name)
    return {
        "address": channel["address"],
        "query": sorted(query.get("properties", {})),
        "messages": {key: meaning(_resolved(message.get("headers", {}))) for key, message in messages.items()},
    }


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    return dict(contract.at(schema["$ref"])) if "$ref" in schema else schema


def broken(published: Any, now: Any, at: str = "$") -> list[str]:
    """List what was published and is gone or another; what was added breaks nobody."""
    if isinstance(published, dict) and isinstance(now, dict):
        gone = [f"{at}.{key} is gone" for key in published if key not in now]
        return gone + [
            found for key in published if key in now for found in broken(published[key], now[key], f"{at}.{key}")
        ]
    if isinstance(published, list) and isinstance(now, list) and at.endswith(".query"):
        return [f"{at}: {name} is gone" for name in published if name not in now]
    return [] if published == now else [f"{at}: {published} became {now}"]


@pytest.mark.parametrize(("name", "now"), [("proto", proto), ("asyncapi", asyncapi)])
def test_what_clients_were_built_on_stays(name: str, now: Any) -> None:
    assert PUBLISHED[name]
    assert broken(PUBLISHED[name], now()) == []


@pytest.mark.parametrize(("name", "now"), [("proto", proto), ("asyncapi", asyncapi)])
def test_what_was_added_is_listed_as_published(name: str, now: Any) -> None:
    assert now() == PUBLISHED[name]


def test_the_comparison_sees_what_breaks_a_client() -> None:
    """The check itself: each of these would break somebody's client."""
    breaking = {
        "a field is gone": lambda new: new["proto"]["messages"]["Alert"]["fields"].pop("event_id"),
        "a field has another number": lambda new: new["proto"]["messages"]["Alert"]["fields"]["event_id"].update(
            number=90
        ),
        "a field left its oneof": lambda new: new["proto"]["messages"]["SubscribeRequest"]["fields"][
            "from_beginning"
        ].pop("oneof"),
        "a method is gone": lambda new: new["proto"]["services"]["AlertStream"].pop("Subscribe"),
        "an address moved": lambda new: new["asyncapi"]["proctor"].update(address="/elsewhere"),
        "a parameter is gone": lambda new: new["asyncapi"]["session"]["query"].remove("after"),
        "a header is gone": lambda new: new["asyncapi"]["topic"]["messages"]["alert"]["properties"].pop("ce_id"),
        "a message is gone": lambda new: new["asyncapi"]["session"]["messages"].pop("challenge"),
    }
    for what, change in breaking.items():
        new = copy.deepcopy(PUBLISHED)
        change(new)
        assert broken(PUBLISHED, new), what
    new = copy.deepcopy(PUBLISHED)
    new["proto"]["messages"]["Alert"]["fields"]["extra"] = {"number": 10}
    new["asyncapi"]["proctor"]["query"].append("extra")
    assert broken(PUBLISHED, new) == []
