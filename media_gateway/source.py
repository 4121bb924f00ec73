"""Follow one stream among the packets of a receiver."""

from __future__ import annotations

_HANDOVER_S = 1.0


class Source:
    """One sender's stream is one SSRC. Another one takes over only when the present one has fallen silent."""

    def __init__(self) -> None:
        self.ssrc: int | None = None
        self._heard_at = 0.0

    def accept(self, ssrc: int, now: float) -> bool:
        """Tell whether a packet of ``ssrc`` belongs to the stream; ``ssrc`` is then the one followed."""
        if ssrc != self.ssrc:
            if self.ssrc is not None and now - self._heard_at < _HANDOVER_S:
                return False
            self.ssrc = ssrc
        self._heard_at = now
        return True
