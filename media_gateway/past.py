"""Remember which windows of sound came right before one, so that its message can name them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from detection.messages import PAST_S

_CONTIGUOUS_S = 0.02
"""Windows whose ends are no further apart than an Opus packet have nothing between them."""


@dataclass(frozen=True, slots=True)
class _Window:
    window_id: str
    lead_in_samples: int
    started_at: float
    ended_at: float


class PastWindows:
    """One session's windows of the last ten seconds, as far as there is no gap."""

    def __init__(self) -> None:
        self._windows: deque[_Window] = deque()

    def before(self, started_at: float) -> tuple[tuple[str, int], ...]:
        """Return id and lead-in of the windows without a gap before ``started_at``, oldest first."""
        if self._windows and abs(started_at - self._windows[-1].ended_at) > _CONTIGUOUS_S:
            self._windows.clear()
        while self._windows and self._windows[0].started_at < started_at - PAST_S - _CONTIGUOUS_S:
            self._windows.popleft()
        return tuple((window.window_id, window.lead_in_samples) for window in self._windows)

    def add(self, window_id: str, lead_in_samples: int, started_at: float, ended_at: float) -> None:
        """Note a window, the newest."""
        self._windows.append(_Window(window_id, lead_in_samples, started_at, ended_at))
