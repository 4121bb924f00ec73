"""Refuse bodies that are larger than anything this service reads: Django takes in a whole body before any view runs.

Daphne takes it in even before that, so ``proctor_site.daphne_request`` makes the same decision there: as soon as the
headers are read, what will be refused is neither kept in memory nor on the disk.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from accounts.auth import REALM
from accounts.problems import CONTENT_TYPE, Problem

Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Any, Receive, Send], Awaitable[None]]

_PICTURE_PATHS: Final = re.compile(r"/api/v1/(enroll|verify|session/[^/]+/enroll)/?\Z")


def carries_pictures(path: str) -> bool:
    """Tell whether requests to this path carry pictures, which a worker reads."""
    return _PICTURE_PATHS.match(path) is not None


@dataclass(frozen=True, slots=True)
class BodyBounds:
    """How many bytes a body may have: ``picture_bytes`` where pictures are sent with credentials, else ``bytes``."""

    bytes: int
    picture_bytes: int

    def of(self, *, path: str, has_bearer: bool) -> int:
        """Return the most bytes that a request's body may have."""
        return self.picture_bytes if has_bearer and _PICTURE_PATHS.match(path) else self.bytes

    def problem(self, *, path: str, has_bearer: bool) -> Problem:
        """Return what to answer to a larger body."""
        if _PICTURE_PATHS.match(path) and not has_bearer:
            return Problem("not_authenticated")
        limit = self.of(path=path, has_bearer=has_bearer)
        return Problem("request_too_large", f"A body may have at most {limit} bytes.")


def is_bearer(authorization: bytes) -> bool:
    """Tell whether a header claims to carry an API key or a join token."""
    scheme, _, token = authorization.partition(b" ")
    return scheme.lower() == b"bearer" and bool(token.strip())


class _TooLargeError(Exception):
    """More has been received than is read."""


class BodyLimit:
    """An ASGI application around another: 413 (or 401) where the announced or the received body is too large."""

    def __init__(self, application: Application, *, bounds: BodyBounds) -> None:
        self._application = application
        self._bounds = bounds

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass the request on with its body counted."""
        request = {"path": scope["path"], "has_bearer": _has_bearer(scope)}
        max_bytes = self._bounds.of(**request)
        try:
            _require_small(_announced_bytes(scope), max_bytes)
            await self._application(scope, _counted(receive, max_bytes), send)
        except _TooLargeError:  # raised while the body is read, so nothing has been answered yet
            await _refuse(send, self._bounds.problem(**request))


def _counted(receive: Receive, max_bytes: int) -> Receive:
    received_bytes = 0

    async def counted() -> Message:
        nonlocal received_bytes
        message = await receive()
        received_bytes += len(message.get("body", b""))
        _require_small(received_bytes, max_bytes)
        return message

    return counted


def _require_small(size_bytes: int, max_bytes: int) -> None:
    if size_bytes > max_bytes:
        raise _TooLargeError


async def _refuse(send: Send, problem: Problem) -> None:
    headers = [(b"content-type", CONTENT_TYPE.encode())]
    if problem.status == 401:
        headers.append((b"www-authenticate", REALM.encode()))
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(problem.to_dict()).encode()})


def _has_bearer(scope: Message) -> bool:
    return any(name == b"authorization" and is_bearer(value) for name, value in scope["headers"])


def _announced_bytes(scope: Message) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0
