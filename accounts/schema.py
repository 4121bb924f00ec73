"""What the OpenAPI document says about credentials and problems, for the views of all apps."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Final

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.utils import OpenApiExample, OpenApiResponse
from rest_framework import serializers

from accounts.problems import CODES, CONTENT_TYPE, Problem

BEARER: Final = {"type": "http", "scheme": "bearer"}


class ProblemSerializer(serializers.Serializer[Any]):
    """The body of every error (RFC 9457). Some codes add members of their own."""

    type = serializers.CharField(help_text="Where the code is explained.")
    title = serializers.CharField(help_text="What kind of problem it is; the same for every occurrence.")
    status = serializers.IntegerField()
    detail = serializers.CharField(help_text="A sentence about this occurrence.")
    code = serializers.ChoiceField(choices=[(code, code) for code in CODES])


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """``Authorization: Bearer sdp_…``"""

    target_class = "accounts.auth.ApiKeyAuthentication"
    name = "apiKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return BEARER | {"description": "An API key made by `manage.py create_api_key` or in the admin."}


# Anybody may meet these, whatever they ask for.
_ALWAYS: Final = ("not_authenticated", "key_invalid", "key_expired", "key_revoked", "scope_missing", "not_acceptable",
                  "too_many_requests", "internal_error", "data_unreadable", "database_unavailable")  # fmt: skip
_ALWAYS_FOR_ANYBODY: Final = ("not_acceptable", "internal_error")
_WITH_BODY: Final = ("malformed_request", "request_invalid", "request_too_large", "media_type_unsupported")


def problem_responses(*codes: str, body: bool = False, anybody: bool = False) -> dict[Any, OpenApiResponse]:
    """Return the error responses of an operation for ``extend_schema``: its own codes and those all can meet.

    ``body`` adds the codes about reading a body; ``anybody`` leaves out those about credentials, for what needs none.
    An unknown code raises ``KeyError``.
    """
    by_status: dict[int, list[str]] = defaultdict(list)
    always = _ALWAYS_FOR_ANYBODY if anybody else _ALWAYS
    for code in dict.fromkeys((*codes, *(_WITH_BODY if body else ()), *always)):
        by_status[CODES[code].status].append(code)
    return {(status, CONTENT_TYPE): _response(names) for status, names in sorted(by_status.items())}


def _response(codes: list[str]) -> OpenApiResponse:
    examples = [OpenApiExample(code, value=Problem(code).to_dict(), response_only=True) for code in codes]
    described = " · ".join(f"`{code}`: {CODES[code].title}" for code in codes)
    return OpenApiResponse(ProblemSerializer, description=described, examples=examples)
