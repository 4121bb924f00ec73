"""Refuse bodies that are larger than anything this service reads: Django takes in a whole body before any view runs."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from accounts.problems import CONTENT_TYPE, Problem

Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Any, Receive, Send], Awaitable[None]]


class _TooLargeError(Exception):
    """More has been received than is read."""


class BodyLimit:
    """An ASGI application around another: 413 where the announced or the received body exceeds ``max_bytes``."""

    def __init__(self, application: Application, *, max_bytes: int) -> None:
        self._application = application
        self._max_bytes = max_bytes

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass the request on with its body counted."""
        try:
            self._require_small(_announced_bytes(scope))
            await self._application(scope, self._counted(receive), send)
        except _TooLargeError:  # raised while the body is read, so nothing has been answered yet
            await self._refuse(send)

    def _counted(self, receive: Receive) -> Receive:
        received_bytes = 0

        async def counted() -> Message:
            nonlocal received_bytes
            message = await receive()
            received_bytes += len(message.get("body", b""))
            self._require_small(received_bytes)
            return message

        return counted

    def _require_small(self, size_bytes: int) -> None:
        if size_bytes > self._max_bytes:
            raise _TooLargeError

    async def _refuse(self, send: Send) -> None:
        problem = Problem("request_too_large", f"A body may have at most {self._max_bytes} bytes.")
        await send(
            {
                "type": "http.response.start",
                "status": problem.status,
                "headers": [(b"content-type", CONTENT_TYPE.encode())],
            }
        )
        await send({"type": "http.response.body", "body": json.dumps(problem.to_dict()).encode()})


def _announced_bytes(scope: Message) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0
