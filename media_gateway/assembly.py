"""Put RTP packets of a video stream back into encoded frames, in order, and know which frames can be trusted."""

from __future__ import annotations

import re
from dataclasses import dataclass

from aiortc.rtp import RtpPacket

from media_gateway.tap import payload_of

_HOLE_S = 0.3
"""How long a missing packet is waited for: time for a NACK and the packet sent again."""
_MAX_WAITING = 1024
"""Packets kept behind a missing one: a second of 10 Mbit/s."""
_MAX_FRAME_BYTES = 4_000_000
_MAX_STEP = 4096
"""A sequence number this far off belongs to a sender that started anew."""
_KEY_REQUEST_S = 0.5
_TOLERANCE_S = 3.0
"""Senders that give no key frame when asked are believed again this long after the damage: smears decay."""

_H264_UNIT = re.compile(rb"\x00\x00\x01(.)", re.DOTALL)
_H264_SLICE, _H264_KEY_SLICE = 1, 5


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    """One frame for the decoder. ``clean``: everything it is built on has been received."""

    codec: str
    data: bytes
    position: int
    is_key: bool
    clean: bool


def is_key_frame(codec: str, data: bytes) -> bool:
    """Tell whether a VP8 frame (RFC 6386, 9.1) or an H.264 access unit in Annex B form can be decoded on its own."""
    if codec == "VP8":
        return bool(data) and data[0] & 1 == 0
    for unit in _H264_UNIT.finditer(data):
        kind = unit[1][0] & 0x1F
        if kind in (_H264_SLICE, _H264_KEY_SLICE):
            return kind == _H264_KEY_SLICE
    return False


def _starts_frame(codec: str, packet: RtpPacket) -> bool:
    """Tell whether a packet begins a frame, where its header says so: VP8's S bit with partition 0 (RFC 7741, 4.2)."""
    return codec == "VP8" and bool(packet.payload) and packet.payload[0] & 0x17 == 0x10


class FrameAssembler:
    """Frames come out when their last packet (marker bit) is there; a hole holds them back for ``_HOLE_S`` at most."""

    def __init__(self) -> None:
        self._newest: int | None = None
        self._next = 0
        self._waiting: dict[int, tuple[str, RtpPacket, int]] = {}
        self._stuck_since: float | None = None
        self._parts: list[bytes] = []
        self._bytes = 0
        self._position = -1
        self._discard: int | None = None
        self._seen_key = False
        self._damaged_since: float | None = None
        self._asked_at: float | None = None

    def add(self, codec: str, packet: RtpPacket, position: int, now: float) -> list[EncodedFrame]:
        """Take in a packet; return the frames it completes, oldest first."""
        sequence = self._unwrap(packet.sequence_number)
        if sequence < self._next:
            return []  # a duplicate, or too late
        self._waiting[sequence] = codec, packet, position
        frames = self._drain(now)
        if not self._waiting:
            self._stuck_since = None
        elif frames or self._stuck_since is None:
            self._stuck_since = now
        elif now - self._stuck_since > _HOLE_S or len(self._waiting) > _MAX_WAITING:
            self._jump_hole(now)
            frames = self._drain(now)
        return frames

    def damage(self, now: float) -> None:
        """Note that the decoder has lost the thread: frames are not clean until the next key frame."""
        self._damaged_since = self._damaged_since or now

    def wants_key_frame(self, now: float) -> bool:
        """Tell whether to ask for a key frame now; asks again while none comes."""
        if self._seen_key and self._damaged_since is None:
            self._asked_at = None
            return False
        if self._asked_at is None and not self._seen_key:
            self._asked_at = now  # streams begin with one: give it time to come
        if self._asked_at is not None and now - self._asked_at < _KEY_REQUEST_S:
            return False
        self._asked_at = now
        return True

    def _unwrap(self, sequence_number: int) -> int:
        if self._newest is None:
            self._newest = self._next = sequence_number
        step = ((sequence_number - self._newest + (1 << 15)) & 0xFFFF) - (1 << 15)
        sequence = self._newest + step
        if abs(step) > _MAX_STEP:
            self._waiting.clear()
            self._drop_parts()
            self._next, self._seen_key, self._stuck_since = sequence, False, None
            self._newest = sequence
        self._newest = max(self._newest, sequence)
        return sequence

    def _drain(self, now: float) -> list[EncodedFrame]:
        frames: list[EncodedFrame] = []
        while (entry := self._waiting.pop(self._next, None)) is not None:
            self._next += 1
            codec, packet, position = entry
            data = payload_of(packet)
            if not data or position == self._discard:
                continue  # padding to probe the network, or the rest of a frame whose beginning is lost
            if self._parts and position != self._position:
                self._finish(codec, now, frames)  # its marker was never set
            self._parts.append(data)
            self._bytes += len(data)
            self._position = position
            if packet.marker:
                self._finish(codec, now, frames)
            elif self._bytes > _MAX_FRAME_BYTES:
                self._drop_parts()
                self.damage(now)
        return frames

    def _finish(self, codec: str, now: float, frames: list[EncodedFrame]) -> None:
        data = b"".join(self._parts)
        self._drop_parts()
        is_key = is_key_frame(codec, data)
        if is_key:
            self._seen_key, self._damaged_since = True, None
        if self._seen_key:
            clean = self._damaged_since is None or now - self._damaged_since > _TOLERANCE_S
            frames.append(EncodedFrame(codec, data, self._position, is_key, clean))

    def _jump_hole(self, now: float) -> None:
        """Give up the missing packets and the frame they belonged to."""
        self._drop_parts()
        self.damage(now)
        self._next = min(self._waiting)
        self._stuck_since = None
        codec, packet, position = self._waiting[self._next]
        self._discard = None if _starts_frame(codec, packet) else position

    def _drop_parts(self) -> None:
        self._parts = []
        self._bytes = 0
