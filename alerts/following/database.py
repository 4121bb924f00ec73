"""Database work beside an event loop: few threads, each with a connection that is renewed when it broke."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

from django.db import InterfaceError, OperationalError, close_old_connections

P = ParamSpec("P")
T = TypeVar("T")

THREADS: Final = 4
AWAY: Final = (OperationalError, InterfaceError)
"""What a call raises while PostgreSQL does not answer."""


class Database:
    """Runs calls in ``THREADS`` threads; further ones wait their turn, so clients never cost more connections."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(THREADS, thread_name_prefix="database")

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what ``call`` returns."""

        def work() -> T:
            close_old_connections()
            try:
                return call(*args, **kwargs)
            finally:
                close_old_connections()

        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    def close(self) -> None:
        """End the threads when they have finished; their connections end with them."""
        self._executor.shutdown(wait=True)
