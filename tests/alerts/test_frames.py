"""Ready-made WebSocket frames, read back by a client of another make."""

from __future__ import annotations

import json

import pytest
from websockets.frames import Opcode
from websockets.protocol import CLIENT, Protocol

from alerts.frames import Ready


@pytest.mark.parametrize("length", [0, 60, 125, 126, 127, 65_535, 65_536, 200_000])
def test_a_frame_says_what_the_text_says(length: int) -> None:
    ready = Ready({"ä": "x" * length})
    client = Protocol(CLIENT)
    client.receive_data(ready.frame + ready.frame)
    frames = client.events_received()
    assert [(frame.opcode, frame.fin) for frame in frames] == [(Opcode.TEXT, True)] * 2
    assert {bytes(frame.data) for frame in frames} == {ready.text.encode()}
    assert json.loads(ready.text) == {"ä": "x" * length}
