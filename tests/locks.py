"""What PostgreSQL's locks tell about who is where: for tests of two things at the same moment."""

from __future__ import annotations

from django.db import connection


def somebody_waits(kind: str = "%") -> bool:
    """Tell whether anybody waits for a lock, of one ``locktype`` such as ``advisory`` or of any."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_locks WHERE locktype LIKE %s AND NOT granted", [kind])
        return cursor.fetchone() is not None
