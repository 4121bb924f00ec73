"""Outlast a database that is away for seconds."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from django.db import DatabaseError, InterfaceError, OperationalError, connection

logger = logging.getLogger(__name__)

PATIENCE_S = 30.0
_PAUSE_S = 0.5
Result = TypeVar("Result")


class DatabaseAwayError(Exception):
    """The database did not answer for as long as one may wait."""


def is_reachable() -> bool:
    """Tell whether the database answers, on a fresh connection if the old one is broken."""
    connection.close_if_unusable_or_obsolete()
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        connection.close()
        return False
    return True


def outlast(action: Callable[[], Result], *, patience_s: float = PATIENCE_S) -> Result:
    """Return ``action()``, tried again when the database was away; it must be all or nothing.

    An error of a database that answers comes through. Raises ``DatabaseAwayError`` when the database does not come back
    within ``patience_s``.
    """
    give_up_at = time.monotonic() + patience_s
    warned = False
    while True:
        try:
            return action()
        except (OperationalError, InterfaceError) as error:
            if is_reachable() and _is_answer(error):
                raise
            if time.monotonic() > give_up_at:
                raise DatabaseAwayError(str(error)) from error
            if not warned:
                logger.warning("The database did not do it, trying again for %.0f s: %s", patience_s, error)
                warned = True
            time.sleep(_PAUSE_S)


def _is_answer(error: Exception) -> bool:
    """Tell an error about a statement from one that passes: the connection's, or a transaction that gave way.

    By SQLSTATE class: 08 connection, 40 deadlock or serialisation, 57P the server's own shutdown and start. A
    connection that broke has no code at all.
    """
    code = getattr(error.__cause__, "pgcode", None)
    return code is not None and not code.startswith(("08", "40", "57P"))
