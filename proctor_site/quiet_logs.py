"""Keep people out of the logs: addresses by their route instead of the ids in them, database errors without the row.

Logging is set up before the apps are: nothing here may import them.
"""

from __future__ import annotations

import logging
import re
import traceback
from typing import Any, Final

_DETAIL: Final = re.compile(r"DETAIL:.*?(?=\\n|\n|'\)|$)")
"""What PostgreSQL adds to an error: the values of the row, such as ``Key (candidate_id)=(…) already exists.``"""
_LEFT_OUT: Final = "DETAIL: (left out)"
_NO_ROUTE: Final = "an address that is none"


class RoutesForPaths(logging.Filter):
    """Say of a request which address of ours it meant, not which candidate's: paths carry platforms' own ids."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Put the route in the place of the path; keep every record."""
        request = getattr(record, "request", None)
        path = getattr(request, "path", None)
        if path and isinstance(record.args, tuple):
            match = getattr(request, "resolver_match", None)
            route = f"/{match.route}" if match is not None and match.route else _NO_ROUTE
            record.args = tuple(route if argument == path else argument for argument in record.args)
        return True


def quiet_records_install() -> None:
    """Have every record of this process, whoever logs and wherever to, leave out the values in database errors."""
    make = logging.getLogRecordFactory()
    if getattr(make, "is_quiet", False):
        return

    def quiet(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        if record.exc_info and record.exc_info[1] is not None:
            record.exc_text = _DETAIL.sub(_LEFT_OUT, "".join(traceback.format_exception(record.exc_info[1])).rstrip())
        if record.args and "DETAIL:" in (text := _message(record)):
            record.msg, record.args = _DETAIL.sub(_LEFT_OUT, text), ()
        return record

    quiet.is_quiet = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(quiet)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):  # arguments that do not fit: logging itself tells of it
        return ""
