"""How the demo finds the service, or says why it does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from demo import service
from demo.service import Service, ServiceError, wait_until_healthy


@asynccontextmanager
async def answering(status: int, document: object) -> AsyncIterator[str]:
    """Answer every request like this; yield the address."""

    async def answer(_: web.Request) -> web.Response:
        return web.json_response(document, status=status)

    async with serving(answer) as url:
        yield url


@asynccontextmanager
async def serving(answer: Callable[[web.Request], Awaitable[web.Response]]) -> AsyncIterator[str]:
    """Answer every request by ``answer``; yield the address."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def test_a_healthy_service_is_not_waited_for(http: aiohttp.ClientSession) -> None:
    health = {"status": "up", "parts": {"redis": {"status": "up"}}}
    async with answering(200, health) as url, asyncio.timeout(2):
        assert await wait_until_healthy(http, url) == health


async def test_the_parts_are_asked_only_when_the_web_process_answers(http: aiohttp.ClientSession) -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path.rpartition("/")[2])
        return web.json_response({"status": "up"}, status=503 if len(asked) < 3 else 200)

    async with serving(answer) as url, asyncio.timeout(5):
        await wait_until_healthy(http, url)
    assert asked == ["live", "live", "live", "health"]


async def test_the_part_that_stays_down_is_named(http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "HEALTH_TIMEOUT_S", 0.1)
    parts = {"redis": {"status": "up"}, "workers": {"status": "down", "reason": "no worker gave a sign of life"}}
    async with answering(503, {"status": "down", "parts": parts}) as url:
        with pytest.raises(ServiceError, match=r"not well after 0 s: .*no worker gave a sign of life"):
            await wait_until_healthy(http, url)


async def test_a_service_that_does_not_listen_is_named(
    http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int
) -> None:
    monkeypatch.setattr(service, "HEALTH_TIMEOUT_S", 0.1)
    with pytest.raises(ServiceError, match=f"http://127.0.0.1:{unused_tcp_port} is not well"):
        await wait_until_healthy(http, f"http://127.0.0.1:{unused_tcp_port}")


async def test_a_problem_is_told_in_the_service_s_words(http: aiohttp.ClientSession) -> None:
    problem = {"code": "session_exists", "detail": "There is a session 'x' already."}
    async with answering(409, problem) as url:
        with pytest.raises(ServiceError, match=r"answered 409: .*There is a session 'x' already"):
            await Service(http, url, "key").call("POST", "/api/v1/session/start", json={})
