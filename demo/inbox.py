"""Both ways by which alerts arrive, and when: the live socket, and a webhook receiver that checks signatures."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError

RECEIVER_PATH = "/demo-webhook"

Alert = dict[str, Any]


class SocketRefusedError(RuntimeError):
    """The live socket does not let us listen, for the reason in the message."""


@dataclass(slots=True)
class Inbox:
    """What arrived: alerts by event id with the Unix time of arrival, per transport; and the session's states."""

    socket: dict[str, tuple[float, Alert]] = field(default_factory=dict)
    webhook: dict[str, tuple[float, Alert]] = field(default_factory=dict)
    states: list[str] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    refused: int = 0
    """Requests to the receiver whose signature did not hold."""
    on_alert: Callable[[str, Alert], None] = lambda transport, alert: None

    def take(self, transport: str, alert: Alert) -> None:
        """Note an alert; the same event id again is a repetition, not news."""
        box = self.socket if transport == "socket" else self.webhook
        if alert["event_id"] not in box:
            box[alert["event_id"]] = (time.time(), alert)
            self.on_alert(transport, alert)

    def enter(self, state: str) -> None:
        """Note a state of the session."""
        self.states.append(state)
        if state == "ended":
            self.ended.set()


@dataclass(frozen=True, slots=True)
class Receiver:
    """A running webhook receiver."""

    url: str
    secret: str


@asynccontextmanager
async def webhook_receiver(inbox: Inbox) -> AsyncIterator[Receiver]:
    """Listen for webhooks on a free port of the loopback interface."""
    secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    webhook = Webhook(secret)

    async def receive(request: web.Request) -> web.Response:
        body = await request.read()
        try:
            webhook.verify(body, dict(request.headers))
        except WebhookVerificationError:
            inbox.refused += 1
            return web.Response(status=401, text="The signature does not hold.")
        inbox.take("webhook", json.loads(body))
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post(RECEIVER_PATH, receive)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield Receiver(f"http://127.0.0.1:{port}{RECEIVER_PATH}", secret)
    finally:
        await runner.cleanup()


@asynccontextmanager
async def listening(inbox: Inbox, *, http: aiohttp.ClientSession, ws_url: str, token: str) -> AsyncIterator[None]:
    """Listen to a session's socket while the block runs, resuming after the last alert if the socket breaks."""
    connected = asyncio.Event()
    task = asyncio.create_task(_listen(inbox, http, ws_url, token, connected))
    waiting = asyncio.create_task(connected.wait())
    try:
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()  # raises why there is no socket
        yield
    finally:
        for each in (waiting, task):
            each.cancel()
            with suppress(asyncio.CancelledError):
                await each


async def _listen(inbox: Inbox, http: aiohttp.ClientSession, ws_url: str, token: str, connected: asyncio.Event) -> None:
    last = ""
    while True:
        params = {"after": last} if last else {}
        headers = {"Authorization": f"Bearer {token}"}
        async with http.ws_connect(ws_url, headers=headers, params=params, heartbeat=20) as socket:
            connected.set()
            async for frame in socket:
                message = frame.json()
                if message["type"] == "alert":
                    last = message["data"]["event_id"]
                    inbox.take("socket", message["data"])
                elif message["type"] == "error":
                    raise SocketRefusedError(f"{ws_url}: {message['data']['detail']}")
                elif message["type"] == "state":
                    inbox.enter(message["data"]["state"])
        await asyncio.sleep(0.5)
