"""Signs of life of what works by the clock or waits for others: the alerts workers, beat, and the sweeps it queues.

A sweep is the proof: beat queued it, and a worker took and finished it. The other two say who is missing without it.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
from typing import Any, Final

from celery import current_app, signals
from redis.exceptions import RedisError

from accounts.redis_client import get_redis
from detection.messages import HEARTBEAT_INTERVAL_S, HEARTBEAT_TTL_S, QUEUE_ALERTS

logger = logging.getLogger(__name__)

SWEEPS: Final = ("alerts.sweep", "detection.sweep", "sessions.sweep")
SWEPT_TTL_S: Final = 120
"""Longer than every thread of an alerts worker can be held up by slow receivers: then nothing leaves at all."""

_stopping = threading.Event()


def alerts_heartbeat_key(process: str) -> str:
    """Name the key that a living alerts worker refreshes (JSON, TTL ``HEARTBEAT_TTL_S``)."""
    return f"heartbeat:alerts:{process}"


def beat_heartbeat_key(process: str) -> str:
    """Name the key that beat refreshes with what it queues (JSON, TTL ``HEARTBEAT_TTL_S``)."""
    return f"heartbeat:beat:{process}"


def swept_key(task: str) -> str:
    """Name the key that a finished sweep refreshes (JSON, TTL ``SWEPT_TTL_S``)."""
    return f"heartbeat:swept:{task}"


def _process() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def _say(key: str, ttl_s: int) -> None:
    """Write one sign of life; where Redis is away the missing sign is what health shows."""
    sign = {"hostname": socket.gethostname(), "pid": os.getpid(), "at": time.time()}
    try:
        get_redis().set(key, json.dumps(sign), ex=ttl_s)
    except RedisError as error:
        logger.warning("Redis does not take the sign of life %s: %s", key, error)


@signals.worker_ready.connect
def start_heart(**_signal: Any) -> None:
    """Let a worker of the alerts queue tell every few seconds that it lives."""
    if QUEUE_ALERTS in current_app.amqp.queues.consume_from:
        _stopping.clear()
        threading.Thread(target=_beat_until_stopped, name="alerts-heartbeat", daemon=True).start()


def _beat_until_stopped() -> None:
    while True:
        _say(alerts_heartbeat_key(_process()), HEARTBEAT_TTL_S)
        if _stopping.wait(HEARTBEAT_INTERVAL_S):
            return


@signals.worker_shutdown.connect
def stop_heart(**_signal: Any) -> None:
    """Take the worker's sign of life back; where that fails it expires."""
    _stopping.set()
    try:
        get_redis().delete(alerts_heartbeat_key(_process()))
    except RedisError as error:
        logger.warning("Redis does not take the sign of life back: %s", error)


@signals.task_success.connect
def note_sweep(sender: Any = None, **_signal: Any) -> None:
    """Note that a sweep went through."""
    if sender is not None and sender.name in SWEEPS:
        _say(swept_key(sender.name), SWEPT_TTL_S)


@signals.beat_init.connect
def watch_beat(**_signal: Any) -> None:
    """Let beat tell that it lives each time it has queued something."""
    signals.after_task_publish.connect(note_publication)


def note_publication(**_signal: Any) -> None:
    """Note that beat queued a task."""
    _say(beat_heartbeat_key(_process()), HEARTBEAT_TTL_S)
