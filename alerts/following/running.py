"""An organisation's running sessions as they stand, in memory once for all clients that follow them."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.db.models import Q

from accounts.models import Organisation
from alerts.feed import session_document
from sessions.models import ExamSession

FORGET_S: Final = 60.0
"""How long an ended session is told to clients that are behind."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A session as it stood at a version. ``ended_at``: when its end was seen, on the monotonic clock."""

    version: int
    document: dict[str, Any]
    ended_at: float | None


def read(organisation: Organisation, known: Sequence[uuid.UUID]) -> dict[uuid.UUID, dict[str, Any]]:
    """Read the running sessions, and those of ``known`` that may have ended; blocks. What was erased is left out."""
    rows = ExamSession.objects.of(organisation).select_related("candidate", "exam")
    found = rows.filter(~Q(state=ExamSession.State.ENDED) | Q(pk__in=known)).order_by("created_at")
    return {session.pk: session_document(session) for session in found}


class Running:
    """What is known of an organisation's sessions. Every change has a version: each client asks for what it lacks."""

    def __init__(self) -> None:
        self.version = 0
        self._known: dict[uuid.UUID, Standing] = {}

    def unfinished(self) -> list[uuid.UUID]:
        """Return the sessions whose end has not been seen: what the next look must ask for by name."""
        return [key for key, standing in self._known.items() if standing.ended_at is None]

    def update(self, documents: dict[uuid.UUID, dict[str, Any]]) -> bool:
        """Take what was read; tell whether anything changed."""
        now, before = time.monotonic(), self.version
        for key, document in documents.items():
            known = self._known.get(key)
            if known is None or known.document != document:
                self.version += 1
                ended_at = now if document["state"] == ExamSession.State.ENDED else None
                self._known.pop(key, None)  # so that the newest version stands last
                self._known[key] = Standing(self.version, document, ended_at)
        gone = [key for key, standing in self._known.items() if key not in documents and _is_over(standing, now)]
        for key in gone:
            del self._known[key]
        return self.version != before

    def since(self, version: int) -> list[dict[str, Any]]:
        """Return the sessions that changed after a version, oldest change first."""
        newer = []
        for standing in reversed(self._known.values()):
            if standing.version <= version:
                break
            newer.append(standing.document)
        return newer[::-1]


def _is_over(standing: Standing, now: float) -> bool:
    """Tell whether a session that is not read any more may be forgotten: erased, or ended for a while."""
    return standing.ended_at is None or now - standing.ended_at >= FORGET_S
