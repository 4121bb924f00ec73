"""Send a long answer while it is being made, with a bound on what waits to be sent.

Under ASGI Django would first collect an ordinary iterator whole; an asynchronous one it sends piece by piece.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Final

from django.db import connections

WAITING: Final = 8
"""Pieces made and not sent yet; who makes them waits for a slow reader."""
_LOOK_UP_S: Final = 0.5


async def streamed(make: Callable[[], Iterator[bytes]]) -> AsyncIterator[bytes]:
    """Yield what ``make()`` yields, which runs in a thread of its own with database connections of its own.

    When the reader goes away, that ends with its next piece. An error of ``make`` comes out here and breaks the answer
    off: its status has been sent.
    """
    pieces: queue.Queue[bytes | BaseException | None] = queue.Queue(WAITING)
    stopping = threading.Event()

    def put(piece: bytes | BaseException | None) -> bool:
        while not stopping.is_set():
            try:
                pieces.put(piece, timeout=_LOOK_UP_S)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for piece in make():
                if not put(piece):
                    return
            put(None)
        except BaseException as error:  # noqa: BLE001  # raised again where the answer is sent
            put(error)
        finally:
            connections.close_all()
            with suppress(queue.Full):  # who went away may still wait for a piece, in a thread that nobody else wakes
                pieces.put_nowait(None)

    threading.Thread(target=work, name="streamed", daemon=True).start()
    try:
        while (piece := await asyncio.to_thread(pieces.get)) is not None:
            if isinstance(piece, BaseException):
                raise piece
            yield piece
    finally:
        stopping.set()
