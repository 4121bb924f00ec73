from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from proctor_site.request_threads import RequestThreads


class Requests:
    """An application that notes on which thread each request ran; a request waits for its gate if it has one."""

    def __init__(self, *, kept: int, at_once: int = 8) -> None:
        self.threads: list[int] = []
        self.closed: list[int] = []
        self._gates: list[threading.Event] = []
        self._application = RequestThreads(
            self._answer,
            at_once=at_once,
            kept=kept,
            close_connections=lambda: self.closed.append(threading.get_ident()),
        )

    async def _answer(self, scope: Any, _receive: Any, _send: Any) -> None:
        await sync_to_async(self._view)(scope.get("gate"))

    def _view(self, gate: threading.Event | None) -> None:
        self.threads.append(threading.get_ident())
        if gate is not None:
            gate.wait(10)

    async def ask(self, gate: threading.Event | None = None, path: str = "/api/v1/session/s") -> None:
        await self._application({"gate": gate, "path": path}, None, None)  # type: ignore[arg-type]


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  # what happens on a thread sets no event
            await asyncio.sleep(0.005)


async def test_requests_one_after_another_share_a_thread() -> None:
    requests = Requests(kept=4)
    for number in range(5):
        await requests.ask()
        await until(lambda: len(requests._application._idle) == 1)
        assert len(requests.threads) == number + 1
    assert len(set(requests.threads)) == 1
    assert requests.threads[0] != threading.get_ident()


async def test_requests_at_once_wait_for_nobody_and_surplus_threads_close_their_connections() -> None:
    requests, gate = Requests(kept=1), threading.Event()
    waiting = [asyncio.create_task(requests.ask(gate)) for _ in range(3)]
    await until(lambda: len(requests.threads) == 3)
    gate.set()
    await asyncio.gather(*waiting)
    await until(lambda: len(requests.closed) == 2)
    assert len(set(requests.threads)) == 3
    assert set(requests.closed) < set(requests.threads)


async def test_a_thread_is_free_only_when_its_view_has_ended() -> None:
    requests, gate = Requests(kept=4), threading.Event()
    gone = asyncio.create_task(requests.ask(gate))
    await until(lambda: len(requests.threads) == 1)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    await requests.ask()  # would hang for as long as the other view on the same thread
    assert requests.threads[0] != requests.threads[1]
    gate.set()
    await until(lambda: len(requests._application._idle) == 2)


async def test_more_than_the_bound_wait_but_not_for_pictures_and_health_waits_for_nobody() -> None:
    requests, gate = Requests(kept=4, at_once=2), threading.Event()
    busy = [asyncio.create_task(requests.ask(gate)) for _ in range(3)]
    await until(lambda: len(requests.threads) == 2)
    await requests.ask(path="/.well-known/live")
    await requests.ask(path="/api/v1/enroll")
    assert len(requests.threads) == 4  # the third of the busy ones still waits
    gate.set()
    await asyncio.gather(*busy)
    assert len(requests.threads) == 5
