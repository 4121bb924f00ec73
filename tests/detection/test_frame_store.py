"""The frame store: bytes under a key, for a while."""

from __future__ import annotations

import os
import uuid

import redis
import redis.asyncio

from detection.frame_store import AsyncFrameStore, FrameStore
from detection.messages import FRAME_TTL_S


def key() -> str:
    return f"frame:{uuid.uuid4()}:1"


def test_bytes_come_back_in_the_order_asked_for(redis_client: redis.Redis) -> None:
    store = FrameStore(redis_client)
    first, second = key(), key()
    store.put(first, b"\xff\xd8one")
    store.put(second, b"\x00\xff two")
    assert store.get_many([second, key(), first]) == [b"\x00\xff two", None, b"\xff\xd8one"]
    assert store.get_many([]) == []


def test_bytes_expire(redis_client: redis.Redis) -> None:
    name = key()
    FrameStore(redis_client).put(name, b"x")
    assert 0 < redis_client.ttl(name) <= FRAME_TTL_S


def test_dropped_bytes_are_gone(redis_client: redis.Redis) -> None:
    store = FrameStore(redis_client)
    name = key()
    store.put(name, b"x")
    store.drop([name, key()])
    store.drop([])
    assert store.get_many([name]) == [None]


async def test_the_event_loop_sees_the_same_store(redis_client: redis.Redis) -> None:
    async with redis.asyncio.Redis.from_url(os.environ["REDIS_URL"]) as client:
        store = AsyncFrameStore(client, ttl_s=7)
        first, second = key(), key()
        await store.put(first, b"one")
        async with client.pipeline(transaction=True) as pipeline:
            store.stage(pipeline, second, b"two")
            pipeline.lpush("q", "message")
            await pipeline.execute()
        assert await store.get_many([first, second, key()]) == [b"one", b"two", None]
        assert await store.get_many([]) == []
        assert FrameStore(redis_client).get_many([first]) == [b"one"]
        assert 0 < redis_client.ttl(second) <= 7
