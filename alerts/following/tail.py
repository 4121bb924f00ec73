"""One look-out for all clients of the process: however many follow an organisation, its new alerts are read once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

from channels.layers import get_channel_layer
from redis.exceptions import RedisError

from accounts.models import Organisation
from alerts.following.database import AWAY, Database
from alerts.following.recent import Chunk, Reader, Recent
from alerts.wake import EVERYBODY

logger = logging.getLogger(__name__)

T = TypeVar("T")

POLL_S: Final = 2.0
"""How often the database is looked into without a wake-up."""
PAUSE_S: Final = 0.02
"""Between two looks: alerts that come in one another's heels are read together."""
RETRY_S: Final = 1.0
"""Before the database, or the channel layer, is tried again."""


class Tail(Generic[T]):
    """Keeps the latest alerts of every organisation that somebody follows, as ``reader`` makes them ready.

    ``report`` is told after each look whether the database answered, ``hear_notice`` each notice with its
    organisation's id. ``pause_s`` is the least time between two looks.
    """

    def __init__(
        self,
        database: Database,
        reader: Reader[T],
        report: Callable[[bool], None],
        *,
        hear_notice: Callable[[int, dict[str, Any]], None] = lambda organisation_id, document: None,
        pause_s: float = PAUSE_S,
    ) -> None:
        self._database = database
        self._reader = reader
        self._report = report
        self._hear_notice = hear_notice
        self._pause_s = pause_s
        self._followed: dict[int, Recent[T]] = {}
        self._due: set[int] = set()
        self._woken = asyncio.Event()

    def join(self, organisation: Organisation, newest: int) -> Recent[T]:
        """Count a client in and return what it shares; ``newest`` is where to begin if it is the first."""
        shared = self._followed.get(organisation.pk)
        if shared is None:
            shared = self._followed[organisation.pk] = Recent(organisation, newest)
        shared.clients += 1
        self._note(organisation.pk)  # for what came between the client's look and now
        return shared

    def leave(self, shared: Recent[T]) -> None:
        """Count a client out; with the last one the memory goes."""
        shared.clients -= 1
        if not shared.clients:
            del self._followed[shared.organisation.pk]

    def wake_all(self) -> None:
        """Have every client look up."""
        for shared in self._followed.values():
            shared.wake()

    async def listen(self) -> None:
        """Hear wake-ups, for ever; while Redis is away only the poll finds what is new."""
        while True:
            try:
                await self._hear()
            except (RedisError, OSError) as error:
                logger.warning("The channel layer is away, the alert stream polls: %s", error)
                await asyncio.sleep(RETRY_S)

    async def _hear(self) -> None:
        layer = get_channel_layer()
        channel = await layer.new_channel()
        await layer.group_add(EVERYBODY, channel)
        self._note(*self._followed)  # for what was said before we could hear it
        while True:
            message = (await layer.receive(channel))["message"]
            organisation_id = message["data"]["organisation_id"]
            if message["type"] == "notice":
                self._hear_notice(organisation_id, message["data"]["notice"])
            else:
                self._note(organisation_id)

    def _note(self, *organisation_ids: int) -> None:
        self._due.update(organisation_ids)
        self._woken.set()

    async def watch(self) -> None:
        """Look into the database whenever woken and every ``POLL_S``, for ever."""
        while True:
            try:
                async with asyncio.timeout(POLL_S):
                    await self._woken.wait()
            except TimeoutError:
                self._due.update(self._followed)
            self._woken.clear()
            due, self._due = self._due, set()
            await asyncio.sleep(self._pause_s if await self._look(due) else RETRY_S)

    async def _look(self, due: set[int]) -> bool:
        """Read what is new for these organisations; return whether the database answered."""
        for organisation_id in due:
            shared = self._followed.get(organisation_id)
            if shared is None:
                continue
            try:
                await self._catch_up(shared)
            except AWAY as error:
                logger.warning("The database is away, the alert stream waits: %s", error)
                self._note(*due)
                self._report(False)
                return False
            self._report(True)
        return True

    async def _catch_up(self, shared: Recent[T]) -> None:
        while True:
            chunk: Chunk[T] = await self._database.run(self._reader.read, shared.organisation, shared.position)
            shared.add(chunk)
            if not chunk.more:
                return
