"""Redis clients with time-outs: a Redis that hangs or is away must not hang the web."""

from __future__ import annotations

import functools
from typing import Final

from django.conf import settings
from redis import BlockingConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

CONNECT_TIMEOUT_S: Final = 2.0
ANSWER_TIMEOUT_S: Final = 5.0
CONNECTIONS: Final = 64
"""Of one process."""


def new_redis(url: str, *, answer_timeout_s: float = ANSWER_TIMEOUT_S) -> Redis:
    """Return a client of its own. It tries once more, since a pooled connection may have been closed meanwhile.

    Who finds all its connections in use waits for one: that many ask at once does not mean that Redis is away.
    """
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=CONNECTIONS,
        timeout=answer_timeout_s,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        socket_timeout=answer_timeout_s,
        retry=Retry(NoBackoff(), 1),
    )
    return Redis.from_pool(pool)


_client = functools.lru_cache(maxsize=2)(new_redis)


def get_redis() -> Redis:
    """Return the process's client of ``REDIS_URL``; its pool is safe over threads and forks."""
    return _client(settings.REDIS_URL)
