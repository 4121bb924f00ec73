"""Remember which samples were not handed on, until it can be told."""

from __future__ import annotations

from dataclasses import dataclass

from detection.messages import Stream, Technical, TechnicalMessage

_QUIET_S = 1.0
"""A gap is over when nothing has been skipped for this long."""
_LONGEST_S = 30.0
"""A gap that goes on is told in pieces, so that nobody waits for its end to see it."""


@dataclass(slots=True)
class _Gap:
    started_at: float
    ended_at: float
    skipped: int
    opened: float  # on the caller's clock
    touched: float


class GapLedger:
    """Skipped samples by session, stream and reason. Times called ``now`` are on any one steady clock."""

    def __init__(self) -> None:
        self._gaps: dict[tuple[str, Stream, str], _Gap] = {}

    def __len__(self) -> int:
        return len(self._gaps)

    def skip(
        self, session_id: str, stream: Stream, reason: str, *, started_at: float, ended_at: float, now: float
    ) -> None:
        """Note one sample that was not handed on, and the capture times it covers."""
        gap = self._gaps.get((session_id, stream, reason))
        if gap is None:
            self._gaps[session_id, stream, reason] = _Gap(started_at, ended_at, 1, now, now)
            return
        gap.started_at = min(gap.started_at, started_at)
        gap.ended_at = max(gap.ended_at, ended_at)
        gap.skipped += 1
        gap.touched = now

    def take_finished(self, now: float) -> list[TechnicalMessage]:
        """Return and forget the gaps that are over, or long enough to be told of."""
        return self._take(
            [key for key, gap in self._gaps.items() if now - gap.touched >= _QUIET_S or now - gap.opened >= _LONGEST_S]
        )

    def take_all(self) -> list[TechnicalMessage]:
        """Return and forget every gap."""
        return self._take(list(self._gaps))

    def _take(self, keys: list[tuple[str, Stream, str]]) -> list[TechnicalMessage]:
        return [self._message(key, self._gaps.pop(key)) for key in keys]

    @staticmethod
    def _message(key: tuple[str, Stream, str], gap: _Gap) -> TechnicalMessage:
        session_id, stream, reason = key
        return TechnicalMessage(
            session_id=session_id,
            kind=Technical.GAP,
            at=gap.started_at,
            until=gap.ended_at,
            stream=stream,
            skipped=gap.skipped,
            reason=reason,
        )
