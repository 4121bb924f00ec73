"""The contracts that are published: JSON Schemas, the AsyncAPI document and the proto, served as the files they are.

A version that was published never changes: what is added makes a new minor version, beside which the old one stays.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Final

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.views.decorators.http import condition, require_safe

SCHEMAS: Final = Path(__file__).parent / "schemas"
ASYNCAPI: Final = SCHEMAS / "asyncapi.yaml"
PROTO: Final = Path(__file__).parents[1] / "proto" / "alerts.proto"
MAX_AGE_S: Final = 300


def schema_names() -> list[str]:
    """Return the names of all published JSON Schemas, such as ``alert-1.0.json``."""
    return sorted(path.name for path in SCHEMAS.glob("*.json"))


@cache
def _text(path: Path) -> bytes:
    return path.read_bytes()


@cache
def _etag(path: Path) -> str:
    return f'"{hashlib.sha256(_text(path)).hexdigest()[:32]}"'


def _answer(request: HttpRequest, path: Path, content_type: str) -> HttpResponseBase:
    """Answer with a file that anybody may read, pages of other sites too: tools in the browser load contracts."""

    @condition(etag_func=lambda request: _etag(path))
    def read(request: HttpRequest) -> HttpResponse:
        headers = {"Cache-Control": f"public, max-age={MAX_AGE_S}", "Access-Control-Allow-Origin": "*"}
        return HttpResponse(_text(path), content_type=content_type, headers=headers)

    return read(request)


@require_safe
def schema(request: HttpRequest, name: str) -> HttpResponseBase:
    """Return a JSON Schema by its file's name."""
    if name not in schema_names():
        raise Http404
    return _answer(request, SCHEMAS / name, "application/schema+json")


@require_safe
def asyncapi(request: HttpRequest) -> HttpResponseBase:
    """Return the AsyncAPI 3 document of sockets, webhooks and Kafka."""
    return _answer(request, ASYNCAPI, "application/vnd.aai.asyncapi+yaml;version=3.0.0")


@require_safe
def proto(request: HttpRequest) -> HttpResponseBase:
    """Return the protocol buffers of the gRPC services."""
    return _answer(request, PROTO, "text/plain; charset=utf-8")
