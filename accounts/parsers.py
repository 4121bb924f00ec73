"""Read JSON bodies that are bounded in size and strict: whole characters in UTF-8, and no NaN."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import IO, Any, ClassVar

from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser

from accounts.problems import Problem


class BoundedJSONParser(BaseParser):
    """JSON of at most ``max_bytes``: Django bounds forms, but not a body that a parser reads from the stream."""

    media_type = "application/json"
    max_bytes: ClassVar[int] = 1 << 20

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        """Return what the body says; raise ``Problem`` (``request_too_large``) or ``ParseError``."""
        body = stream.read(self.max_bytes + 1)
        if len(body) > self.max_bytes:
            raise Problem("request_too_large", f"The body may have at most {self.max_bytes} bytes.")
        try:
            value = json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
            if b"\\u" in body:  # only an escape can smuggle in half a character, which could not be stored or sent back
                json.dumps(value, ensure_ascii=False).encode()
            return value
        except (ValueError, RecursionError) as error:
            raise ParseError(f"The body is not valid JSON: {error}") from None


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
