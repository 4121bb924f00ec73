"""Slow clients, many clients, dead clients: what they cost the gRPC server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

import grpc
import psutil
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import APIKey
from alerts import stream
from alerts.following import recent
from alerts.rpc import access, service
from proctor_site.embedded.ports import free_port
from tests.alerts import builders
from tests.alerts.builders import on_db
from tests.alerts.grpc_peers import (
    FIXED_WINDOW,
    Line,
    admitted,
    api_key,
    fill,
    refusal,
    serving,
    stream_process,
    subscribe,
    take,
)

pytestmark = pytest.mark.django_db(transaction=True)
MANY, PADDING = 3000, 4096
"""Alerts, and bytes in each beside what it says: twelve megabytes."""


async def until(true: Callable[[], bool], within_s: float = 20) -> None:
    async with asyncio.timeout(within_s):
        while not true():  # noqa: ASYNC110  # a counter of the server's, which sets no event
            await asyncio.sleep(0.05)


def slow_channel(port: int) -> grpc.aio.Channel:
    """A connection of its own, as other machines have, that lets little come before it reads."""
    options = [*FIXED_WINDOW, ("grpc.use_local_subchannel_pool", 1)]
    return grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options)


async def settled(measure: Callable[[], float], for_s: float = 1.0) -> float:
    """Return a measure once it has not changed for a while."""
    before, now = None, measure()
    while before != now:
        await asyncio.sleep(for_s)
        before, now = now, measure()
    return now


def sent() -> float:
    return service.SENT._value.get()


def reads() -> float:
    return service.READS._value.get()


async def test_a_client_that_does_not_read_is_read_for_only_as_far_as_its_window_reaches() -> None:
    owner = await on_db(builders.organisation)()
    key, ids = await on_db(api_key)(owner), await on_db(fill)(owner, MANY, padding=PADDING)
    async with serving() as server, slow_channel(server.port) as channel:
        sent_before, reads_before = sent(), reads()
        call = await admitted(subscribe(channel, key, from_beginning=True))
        await take(call, 1)
        in_flight = await settled(sent) - sent_before
        assert 1 <= in_flight < 100
        assert reads() - reads_before <= in_flight / recent.PAGE + 1, "one page is in hand beyond what was sent"
        rest = await take(call, MANY - 1, within_s=60)
        assert [alert.event_id for alert in rest] == ids[1:]
        assert len({alert.metadata.sequence for alert in rest}) == MANY - 1


async def test_clients_that_do_not_read_do_not_grow_the_process(tmp_path: Path) -> None:
    owner = await on_db(builders.organisation)()
    key, port = await on_db(api_key)(owner), free_port()
    await on_db(fill)(owner, MANY, padding=PADDING)
    with stream_process(tmp_path / "stream.log", port) as process:
        async with contextlib.AsyncExitStack() as stack:

            async def connect() -> None:
                channel = await stack.enter_async_context(slow_channel(port))
                calls.append(await admitted(subscribe(channel, key, from_beginning=True)))
                await take(calls[-1], 1)

            calls: list[object] = []
            await connect()  # what the first client costs is the same for all
            rss = psutil.Process(process.pid).memory_info
            before = await settled(lambda: rss().rss // 2**20)
            for _ in range(40):
                await connect()
            grown_mib = await settled(lambda: rss().rss // 2**20) - before
        unread_mib = 40 * MANY * PADDING / 2**20
        assert grown_mib < unread_mib / 10


async def test_a_client_that_reads_again_after_its_key_was_revoked_gets_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service, "RECHECK_S", 0.1)
    owner = await on_db(builders.organisation)()
    key = await on_db(api_key)(owner)
    await on_db(fill)(owner, MANY, padding=PADDING)
    async with serving() as server, slow_channel(server.port) as channel:
        sent_before = sent()
        call = await admitted(subscribe(channel, key, from_beginning=True))
        await settled(sent)
        await on_db(APIKey.objects.update)(revoked_at=timezone.now())
        code, trailers, _ = await refusal(call)
        assert (code, trailers[access.CODE_KEY]) == (grpc.StatusCode.UNAUTHENTICATED, "key_revoked")
        assert sent() - sent_before < 100


async def test_a_hundred_clients_share_one_look_into_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    owner = await on_db(builders.organisation)()
    key = await on_db(api_key)(owner)
    pages: list[int] = []
    real = stream.alerts_after

    def counted(*args: object, **kwargs: object) -> stream.Page:
        page = real(*args, **kwargs)  # type: ignore[arg-type]
        pages.append(len(page.alerts))
        return page

    async with serving() as server, grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        calls = [await admitted(subscribe(channel, key)) for _ in range(100)]
        monkeypatch.setattr(stream, "alerts_after", counted)
        ids = await on_db(fill)(owner, 30)
        got = await asyncio.gather(*(take(call, 30, within_s=30) for call in calls))
        assert all([alert.event_id for alert in each] == ids for each in got)
        assert sum(pages) == 30, "each alert was read once for all"


def test_a_look_without_news_costs_three_small_queries(transactional_db: None) -> None:
    owner = builders.organisation()
    fill(owner, 5)
    position = stream.newest(owner)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert not stream.alerts_after(owner, position).alerts
    assert len(queries) == 3


async def test_a_client_that_vanished_without_a_word_is_noticed() -> None:
    owner = await on_db(builders.organisation)()
    key = await on_db(api_key)(owner)
    clients = service.STREAMS._value.get()
    async with serving(keepalive_s=1.0) as server:
        line = Line(server.port)
        async with line.open() as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = await admitted(subscribe(channel, key))
            await asyncio.sleep(3)  # pings are answered, the stream stays
            assert not call.done()
            assert service.STREAMS._value.get() == clients + 1
            line.freeze()
            await until(lambda: service.STREAMS._value.get() == clients)
