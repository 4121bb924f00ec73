"""What is changed in log records. Logging is set up before the apps are: nothing here may import them."""

from __future__ import annotations

import logging


class ExpectedAnswers(logging.Filter):
    """Log a 503 of ``health`` as information: that a part is down is its answer, not a fault of the web process."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Lower the level of such a record; keep every record."""
        request = getattr(record, "request", None)
        match = getattr(request, "resolver_match", None)
        if getattr(record, "status_code", None) == 503 and match is not None and match.url_name == "health":
            record.levelno, record.levelname = logging.INFO, logging.getLevelName(logging.INFO)
        return True
