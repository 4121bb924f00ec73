"""A log of failed connections that does not repeat what was sent: its first line may hold a name or a token."""

from __future__ import annotations

import logging

HTTP_LOG = "media_gateway.http"


class NothingSent(logging.Filter):
    """Keep of what aiohttp logs of a request only the kind of the failure: not the line, not the peer's address."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record; keep every record."""
        error = record.exc_info[1] if record.exc_info else None
        kind = type(error).__name__ if error is not None else "no exception"
        record.msg, record.args = "A connection failed: %s", (kind,)
        record.exc_info = record.exc_text = None
        return True


def http_logger() -> logging.Logger:
    """Return the logger for aiohttp's server."""
    logger = logging.getLogger(HTTP_LOG)
    if not logger.filters:
        logger.addFilter(NothingSent())
    return logger
