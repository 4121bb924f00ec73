"""Wake-ups: the delivery through Celery, the live sockets through the channel layer. They never raise and never block.

What a wake-up is about lies committed in the database. When Redis is away the wake-up is dropped and counted; the sweep
and the sockets' slow poll find the rest.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import logging
import os
import threading
import uuid
from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Any

from celery import current_app
from channels.layers import get_channel_layer
from kombu.exceptions import OperationalError
from prometheus_client import Counter
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

TASK_DELIVER = "alerts.deliver"
WAKE_EXPIRES_S = 60
"""A wake-up that no worker took in this time is void: the sweep has taken over."""
WAKE_TOGETHER = 50
"""Subscriptions that one wake-up names at most: more are shared out among the workers."""
BACKLOG = 1000
"""Messages that may wait for the channel layer; beyond it the oldest are dropped."""

LOST = Counter("sdproctor_wakeups_lost", "Wake-ups that Redis did not take; polling makes up for them.", ["kind"])
for _kind in ("delivery", "socket"):
    LOST.labels(kind=_kind)


def group_name(session_id: uuid.UUID) -> str:
    """Name the channel-layer group of everybody who watches a session."""
    return f"session.{session_id.hex}"


EVERYBODY = "alerts"
"""The channel-layer group of processes that follow the alerts of many organisations."""


def delivery(subscription_id: uuid.UUID) -> None:
    """Ask a worker to deliver what is due to a subscription; returns at once."""
    _deliveries().put(subscription_id)


def broadcast(session_id: uuid.UUID, message: dict[str, Any]) -> None:
    """Send ``{"type", "data"}`` to the sockets that watch a session; returns at once.

    ``detections`` messages are passed on as they are. ``alert`` and ``state`` only tell the sockets to look into the
    database, so that nobody sees them lost, doubled or out of order.
    """
    _broadcasts().put(group_name(session_id), message)


def followers(organisation_id: int) -> None:
    """Tell whoever follows an organisation's alerts to look into the database (``alerts.stream``); returns at once."""
    _broadcasts().put(EVERYBODY, {"type": "alert", "data": {"organisation_id": organisation_id}})


def notice(organisation_id: int, session_id: uuid.UUID, document: dict[str, Any]) -> None:
    """Send a notice in its published form to the sockets of a session and of an organisation; returns at once.

    It lies in no socket's database query: who is not connected, or behind by many, does not hear it.
    """
    broadcast(session_id, {"type": "notice", "data": document})
    told = {"organisation_id": organisation_id, "notice": document}
    _broadcasts().put(EVERYBODY, {"type": "notice", "data": told})


class DeliveryWaker:
    """A thread that queues ``alerts.deliver``: a Redis that is away costs seconds, which no transaction should wait.

    Wake-ups of one subscription that are waiting already are one.
    """

    def __init__(self) -> None:
        self._waiting: dict[uuid.UUID, None] = {}
        self._busy = False
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name="wake-deliveries", daemon=True).start()

    def put(self, subscription_id: uuid.UUID) -> None:
        """Queue a wake-up."""
        with self._changed:
            self._waiting[subscription_id] = None
            self._changed.notify_all()

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything queued so far is sent or given up; tell whether that happened in time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._busy, timeout_s)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: bool(self._waiting))
                taken = list(islice(self._waiting, WAKE_TOGETHER))
                for subscription_id in taken:
                    del self._waiting[subscription_id]
                self._busy = True
            _send_task(taken)


def _send_task(subscription_ids: Sequence[uuid.UUID]) -> None:
    names = [str(subscription_id) for subscription_id in subscription_ids]
    try:
        current_app.send_task(TASK_DELIVER, args=names, retry=False, ignore_result=True, expires=WAKE_EXPIRES_S)
    except (OperationalError, RedisError, OSError) as error:
        LOST.labels(kind="delivery").inc()
        logger.warning("Could not wake the delivery to %s, the sweep will: %s", ", ".join(names), error)


class Broadcaster:
    """A thread with an event loop of its own, so that synchronous code has one lasting connection to the layer."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[str, dict[str, Any]]] = deque(maxlen=BACKLOG)
        self._loop = asyncio.new_event_loop()
        self._ready = asyncio.Event()
        self._idle = threading.Event()
        self._idle.set()
        threading.Thread(target=self._run, name="broadcast", daemon=True).start()

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


# One of each per process: a forked child has none of its parent's threads, so it starts its own.
@functools.cache
def _deliveries() -> DeliveryWaker:
    return DeliveryWaker()


@functools.cache
def _broadcasts() -> Broadcaster:
    return Broadcaster()


os.register_at_fork(after_in_child=_deliveries.cache_clear)
os.register_at_fork(after_in_child=_broadcasts.cache_clear)


def flush(timeout_s: float = 2.0) -> bool:
    """Wait until this process's wake-ups are out or given up; used at exit and by tests."""
    begun = [made() for made in (_deliveries, _broadcasts) if made.cache_info().currsize]
    in_time = [waker.flush(timeout_s) for waker in begun]
    return all(in_time)


atexit.register(flush, 1.0)
