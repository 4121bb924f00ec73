"""The latest notices of an organisation, in memory once for all clients that follow it. They are not repeated later."""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from alerts.stream import Filters

KEPT: Final = 20
"""Notices that a client may be behind; older ones it misses."""


class Notices:
    """Every notice has a number: each client asks for what came after the last that it was told."""

    def __init__(self) -> None:
        self.number = 0
        self._latest: deque[tuple[int, dict[str, Any]]] = deque(maxlen=KEPT)

    def add(self, document: dict[str, Any]) -> None:
        """Take a notice in its published form."""
        self.number += 1
        self._latest.append((self.number, document))

    def since(self, number: int, filters: Filters) -> list[dict[str, Any]]:
        """Return the notices after a number that pass the filters, oldest first."""
        newer = (document for at, document in self._latest if at > number)
        return [document for document in newer if _passes(document, filters)]


def _passes(document: dict[str, Any], filters: Filters) -> bool:
    if filters.exam_ids and document["metadata"]["exam_id"] not in filters.exam_ids:
        return False
    return not filters.event_types or document["event_type"] in filters.event_types
