"""One clock for picture and sound: when was the media captured that a packet carries?"""

from __future__ import annotations

from collections import deque

_WINDOW_S = 20.0
"""How far back the smallest delay is looked for. Device clocks drift by at most ~100 ppm: 2 ms in this time."""
_BUCKET_S = 0.5
_JUMP_S = 5.0
"""A timestamp this far off the passing of time is a jump: no network holds packets back so long."""
_SHIFT_S = 1.0
_SHIFT_AFTER_S = 2.0
"""Delays that stay ``_SHIFT_S`` longer for this time are a smaller jump; a stalled network catches up sooner."""


class MediaClock:
    """Map RTP timestamps of one stream to Unix time by the packets that travelled fastest.

    An RTP timestamp counts media time from an unknown origin. For each packet, ``arrival - media time`` is that origin
    in Unix time plus the packet's delay. Delays vary, the origin does not, and no packet arrives before its capture: so
    the smallest value seen recently is the best estimate of the origin, whatever the network did to the other packets.
    Each track has its own estimate; both end up on the gateway's clock with an error of about the smallest delay, some
    tens of milliseconds, and that error is alike for both tracks of a peer.

    The window slides, so drift of the sender's clock is followed. A jump of the timestamps (another source, a sender
    that paused its clock) throws the estimate away and starts ``epoch`` + 1.
    """

    def __init__(self, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self.epoch = 0
        self._last: tuple[int, float] | None = None  # position and arrival of the newest packet
        self._minima: deque[tuple[float, float]] = deque()  # (bucket, delay), delays rising: a sliding minimum
        self._shift: tuple[float, float] | None = None  # since when delays have been long, and their minimum

    def note(self, timestamp: int, arrived_at: float, *, duration: int = 0) -> int:
        """Take in a packet and return its position: the 32-bit timestamp, unwrapped so that it never wraps.

        ``duration`` is the length of the media in the packet in timestamp units, where the sender must have captured
        all of it before sending: sound. It is 0 for a picture.
        """
        if self._last is None:
            position = timestamp
        else:
            last, last_arrived_at = self._last
            step = ((timestamp - last + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)
            position = last + step
            if abs(step / self.rate_hz - (arrived_at - last_arrived_at)) > _JUMP_S:
                self._restart()
        if self._last is None or position >= self._last[0] or not self._minima:
            self._last = position, arrived_at
        self._learn(arrived_at - (position + duration) / self.rate_hz, arrived_at)
        return position

    def captured_at(self, position: int) -> float:
        """Return the Unix time at which the media at ``position`` was captured; ``note`` must have been called."""
        return position / self.rate_hz + self._minima[0][1]

    def _restart(self) -> None:
        self.epoch += 1
        self._minima.clear()
        self._shift = None

    def _learn(self, delay: float, now: float) -> None:
        if self._minima and delay > self._minima[0][1] + _SHIFT_S:
            since, shortest = self._shift or (now, delay)
            self._shift = since, min(shortest, delay)
            if now - since > _SHIFT_AFTER_S:
                delay = min(shortest, delay)
                self._restart()
        else:
            self._shift = None
        bucket = now // _BUCKET_S
        while self._minima and self._minima[-1][1] >= delay:
            self._minima.pop()
        if not self._minima or self._minima[-1][0] != bucket:
            self._minima.append((bucket, delay))
        while self._minima[0][0] < bucket - _WINDOW_S / _BUCKET_S:
            self._minima.popleft()
