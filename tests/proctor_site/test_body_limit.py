"""Bodies beyond what anything reads are refused before Django takes them in."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator

from proctor_site.body_limit import BodyBounds, BodyLimit


async def echo(scope: Any, receive: Any, send: Any) -> None:
    body = b""
    while True:
        message = await receive()
        body += message["body"]
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


async def answer(
    chunks: list[bytes], *, headers: list[tuple[bytes, bytes]] | None = None, path: str = "/"
) -> tuple[int, bytes]:
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers or []}
    communicator = ApplicationCommunicator(BodyLimit(echo, bounds=BodyBounds(bytes=10, picture_bytes=20)), scope)
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


BEARER = [(b"authorization", b"Bearer sdp_x")]


@pytest.mark.parametrize("path", ["/api/v1/enroll", "/api/v1/verify", "/api/v1/session/s-1/enroll"])
async def test_pictures_may_be_large_with_credentials_only(path: str) -> None:
    assert await answer([b"1" * 20], headers=BEARER, path=path) == (200, b"1" * 20)
    assert (await answer([b"1" * 21], headers=BEARER, path=path))[0] == 413
    assert (await answer([b"1" * 11], path=path))[0] == 401
    assert (await answer([b"1" * 10], path=path))[0] == 200


@pytest.mark.parametrize("path", ["/api/v1/session/start", "/admin/login/", "/api/v1/enroll/c-1", "/api/v1/verify/x"])
async def test_credentials_allow_no_more_where_no_pictures_are_sent(path: str) -> None:
    assert (await answer([b"1" * 11], headers=BEARER, path=path))[0] == 413
