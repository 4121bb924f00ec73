"""Dialling the live sockets within this process, through the whole ASGI application."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from channels.testing import WebsocketCommunicator
from django.test import Client

from alerts.routing import websocket_application as application
from media_gateway.tokens import JoinClaims, mint
from sessions.models import ExamSession
from tests.alerts.builders import on_db


def join_token(session: ExamSession, settings: Any, *, lasts_s: float = 3600) -> str:
    now = time.time()
    claims = JoinClaims(str(session.id), now - 10, now + lasts_s, 2.0, 1.0)
    return mint(claims, key=settings.JOIN_TOKEN_KEY)


def dial_path(path: str, *, token: str | None = None, headers: dict[str, str] | None = None,
              protocols: list[str] | None = None) -> WebsocketCommunicator:  # fmt: skip
    """Prepare a connection to an address of sockets."""
    given = {"host": "localhost:8000"} | (headers or {}) | ({"authorization": f"Bearer {token}"} if token else {})
    encoded = [(key.encode(), value.encode()) for key, value in given.items()]
    return WebsocketCommunicator(application, path, headers=encoded, subprotocols=protocols)


@asynccontextmanager
async def opened(socket: WebsocketCommunicator) -> AsyncIterator[WebsocketCommunicator]:
    """Connect while the block runs."""
    connected, _ = await socket.connect(timeout=5)
    assert connected
    try:
        yield socket
    finally:
        await socket.disconnect()


async def hear(socket: WebsocketCommunicator, within_s: float = 3) -> dict[str, Any]:
    return dict(json.loads(await socket.receive_from(timeout=within_s)))


async def hear_all(socket: WebsocketCommunicator, count: int, kind: str = "alert") -> list[dict[str, Any]]:
    """The data of the next ``count`` messages of a kind."""
    found: list[dict[str, Any]] = []
    while len(found) < count:
        message = await hear(socket)
        if message["type"] == kind:
            found.append(message["data"])
    return found


async def refused(socket: WebsocketCommunicator) -> tuple[int, str]:
    """The close code, and the code that the message before it gave as the reason."""
    await socket.connect(timeout=5)
    message = await hear(socket)
    assert message["type"] == "error"
    closing = await socket.receive_output(timeout=3)
    assert closing["type"] == "websocket.close"
    await socket.disconnect()
    return closing["code"], message["data"]["code"]


def cookie_of(user: Any) -> str:
    client = Client()
    client.force_login(user)
    return f"sessionid={client.cookies['sessionid'].value}"


async def headers_of(user: Any) -> dict[str, str]:
    """What a browser sends that this person has signed in with."""
    return {"cookie": await on_db(cookie_of)(user), "origin": "http://localhost:8000"}
