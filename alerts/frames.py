"""WebSocket frames made once for many clients: what a server sends has no mask, so its bytes are the same for all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

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


def encode(message: Mapping[str, Any]) -> str:
    """Write a message as it is sent."""
    return json.dumps(message, separators=(",", ":"))


class Ready:
    """A message as it is sent, as text and as the frame that is the same for all clients."""

    __slots__ = ("frame", "text")

    def __init__(self, message: Mapping[str, Any]) -> None:
        self.text = encode(message)
        self.frame = text_frame(self.text)
