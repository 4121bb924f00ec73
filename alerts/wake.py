"""Wake-ups: the delivery through Celery, the live sockets through the channel layer. Best effort, never raising.

What a wake-up is about lies committed in the database. When Redis is away the wake-up is dropped and counted; the sweep
and the sockets' slow poll find the rest.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import os
import threading
import uuid
from collections import deque
from typing import Any

from celery import current_app
from channels.layers import get_channel_layer
from kombu.exceptions import OperationalError
from prometheus_client import Counter
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

TASK_DELIVER = "alerts.deliver"
BACKLOG = 1000
"""Messages that may wait for the channel layer; beyond it the oldest are dropped."""

LOST = Counter("sdproctor_wakeups_lost", "Wake-ups that Redis did not take; polling makes up for them.", ["kind"])


def group_name(session_id: uuid.UUID) -> str:
    """Name the channel-layer group of everybody who watches a session."""
    return f"session.{session_id.hex}"


def delivery(subscription_id: uuid.UUID) -> None:
    """Ask a worker to deliver what is due to a subscription."""
    try:
        current_app.send_task(TASK_DELIVER, args=[str(subscription_id)], retry=False, ignore_result=True)
    except (OperationalError, RedisError, OSError) as error:
        LOST.labels(kind="delivery").inc()
        logger.warning("Could not wake the delivery to %s, the sweep will: %s", subscription_id, error)


def broadcast(session_id: uuid.UUID, message: dict[str, Any]) -> None:
    """Send ``{"type", "data"}`` to the sockets that watch a session; returns at once.

    ``detections`` messages are passed on as they are. ``alert``, ``incident`` and ``state`` only tell the sockets to
    look into the database, so that nobody sees them lost, doubled or out of order.
    """
    _sender().put(group_name(session_id), message)


class Sender:
    """A thread with an event loop of its own, so that synchronous code has one lasting connection to the layer."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._waiting: deque[tuple[str, dict[str, Any]]] = deque(maxlen=BACKLOG)
        self._loop = asyncio.new_event_loop()
        self._ready = asyncio.Event()
        self._idle = threading.Event()
        self._idle.set()
        self._thread = threading.Thread(target=self._run, name="broadcast", daemon=True)
        self._thread.start()

    def put(self, group: str, message: dict[str, Any]) -> None:
        """Queue a message, dropping the oldest when ``BACKLOG`` are waiting."""
        if len(self._waiting) == BACKLOG:
            LOST.labels(kind="socket").inc()
        self._idle.clear()
        self._waiting.append((group, message))
        self._loop.call_soon_threadsafe(self._ready.set)

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything queued so far is sent or given up; tell whether that happened in time."""
        return self._idle.wait(timeout_s)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._forward())

    async def _forward(self) -> None:
        while True:
            await self._ready.wait()
            self._ready.clear()
            while self._waiting:
                await self._send(*self._waiting.popleft())
            self._idle.set()
            if self._waiting:  # put() came between the last look and set()
                self._idle.clear()

    async def _send(self, group: str, message: dict[str, Any]) -> None:
        layer = get_channel_layer()
        try:
            async with asyncio.timeout(5):
                await layer.group_send(group, {"type": "session.message", "message": message})
        except (RedisError, OSError, TimeoutError) as error:
            LOST.labels(kind="socket").inc()
            logger.warning("Could not wake the sockets of %s: %s", group, error)


_lock = threading.Lock()
_current: Sender | None = None


def _sender() -> Sender:
    """Return this process's sender; a forked child makes its own."""
    global _current
    if _current is None or _current.pid != os.getpid():
        with _lock:
            if _current is None or _current.pid != os.getpid():
                _current = Sender()
    return _current


def flush(timeout_s: float = 2.0) -> bool:
    """Wait until this process's broadcasts are out; used at exit and by tests."""
    return _current is None or _current.pid != os.getpid() or _current.flush(timeout_s)


@atexit.register
def _flush_at_exit() -> None:
    with contextlib.suppress(RuntimeError):
        flush(1.0)
