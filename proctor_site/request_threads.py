"""Give each request a thread that others had before it, so that its database connection is used again; bound how many.

Django's own ASGI handler makes a thread for every request and ends it afterwards. What that thread had opened is
closed only when the garbage collector comes by: each request would cost a new connection, and some would linger. Nor
does it bound how many requests are worked on at once: a few hundred would take all of PostgreSQL's connections.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from asgiref.sync import ThreadSensitiveContext
from django.db import connections

from proctor_site.body_limit import Application, Message, Receive, Send, carries_pictures

KEPT_THREADS: Final = 4
"""Idle threads kept, each with at most one connection. More run while more requests are under way."""
_UNBOUNDED: Final = "/.well-known/"
"""Whether the service lives must be answered when it is busiest; the database is asked once for all who ask."""


class RequestThreads:
    """An ASGI application around another, whose synchronous code runs on one kept thread per request."""

    def __init__(
        self,
        application: Application,
        *,
        at_once: int,
        kept: int = KEPT_THREADS,
        close_connections: Callable[[], Any] = connections.close_all,
    ) -> None:
        self._application = application
        self._kept = kept
        self._close_connections = close_connections
        self._idle: deque[ThreadPoolExecutor] = deque()
        self._turns = asyncio.Semaphore(at_once)
        self._picture_turns = asyncio.Semaphore(at_once)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request when it is its turn.

        ``at_once`` are worked on together, and as many with pictures: those wait for a worker, and nobody else for
        them.
        """
        path = scope["path"]
        if path.startswith(_UNBOUNDED):
            await self._answer(scope, receive, send)
            return
        async with self._picture_turns if carries_pictures(path) else self._turns:
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer on the thread that was idle last, or on a new one."""
        try:
            thread = self._idle.pop()
        except IndexError:
            thread = ThreadPoolExecutor(1, thread_name_prefix="request")
        try:
            async with ThreadSensitiveContext(executor=thread):
                await self._application(scope, receive, send)
        finally:
            # Behind what still runs there: a view goes on to its end when its client has gone.
            thread.submit(self._release, thread)

    def _release(self, thread: ThreadPoolExecutor) -> None:
        if len(self._idle) < self._kept:
            self._idle.append(thread)
        else:
            self._close_connections()
            thread.shutdown(wait=False)
