"""Bodies beyond what anything reads are refused before Django takes them in."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator

from proctor_site.body_limit import BodyLimit


async def echo(scope: Any, receive: Any, send: Any) -> None:
    body = b""
    while True:
        message = await receive()
        body += message["body"]
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


async def answer(chunks: list[bytes], *, headers: list[tuple[bytes, bytes]] | None = None) -> tuple[int, bytes]:
    scope = {"type": "http", "method": "POST", "path": "/", "headers": headers or []}
    communicator = ApplicationCommunicator(BodyLimit(echo, max_bytes=10), scope)
    for index, chunk in enumerate(chunks):
        more = index < len(chunks) - 1
        await communicator.send_input({"type": "http.request", "body": chunk, "more_body": more})
    start = await communicator.receive_output(timeout=2)
    body = await communicator.receive_output(timeout=2)
    return start["status"], body["body"]


@pytest.mark.parametrize("chunks", [[b""], [b"12345"], [b"12345", b"67890"]])
async def test_a_small_body_passes(chunks: list[bytes]) -> None:
    assert await answer(chunks) == (200, b"".join(chunks))


async def test_an_announced_excess_is_refused_unread() -> None:
    status, body = await answer([], headers=[(b"content-length", b"11")])
    assert status == 413
    assert b'"request_too_large"' in body


async def test_an_unannounced_excess_is_refused_when_it_arrives() -> None:
    status, body = await answer([b"123456", b"789012", b"never read"])
    assert status == 413
    assert b'"request_too_large"' in body
