"""After an erasure no byte of it is left: planted markers are sought in database files, dumps, storage and Redis.

The files are searched after ``VACUUM FULL`` and ``CHECKPOINT``, as docs/trust.md says: until then PostgreSQL keeps
removed rows in its pages. Data keys are searched for too: with them, what a backup holds could be read.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import redis
from django.db import connection
from rest_framework.test import APIClient

from accounts.keys import _unwrap
from accounts.models import Organisation
from alerts.models import Evidence
from detection.messages import frame_key
from tests.alerts import builders
from tests.detection.builders import commit, frames
from tests.factories import make_api_key, make_candidate, make_organisation, make_session, make_template

pytestmark = pytest.mark.django_db(transaction=True)

CANDIDATE = "marker-candidate-7f3a91c2"
SESSION = "marker-session-5d0be7"
EMBEDDING = np.frombuffer(b"PLANTED-EMBEDDING-MARKER-1234567" * 16, dtype="<f4")


def database_files() -> Iterator[bytes]:
    """Every file of every table, index and TOAST table of the database, read through the server."""
    with connection.cursor() as cursor:
        cursor.execute("VACUUM FULL")
        cursor.execute("CHECKPOINT")
        cursor.execute("SELECT pg_relation_filepath(oid) FROM pg_class WHERE pg_relation_filenode(oid) IS NOT NULL")
        paths = [row[0] for row in cursor.fetchall()]
        assert len(paths) > 100
        for path in paths:
            cursor.execute("SELECT pg_read_binary_file(%s, true)", [path])
            yield bytes(cursor.fetchone()[0] or b"")


def dump() -> bytes:
    """What pg_dump would write: every row of every table, as COPY gives it, and once more as binary."""
    out = io.BytesIO()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        )
        tables = [row[0] for row in cursor.fetchall()]
        assert len(tables) > 30
        for table in tables:
            for form in ("text", "binary"):
                cursor.copy_expert(f"COPY {table} TO STDOUT (FORMAT {form})", out)
    return out.getvalue()


def in_redis(client: redis.Redis) -> bytes:
    """Every key of Redis with its value, uncompressed."""
    client.config_set("rdbcompression", "no")
    keys = list(client.scan_iter(count=1000))
    return b"".join(key + (client.dump(key) or b"") for key in keys)


def found(markers: dict[str, bytes], *, folder: Path, client: redis.Redis) -> dict[str, set[str]]:
    """Where each marker is."""
    places = {
        "files": b"\0".join(database_files()),
        "dump": dump(),
        "storage": b"\0".join(path.read_bytes() for path in folder.rglob("*") if path.is_file()),
        "redis": in_redis(client),
    }
    return {
        name: {
            place for place, content in places.items()
            if marker in content or marker.hex().encode() in content  # bytea in a dump is hexadecimal
        }
        for name, marker in markers.items()
    }  # fmt: skip


def picture() -> bytes:
    """A picture that compresses badly, so that 64 bytes of it are no other's."""
    from PIL import Image

    pixels = np.random.default_rng(7).integers(0, 255, (96, 128, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture
def organisation() -> Organisation:
    return make_organisation()


def test_no_marker_is_found_after_an_erasure(
    organisation: Organisation, redis_client: redis.Redis, evidence_dir: Path
) -> None:
    jpeg = picture()
    candidate = make_candidate(organisation, CANDIDATE)
    template = make_template(candidate, EMBEDDING)
    candidate.refresh_from_db()
    builders.subscription(organisation, "https://example.org/hook")
    session = make_session(candidate=candidate, session_id=SESSION)
    commit(session, frames(0, 5))
    builders.apply(session, frames={"f1": (builders.ONSET, jpeg)})
    redis_client.set(frame_key(str(session.id), "f1"), jpeg, ex=60)
    assert candidate.data_key is not None
    sealed = evidence_dir / Evidence.objects.get().storage_name
    markers = {
        "embedding": EMBEDDING.tobytes(),
        "picture": jpeg[4000:4064],
        "candidate": CANDIDATE.encode(),
        "session": SESSION.encode(),
        "data key": _unwrap(candidate.data_key).key,
        "wrapped data key": bytes(candidate.data_key.wrapped_key),
        "sealed template": bytes(template.ciphertext),
        "sealed picture": sealed.read_bytes()[-64:],
    }

    assert found(markers, folder=evidence_dir, client=redis_client) == {  # the search does find what is there
        "embedding": set(),
        "picture": {"redis"},
        "candidate": {"files", "dump"},
        "session": {"files", "dump"},
        "data key": set(),
        "wrapped data key": {"files", "dump"},
        "sealed template": {"files", "dump"},
        "sealed picture": {"storage"},
    }

    raw = make_api_key(organisation)[1]
    answer = APIClient(HTTP_AUTHORIZATION=f"Bearer {raw}").delete(f"/api/v1/candidates/{CANDIDATE}")
    assert answer.status_code == 200

    left = found(markers, folder=evidence_dir, client=redis_client)
    assert {name: places for name, places in left.items() if places} == {}


def test_the_search_would_find_a_plain_embedding(redis_client: redis.Redis, evidence_dir: Path) -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE planted (content bytea)")
        cursor.execute("ALTER TABLE planted ALTER content SET STORAGE PLAIN")
        cursor.execute("INSERT INTO planted VALUES (%s)", [EMBEDDING.tobytes()])
        try:
            marker = {"embedding": EMBEDDING.tobytes()}
            assert found(marker, folder=evidence_dir, client=redis_client) == {"embedding": {"files", "dump"}}
        finally:
            cursor.execute("DROP TABLE planted")
