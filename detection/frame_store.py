"""Keep sampled frames and audio windows in Redis for a short while, under keys that messages carry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.client import Pipeline

from detection.messages import FRAME_TTL_S


class FrameStore:
    """The store as the workers use it. Connection errors are redis-py's own."""

    def __init__(self, redis: Redis, *, ttl_s: int = FRAME_TTL_S) -> None:
        """Use ``redis``, which must not decode responses: the values are bytes."""
        self._redis = redis
        self._ttl_s = ttl_s

    def put(self, key: str, data: bytes) -> None:
        """Keep ``data`` under ``key`` until it expires."""
        self._redis.set(key, data, ex=self._ttl_s)

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return what is kept under ``keys``, in their order; None where it has expired or never was."""
        if not keys:
            return []
        return cast(list[bytes | None], self._redis.mget(keys))

    def drop(self, keys: Sequence[str]) -> None:
        """Forget what is kept under ``keys``; unknown keys are no error."""
        if keys:
            self._redis.delete(*keys)


class AsyncFrameStore:
    """The same store for an event loop."""

    def __init__(self, redis: AsyncRedis, *, ttl_s: int = FRAME_TTL_S) -> None:
        self._redis = redis
        self._ttl_s = ttl_s

    async def put(self, key: str, data: bytes) -> None:
        """Keep ``data`` under ``key`` until it expires."""
        await self._redis.set(key, data, ex=self._ttl_s)

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return what is kept under ``keys``, in their order; None where it has expired or never was."""
        if not keys:
            return []
        return cast(list[bytes | None], await cast(Any, self._redis.mget(keys)))

    def stage(self, pipeline: Pipeline, key: str, data: bytes) -> None:
        """Add a ``put`` to ``pipeline``, so that the bytes arrive together with the message that names them."""
        pipeline.set(key, data, ex=self._ttl_s)
