"""Run the media gateway: ``python -m media_gateway``."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from typing import Any

from media_gateway.config import Config, ConfigError, load
from media_gateway.gateway import Gateway

logger = logging.getLogger("media_gateway")

_LAST_WORD_S = 4.5


def main() -> int:
    """Run until SIGTERM or SIGINT; return the exit status."""
    try:
        config = load(os.environ)
    except ConfigError as error:
        print(f"media gateway: {error}", file=sys.stderr)
        return 2
    logging.basicConfig(level=config.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for library in ("aioice", "aiortc"):  # they tell every ICE check
        logging.getLogger(library).setLevel(logging.WARNING)
    return asyncio.run(_serve(config))


async def _serve(config: Config) -> int:
    asked = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, asked.set)
    gateway = Gateway(config)
    try:
        await gateway.start()
    except OSError as error:
        print(f"media gateway: GATEWAY_PORT {config.port} cannot be listened on: {error}", file=sys.stderr)
        return 1
    logger.info("Gateway %s listens on %s:%d.", config.gateway_id, config.host, gateway.port)
    ends: list[asyncio.Future[Any]] = [asyncio.create_task(asked.wait()), gateway.failure]
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    ends[0].cancel()
    _exit_anyway_after(_LAST_WORD_S)
    await gateway.stop()
    return 1 if gateway.failure.done() else 0


def _exit_anyway_after(seconds: float) -> None:
    """End the process even if a thread or a connection will not."""
    timer = threading.Timer(seconds, os._exit, args=[1])
    timer.daemon = True
    timer.start()


if __name__ == "__main__":
    sys.exit(main())
