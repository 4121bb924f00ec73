"""A database that is away is waited for; an error of one that answers is not."""

from __future__ import annotations

import pytest
from django.db import DataError, OperationalError, connection, transaction

from detection import database
from detection.database import DatabaseAwayError, outlast

pytestmark = pytest.mark.django_db(transaction=True)


def terminate_own_backend() -> None:
    """Do what PostgreSQL does to every connection when it is stopped."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")


def test_a_broken_connection_is_replaced_and_the_action_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_PAUSE_S", 0.01)
    attempts = []

    def action() -> int:
        attempts.append(1)
        with transaction.atomic():
            if len(attempts) == 1:
                terminate_own_backend()
            with connection.cursor() as cursor:
                cursor.execute("SELECT 7")
                return int(cursor.fetchone()[0])

    assert outlast(action) == 7
    assert len(attempts) == 2


def test_an_error_about_the_statement_comes_through_at_once() -> None:
    attempts = []

    def action() -> None:
        attempts.append(1)
        with connection.cursor() as cursor:
            cursor.execute("SELECT 'x'::int")

    with pytest.raises(DataError):
        outlast(action)
    assert len(attempts) == 1


def test_a_lock_that_is_not_given_comes_through_although_it_is_operational() -> None:
    def action() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = 20")
            cursor.execute("SELECT pg_sleep(2)")

    with pytest.raises(OperationalError):
        outlast(action)


def test_patience_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_PAUSE_S", 0.01)

    def action() -> None:
        terminate_own_backend()

    with pytest.raises(DatabaseAwayError):
        outlast(action, patience_s=0.2)
    assert database.is_reachable()
