"""Back-pressure for WebSockets under daphne, whose ``send`` takes everything and returns at once.

A client that stops reading would have its messages pile up in this process. Here ``send`` waits while the connection's
buffer is full, as it does under other ASGI servers, so that the consumer can notice and close. And what many clients
get is taken as ready-made frames: making one costs more than sending it.
"""

from __future__ import annotations

import asyncio
import functools
from typing import Any

from daphne.ws_protocol import WebSocketProtocol
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

FRAMES = "sd_proctor.frames"
"""Extension of the scope: ``websocket.send`` may carry ``frames``, whole WebSocket frames that are sent as they are."""


@implementer(IPushProducer)
class _Valve:
    """What the transport tells when its buffer is full (64 KB) and when it has drained."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()

    def pauseProducing(self) -> None:  # noqa: N802  # Twisted's name
        self.open.clear()

    def resumeProducing(self) -> None:  # noqa: N802
        self.open.set()

    def stopProducing(self) -> None:  # noqa: N802
        self.open.set()


class FlowControl:
    """ASGI middleware; put it outermost, it looks through daphne's ``send`` at the connection behind."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Run the application with a ``send`` that waits for the client."""
        protocol = send.args[0] if isinstance(send, functools.partial) and send.args else None
        if not isinstance(protocol, WebSocketProtocol):
            await self.app(scope, receive, send)
            return
        valve = _Valve()
        protocol.transport.unregisterProducer()  # the HTTP channel, which has handed the connection over
        protocol.transport.registerProducer(valve, True)

        async def waiting_send(message: dict[str, Any]) -> None:
            if message["type"] == "websocket.send":
                await valve.open.wait()
                if "frames" in message:
                    protocol.transport.write(message["frames"])
                    return
            await send(message)

        extended = scope | {"extensions": {**(scope.get("extensions") or {}), FRAMES: {}}}
        await self.app(extended, receive, waiting_send)
