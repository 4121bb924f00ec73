"""The export of one candidate: all that is stored, opened, of nobody else, and never whole in memory."""

from __future__ import annotations

import asyncio
import io
import json
import threading
import tracemalloc
import zipfile
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from accounts import streaming
from accounts.models import AuditEntry, Organisation
from accounts.streaming import streamed
from alerts.models import Evidence
from detection.models import Detection
from enrollment.models import DuplicateSuspicion
from proctor_site.export import candidate_export
from tests.alerts import builders
from tests.detection.builders import commit, frames
from tests.factories import make_api_key, make_embedding, make_enrolled_candidate, make_organisation, make_session

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("evidence_dir")]


@pytest.fixture
def organisation() -> Organisation:
    return make_organisation()


def watched(organisation: Organisation, name: str, shade: int) -> Evidence:
    session = make_session(candidate=make_enrolled_candidate(organisation, name, embedding=make_embedding(3)))
    commit(session, frames(0, 3))
    alert = builders.apply(session, frames={"f1": (builders.ONSET, builders.jpeg(shade))})
    return Evidence.objects.get(incident=alert.incident)


def client_of(organisation: Organisation, *scopes: str) -> APIClient:
    return APIClient(HTTP_AUTHORIZATION=f"Bearer {make_api_key(organisation, scopes=list(scopes))[1]}")


def read(answer: Any) -> zipfile.ZipFile:
    archive = zipfile.ZipFile(io.BytesIO(b"".join(answer)))
    assert archive.testzip() is None
    return archive


def lines(archive: zipfile.ZipFile, name: str) -> list[dict[str, Any]]:
    (found,) = (each for each in archive.namelist() if each.endswith(name))
    return [json.loads(line) for line in archive.read(found).splitlines()]


def test_everything_of_the_candidate_is_there_and_nothing_of_another(organisation: Organisation) -> None:
    row, other = watched(organisation, "ada", 90), watched(organisation, "bob", 10)
    answer = client_of(organisation, "enroll", "sessions").get("/api/v1/candidates/ada/export")
    assert (answer.status_code, answer["content-type"]) == (200, "application/zip")
    assert answer["content-disposition"].endswith('.zip"')

    archive = read(answer)

    about = json.loads(archive.read("candidate.json"))
    assert (about["candidate_id"], len(about["consents"]), len(about["enrollments"])) == ("ada", 1, 1)
    assert about["template"]["model"] == "sface-2021dec"
    assert archive.read(f"sessions/{row.session_id}/evidence/{row.id}.jpg") == builders.jpeg(90)
    assert len(lines(archive, "detections.jsonl")) == 6
    assert [incident["event_type"] for incident in lines(archive, "incidents.jsonl")] == ["NO_FACE"]
    assert lines(archive, "alerts.jsonl")[0]["candidate_id"] == "ada"
    assert [entry["action"] for entry in lines(archive, "audit.jsonl")] == ["candidate.exported"]
    assert json.loads(archive.read("missing.json")) == []
    whole = b"".join(archive.read(name) for name in archive.namelist())
    for foreign in (b"bob", str(other.id).encode(), str(other.session_id).encode()):
        assert foreign not in whole
    assert make_embedding(3).tobytes() not in whole


def test_whom_somebody_resembles_is_told_without_who_it_is(organisation: Organisation) -> None:
    ada, bob = (make_enrolled_candidate(organisation, name) for name in ("ada", "bob"))
    DuplicateSuspicion.objects.create(
        organisation=organisation, candidate=ada, other=bob, model="m", similarity=0.99, comparison_score=0.6
    )
    for name, other in (("ada", b"bob"), ("bob", b"ada")):
        answer = client_of(organisation, "enroll", "sessions").get(f"/api/v1/candidates/{name}/export")
        document = read(answer).read("candidate.json")
        (told,) = json.loads(document)["duplicate_suspicions"]
        assert (told["similarity"], told["decision"]) == (0.99, "open")
        assert other not in document


def test_an_export_is_in_the_audit_log(organisation: Organisation) -> None:
    make_enrolled_candidate(organisation, "ada")
    client_of(organisation, "enroll", "sessions").get("/api/v1/candidates/ada/export").close()
    entry = AuditEntry.objects.get(action="candidate.exported")
    assert (entry.actor_kind, entry.subject_type) == ("key", "candidate")


def test_it_needs_the_scopes_of_all_it_holds(organisation: Organisation) -> None:
    make_enrolled_candidate(organisation, "ada")
    for scopes in (("enroll",), ("sessions",), ("verify", "admin")):
        answer = client_of(organisation, *scopes).get("/api/v1/candidates/ada/export")
        assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing"), scopes
    stranger = client_of(make_organisation(), "enroll", "sessions").get("/api/v1/candidates/ada/export")
    assert (stranger.status_code, stranger.json()["code"]) == (404, "candidate_unknown")
    assert stranger["content-type"] == "application/problem+json"
    assert not AuditEntry.objects.filter(action="candidate.exported").exists()


def test_pictures_that_are_gone_or_unreadable_are_named_and_hold_up_nothing(
    organisation: Organisation, evidence_dir: Path
) -> None:
    row = watched(organisation, "ada", 90)
    (evidence_dir / row.storage_name).unlink()
    archive = zipfile.ZipFile(io.BytesIO(b"".join(candidate_export(row.session.candidate))))
    assert json.loads(archive.read("missing.json")) == [{"evidence_id": str(row.id), "reason": "evidence_unknown"}]
    assert not [name for name in archive.namelist() if name.endswith(".jpg")]


def test_it_grows_with_no_session(organisation: Organisation) -> None:
    session = make_session(make_organisation())
    at = timezone.now()
    Detection.objects.bulk_create(
        [
            Detection(
                organisation=session.organisation, session=session, captured_at=at + timedelta(seconds=n),
                sample_id=f"s{n}", stream="video", measures={"noise": f"{n * 7919 % 104729:x}" * 40},
            )
            for n in range(20_000)
        ],
        batch_size=2000,
    )  # fmt: skip
    pieces = candidate_export(session.candidate)
    next(pieces)
    tracemalloc.start()
    size = sum(map(len, pieces))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size > 100_000
    assert peak < 3_000_000  # the rows are six megabytes


# --- Sending while it is made -----------------------------------------------------------------------------------------
async def test_no_more_than_a_few_pieces_are_made_ahead_of_the_reader() -> None:
    made: list[int] = []

    def make() -> Any:
        for number in range(1000):
            made.append(number)
            yield b"x"

    pieces = streamed(make)
    assert await anext(pieces) == b"x"
    assert len(made) <= streaming.WAITING + 3
    await pieces.aclose()  # type: ignore[attr-defined]


async def test_an_error_comes_out_where_it_is_sent() -> None:
    def make() -> Any:
        yield b"x"
        raise OSError("the disk is gone")

    pieces = streamed(make)
    assert await anext(pieces) == b"x"
    with pytest.raises(OSError, match="disk"):
        await anext(pieces)


async def test_a_reader_who_goes_away_leaves_no_thread_waiting() -> None:
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1) as only:
        loop.set_default_executor(only)
        go_on = threading.Event()

        def make() -> Any:
            yield b"x"
            go_on.wait()
            yield b"y"

        pieces = streamed(make)
        assert await anext(pieces) == b"x"
        reading = asyncio.ensure_future(anext(pieces))
        await asyncio.sleep(0.1)  # until it waits
        reading.cancel()
        await asyncio.wait({reading})
        go_on.set()
        assert await asyncio.wait_for(asyncio.to_thread(lambda: "free"), 10) == "free"
