"""The test database as migrations left it, put back after every test that commits.

Django's own flush empties all tables and has ``post_migrate`` write permissions and roles anew: about a second for
each of some hundred tests, and what migrations inserted is gone for the tests after it. Here only what a test changed
is written, and every test finds the same rows, whichever came before it.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.db import OperationalError, connection, transaction
from psycopg2.errors import DeadlockDetected

TRIES = 5
MANY_ROWS = 1000  # their remains would slow down the tests that follow


@dataclass(frozen=True, slots=True)
class Pristine:
    """The rows of each table, as PostgreSQL's COPY writes them, and which partitions there were."""

    rows: dict[str, bytes]
    columns: dict[str, str]
    partitions: frozenset[str]
    is_superuser: bool

    @classmethod
    def take(cls) -> Pristine:
        """Remember the database as it is now."""
        tables = sorted(connection.introspection.django_table_names(only_existing=True, include_views=False))
        columns = {table: _columns(table) for table in tables}
        with connection.cursor() as cursor:
            cursor.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
            is_superuser = bool(cursor.fetchone()[0])
        rows = {table: _copied_out(table, columns[table]) for table in tables}
        return cls(rows, columns, _partitions(), is_superuser)

    def restore(self) -> None:
        """Write back what differs, once those who still write are done."""
        partitions = _partitions()
        with connection.cursor() as cursor:
            for partition in partitions - self.partitions:  # every gallery is one
                cursor.execute(f"DROP TABLE {_quoted(partition)}")
        if self.partitions - partitions:
            with _audit_log_open():
                call_command("flush", verbosity=0, interactive=False, reset_sequences=False)  # makes those of today
        if self.is_superuser:
            self._replace_once_it_is_quiet()
        else:
            self._empty_all_and_refill()
        ContentType.objects.clear_cache()  # a test that migrates gives them other keys

    def _replace_once_it_is_quiet(self) -> None:
        """Replace; whoever still writes takes tables in another order, and one of the two has to give way."""
        for _ in range(TRIES - 1):
            try:
                return self._replace()
            except OperationalError as error:
                if not isinstance(error.__cause__, DeadlockDetected):
                    raise
        return self._replace()

    def _replace(self) -> None:
        many = []
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"LOCK TABLE {', '.join(map(_quoted, self.rows))} IN EXCLUSIVE MODE")
            changed = self._changed()
            if changed:
                # Neither foreign keys nor the triggers that forbid changes apply: what is written was there before.
                cursor.execute("SET LOCAL session_replication_role = replica")
            for table in changed:
                cursor.execute(f"DELETE FROM {_quoted(table)}")
                if cursor.rowcount > MANY_ROWS:
                    many.append(table)
            self._refill(changed)
        with connection.cursor() as cursor:
            for table in many:
                cursor.execute(f"VACUUM {_quoted(table)}")

    def _empty_all_and_refill(self) -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL sd_proctor.audit_retention = 'on'")
            cursor.execute(f"TRUNCATE {', '.join(map(_quoted, self.rows))}")
            self._refill(self.rows)

    def _changed(self) -> list[str]:
        full = [table for table, rows in self.rows.items() if rows]
        changed = [table for table in full if _copied_out(table, self.columns[table]) != self.rows[table]]
        empty = [table for table in self.rows if table not in full]
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {', '.join(f'EXISTS (SELECT FROM {_quoted(table)})' for table in empty)}")
            return changed + [table for table, filled in zip(empty, cursor.fetchone(), strict=True) if filled]

    def _refill(self, tables: Iterable[str]) -> None:
        with connection.cursor() as cursor:
            for table in tables:
                if self.rows[table]:
                    into = f"COPY {_quoted(table)} ({self.columns[table]}) FROM STDIN"
                    cursor.copy_expert(into, io.BytesIO(self.rows[table]))


@contextmanager
def _audit_log_open() -> Iterator[None]:
    """Have the database let the audit log be emptied, as it lets retention."""
    with connection.cursor() as cursor:
        cursor.execute("SET sd_proctor.audit_retention = 'on'")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("RESET sd_proctor.audit_retention")


def _copied_out(table: str, columns: str) -> bytes:
    out = io.BytesIO()
    with connection.cursor() as cursor:
        cursor.copy_expert(f"COPY (SELECT {columns} FROM {_quoted(table)} ORDER BY 1) TO STDOUT", out)
    return out.getvalue()


def _columns(table: str) -> str:
    """Return the names of a table's columns: a migration back and forth puts them in another order."""
    with connection.cursor() as cursor:
        return ", ".join(
            _quoted(column.name) for column in connection.introspection.get_table_description(cursor, table)
        )


def _partitions() -> frozenset[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT relname FROM pg_class WHERE relispartition AND relkind IN ('r', 'p')")
        return frozenset(name for (name,) in cursor.fetchall())


def _quoted(name: str) -> str:
    return connection.ops.quote_name(name)
