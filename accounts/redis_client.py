"""One Redis client per process, with time-outs: a Redis that hangs must not hang the web."""

from __future__ import annotations

import functools
from typing import Final

from django.conf import settings
from redis import Redis

CONNECT_TIMEOUT_S: Final = 2.0
ANSWER_TIMEOUT_S: Final = 5.0


@functools.lru_cache(maxsize=2)
def _client(url: str) -> Redis:
    return Redis.from_url(url, socket_connect_timeout=CONNECT_TIMEOUT_S, socket_timeout=ANSWER_TIMEOUT_S)


def get_redis() -> Redis:
    """Return the process's client of ``REDIS_URL``; its pool is safe over threads and forks."""
    return _client(settings.REDIS_URL)
