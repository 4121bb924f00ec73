"""What all proctors' sockets of a process share: their alerts, and the sessions, are read once for all of them."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from typing import Any, Final
from weakref import WeakKeyDictionary

from accounts.models import Organisation
from alerts import stream
from alerts.feed import alert_document
from alerts.following import running
from alerts.following.database import AWAY, Database
from alerts.following.recent import Chunk, Reader, Recent
from alerts.following.running import Running
from alerts.following.tail import Tail
from alerts.models import Alert
from alerts.stream import Filters

logger = logging.getLogger(__name__)

PAUSE_S: Final = 0.1
"""Least time between two looks: what came meanwhile goes out together, which is what a thousand clients can be sent."""
SESSIONS_S: Final = 2.0
"""How often the sessions are looked at."""


class Told:
    """An alert as it is sent: with links to its pictures, and without."""

    __slots__ = ("with_pictures", "without")

    def __init__(self, alert: Alert) -> None:
        self.with_pictures = _text(alert_document(alert, pictures=True))
        self.without = _text(alert_document(alert, pictures=False))


def _text(document: dict[str, Any]) -> str:
    return json.dumps({"type": "alert", "data": document}, separators=(",", ":"), ensure_ascii=False)


READER: Final = Reader(Told)


class Hub:
    """Follows organisations for as long as somebody listens. One per event loop; use ``joined``."""

    def __init__(self) -> None:
        self.database = Database()
        self.tail: Tail[Told] = Tail(self.database, READER, lambda answered: None, pause_s=PAUSE_S)
        self.clients = 0
        self._sessions: dict[int, tuple[Recent[Told], Running]] = {}
        self._tasks = [asyncio.create_task(work) for work in (self.tail.listen(), self.tail.watch(), self._watch())]
        for task in self._tasks:
            task.add_done_callback(_report)

    async def close(self) -> None:
        """End the work in the background."""
        for task in self._tasks:
            while not task.done():  # before Python 3.12 ``wait_for``, which redis-py uses, may swallow a request
                task.cancel()
                await asyncio.wait({task}, timeout=0.2)
        await asyncio.to_thread(self.database.close)

    @asynccontextmanager
    async def following(self, organisation: Organisation) -> AsyncIterator[tuple[Recent[Told], Running]]:
        """Share what is known of an organisation; raises what the database raises when it is away."""
        newest = await self.database.run(stream.newest, organisation)
        shared = self.tail.join(organisation, newest)
        try:
            if organisation.pk not in self._sessions:
                await self._look(organisation, self._sessions.setdefault(organisation.pk, (shared, Running())))
            yield self._sessions[organisation.pk]
        finally:
            self.tail.leave(shared)
            if not shared.clients:
                self._sessions.pop(organisation.pk, None)

    async def behind(self, organisation: Organisation, position: int, filters: Filters) -> Chunk[Told]:
        """Read a chunk for a client that is further behind than what is shared."""
        return await self.database.run(READER.read, organisation, position, filters)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(SESSIONS_S)
            for shared, sessions in list(self._sessions.values()):
                try:
                    await self._look(shared.organisation, (shared, sessions))
                except AWAY as error:
                    logger.warning("The database is away, proctors' sockets wait: %s", error)

    async def _look(self, organisation: Organisation, known: tuple[Recent[Told], Running]) -> None:
        shared, sessions = known
        if sessions.update(await self.database.run(running.read, organisation, sessions.unfinished())):
            shared.wake()


_hubs: MutableMapping[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()


@asynccontextmanager
async def joined() -> AsyncIterator[Hub]:
    """Share the event loop's hub; it begins with the first client and ends with the last."""
    loop = asyncio.get_running_loop()
    hub = _hubs.get(loop)
    if hub is None:
        hub = _hubs[loop] = Hub()
    hub.clients += 1
    try:
        yield hub
    finally:
        hub.clients -= 1
        if not hub.clients:
            del _hubs[loop]
            await hub.close()


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("What the proctors' sockets share broke down", exc_info=error)
