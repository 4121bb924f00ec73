"""The OpenAPI document as a source of requests, and what every answer must be."""

from __future__ import annotations

import copy
import functools
import random
from collections.abc import Mapping
from typing import Any, Final

import schemathesis
from django.core.handlers.wsgi import WSGIHandler
from drf_spectacular.generators import SchemaGenerator
from schemathesis.checks import CheckContext
from schemathesis.core.transport import Response
from schemathesis.generation.case import Case
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from accounts.problems import CODES, CONTENT_TYPE

KNOWN_SHARE: Final = 0.7
"""How many of the ids in addresses and bodies are of rows that exist."""


FOLLOW_UPS: Final = {
    "session_read": "$response.body#/session_id",
    "session_end": "$response.body#/session_id",
    "session_events": "$response.body#/session_id",
}
"""Operations on the session that was started, by the name of their operation."""


@functools.cache
def document() -> dict[str, Any]:
    """Return the OpenAPI document as it is published, and what to do with a session that was started.

    It is made once, since each test asks for it, and is not to be changed.
    """
    published = dict(SchemaGenerator().get_schema(public=True))
    started = published["paths"]["/api/v1/session/start"]["post"]["responses"]["201"]
    started["links"] = {
        name: {"operationId": name, "parameters": {"session_id": where}} for name, where in FOLLOW_UPS.items()
    }
    return published


def load(ids: Mapping[str, tuple[str, ...]]) -> BaseSchema:
    """Return the document bound to the application, with ``ids`` (by parameter) in the place of most made-up ones."""
    schema = schemathesis.openapi.from_dict(copy.deepcopy(document()))
    schema.app = WSGIHandler()

    @schema.hook
    def map_path_parameters(context: Any, path_parameters: dict[str, Any] | None) -> dict[str, Any] | None:
        return _known(path_parameters, ids)

    @schema.hook
    def map_query(context: Any, query: dict[str, Any] | None) -> dict[str, Any] | None:
        return _known(query, ids)

    @schema.hook
    def map_body(context: Any, body: Any) -> Any:
        return _known(body, ids) if isinstance(body, dict) else body

    return schema


def _known(values: Any, ids: Mapping[str, tuple[str, ...]]) -> Any:
    """Put known ids in, the same ones for the same values: what fails can be run again."""
    if not values:
        return values
    choice = random.Random(repr(values))
    known = {name: choice.choice(ids[name]) for name in values if ids.get(name) and choice.random() < KNOWN_SHARE}
    return {**values, **known}


def no_fault_of_ours(ctx: CheckContext, response: Response, case: Case) -> None:
    """Require an answer below 500, but for workers that are not there, and a documented code in every refusal."""
    if response.status_code < 400:
        return
    body = response.json()
    assert response.headers["content-type"] == [CONTENT_TYPE], response.headers
    assert CODES[body["code"]].status == response.status_code == body["status"], body
    assert response.status_code < 500 or body["code"] == "workers_unavailable", body
    assert response.status_code != 429 or "retry-after" in response.headers


CHECKS: Final = [
    no_fault_of_ours,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
