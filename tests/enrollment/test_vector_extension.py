"""A database whose role may not create the extension: said in a sentence, and mended as the sentence says."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg2
import pytest

ROOT = Path(__file__).resolve().parents[2]


def administer(statement: str, database_url: str = "") -> None:
    connection = psycopg2.connect(database_url or os.environ["DATABASE_URL"])
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
    finally:
        connection.close()


@pytest.fixture
def database() -> Iterator[tuple[str, str]]:
    """Make a database of a role that is no superuser; return its address as that role, and as the superuser."""
    name, password = f"plain_{secrets.token_hex(4)}", secrets.token_hex(8)
    administer(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
    administer(f"CREATE DATABASE {name} OWNER {name}")
    superuser = urlsplit(os.environ["DATABASE_URL"])
    host = superuser.netloc.rpartition("@")[2]
    plain = superuser._replace(netloc=f"{name}:{password}@{host}", path=f"/{name}")
    yield urlunsplit(plain), urlunsplit(superuser._replace(path=f"/{name}"))
    administer(f"DROP DATABASE {name} WITH (FORCE)")
    administer(f"DROP ROLE {name}")


def migrate(database_url: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DATABASE_URL": database_url}
    command = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_a_role_that_may_not_create_it_is_told_what_to_do(database: tuple[str, str]) -> None:
    plain, superuser = database
    refused = migrate(plain)
    assert refused.returncode != 0
    assert "CREATE EXTENSION vector" in refused.stderr
    assert "Traceback" not in refused.stderr
    administer("CREATE EXTENSION vector", superuser)
    mended = migrate(plain)
    assert mended.returncode == 0, mended.stderr
