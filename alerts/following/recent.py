"""The latest alerts of an organisation, ready to be sent, in memory once for all clients that follow them."""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from accounts.models import Organisation
from alerts import stream
from alerts.models import Alert
from alerts.stream import Filters

T = TypeVar("T")

KEPT: Final = 256
"""Alerts in memory per organisation; a client that is further behind reads from the database."""
PAGE: Final = 50
"""Alerts that a client has in hand at once, and thus what it costs when it stops reading."""


@dataclass(frozen=True, slots=True)
class Ready(Generic[T]):
    """One alert as it goes over the wire (``data``), and what filters look at."""

    position: int
    session_id: uuid.UUID
    exam_id: str | None
    event_type: str
    data: T


@dataclass(frozen=True, slots=True)
class Chunk(Generic[T]):
    """Alerts in order. ``position``: how far they were read, filtered ones included. ``more``: read on at once."""

    alerts: Sequence[Ready[T]]
    position: int
    more: bool


@dataclass(frozen=True, slots=True)
class Reader(Generic[T]):
    """Reads alerts from the database and makes them ready by ``render``."""

    render: Callable[[Alert], T]

    def read(
        self, organisation: Organisation, position: int, filters: Filters | None = None, limit: int = PAGE
    ) -> Chunk[T]:
        """Read a chunk from the database, which blocks."""
        page = stream.alerts_after(organisation, position, filters, limit)
        return Chunk([self._ready(alert) for alert in page.alerts], page.position, page.more)

    def _ready(self, alert: Alert) -> Ready[T]:
        assert alert.position is not None
        return Ready(alert.position, alert.session_id, alert.exam_id, alert.event_type, self.render(alert))


class Recent(Generic[T]):
    """The last ``KEPT`` alerts of one organisation. Knows all of those after ``_known_from`` and up to ``position``."""

    def __init__(self, organisation: Organisation, position: int) -> None:
        self.organisation = organisation
        self.position = position
        self.clients = 0
        self.changed = asyncio.Event()
        """Set when something has come; then there is a new one for what comes next."""
        self._known_from = position
        self._alerts: deque[Ready[T]] = deque()

    def add(self, chunk: Chunk[T]) -> None:
        """Take what was read after ``position``, and wake the clients."""
        self._alerts.extend(chunk.alerts)
        self.position = chunk.position
        while len(self._alerts) > KEPT:
            self._known_from = self._alerts.popleft().position
        if chunk.alerts:
            self.wake()

    def wake(self) -> None:
        """Have every client look."""
        self.changed.set()
        self.changed = asyncio.Event()

    def after(self, position: int, filters: Filters) -> Chunk[T] | None:
        """Return what comes after ``position``, or None when that is no longer known here."""
        if position < self._known_from:
            return None
        wanted = [ready for ready in self._newer(position) if filters.match(ready)]
        if len(wanted) > PAGE:
            return Chunk(wanted[:PAGE], wanted[PAGE - 1].position, more=True)
        return Chunk(wanted, max(position, self.position), more=False)

    def _newer(self, position: int) -> Iterator[Ready[T]]:
        """Return the alerts after ``position``, oldest first, without looking at those before: clients are many."""
        newer: list[Ready[T]] = []
        for ready in reversed(self._alerts):
            if ready.position <= position:
                break
            newer.append(ready)
        return reversed(newer)
