"""WebSocket frames made once for many clients: what a server sends has no mask, so its bytes are the same for all."""

from __future__ import annotations

from typing import Final

_TEXT: Final = 0x81
"""The only frame of a text message (RFC 6455, 5.2)."""


def text_frame(text: str) -> bytes:
    """Return a message as the bytes that go over the wire, uncompressed."""
    payload = text.encode()
    size = len(payload)
    if size < 126:
        return bytes((_TEXT, size)) + payload
    if size < 1 << 16:
        return bytes((_TEXT, 126)) + size.to_bytes(2, "big") + payload
    return bytes((_TEXT, 127)) + size.to_bytes(8, "big") + payload
