"""Evidence that was removed, changed or slipped in shows; what time or erasure removed is tolerated."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.utils import timezone
from PIL import Image
from rest_framework.test import APIClient

from accounts.api_keys import api_key_create
from accounts.audit import SYSTEM
from accounts.models import AuditEntry, DataKey, OrganisationKey
from accounts.own_keys import own_key, own_key_renew
from alerts import evidence, evidence_sweep
from alerts.evidence_verify import chain_verify
from alerts.jpeg import without_metadata
from alerts.models import Evidence, EvidenceChain
from enrollment.models import Erasure
from proctor_site.erasure import enrollment_erase
from sessions.models import ExamSession
from tests.alerts import builders

pytestmark = pytest.mark.django_db


def with_pictures(count: int = 4) -> tuple[ExamSession, list[Evidence]]:
    """A session with an alert that names as many pictures."""
    session = builders.session()
    pictures = {f"f{n}": (builders.ONSET + n, builders.jpeg(90 + n)) for n in range(count)}
    builders.apply(session, frames=pictures)
    return session, list(Evidence.objects.filter(session=session).order_by("chain_index"))


def problems(session: ExamSession) -> list[str]:
    return list(chain_verify(session))


def test_an_untouched_session_holds_and_is_chained_in_order() -> None:
    session, rows = with_pictures()
    assert [row.chain_index for row in rows] == [1, 2, 3, 4]
    assert len({bytes(row.chain_mac) for row in rows}) == 4
    assert problems(session) == []
    builders.apply(session, frames={"later": (builders.ONSET + 9, builders.jpeg(7))})
    assert EvidenceChain.objects.get(session=session).length == 5
    assert problems(session) == []


def test_sessions_have_chains_of_their_own() -> None:
    one, other = with_pictures(2)[0], with_pictures(1)[0]
    assert (problems(one), problems(other)) == ([], [])
    assert {chain.length for chain in EvidenceChain.objects.all()} == {1, 2}


CHANGES: dict[str, tuple[str, str]] = {
    "the hash": ("sha256 = repeat('0', 64)", "What is said of the picture 2"),
    "the time": ("captured_at = captured_at + interval '1 second'", "What is said of the picture 2"),
    "the frame": ("frame_id = 'other'", "What is said of the picture 2"),
    "the mac": ("chain_mac = '\\x00'", "What is said of the picture 2"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_row_shows(change: str) -> None:
    session, rows = with_pictures()
    sql, told = CHANGES[change]
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE alerts_evidence SET {sql} WHERE id = %s", [rows[1].id])
    assert any(problem.startswith(told) for problem in problems(session))


@pytest.mark.parametrize(
    ("index", "told"), [(0, "The pictures 1 to 1"), (2, "The pictures 3 to 3"), (3, "The pictures 4 to 4")]
)
def test_a_removed_row_shows_at_any_place(index: int, told: str) -> None:
    session, rows = with_pictures()
    Evidence.objects.filter(pk=rows[index].pk).delete()
    assert f"{told} are missing." in problems(session)
    assert f"An alert names the picture {rows[index].id}, which is missing." in problems(session)


def test_the_end_cannot_be_set_back() -> None:
    session, rows = with_pictures()
    Evidence.objects.filter(pk=rows[3].pk).delete()
    EvidenceChain.objects.filter(session=session).update(length=3, mac=rows[2].chain_mac)
    assert "The end of the chain was changed." in problems(session)
    builders.apply(session, frames={"later": (builders.ONSET + 9, builders.jpeg(7))})
    assert "The end of the chain was changed." in problems(session)  # a picture that follows does not make it good
    EvidenceChain.objects.all().delete()
    assert "The end of the chain is missing." in problems(session)


def test_a_changed_and_a_missing_file_show(evidence_dir: Path) -> None:
    session, rows = with_pictures()
    changed, missing = (evidence_dir / row.storage_name for row in rows[:2])
    changed.write_bytes(changed.read_bytes()[:-1] + b"x")
    missing.unlink()
    assert sorted(problems(session)) == sorted([
        f"The file of the picture {rows[0].id} was changed.", f"The file of the picture {rows[1].id} is missing.",
    ])  # fmt: skip
    assert list(chain_verify(session, pictures=False)) == []


def test_another_candidates_file_in_a_pictures_place_shows(evidence_dir: Path) -> None:
    (session, rows), (_, others) = with_pictures(2), with_pictures(1)
    (evidence_dir / rows[0].storage_name).write_bytes((evidence_dir / others[0].storage_name).read_bytes())
    told = f"The file of the picture {rows[0].id} is sealed under a key that is gone, and no erasure says so."
    assert problems(session) == [told]


def test_a_data_key_that_vanished_without_an_erasure_shows() -> None:
    session, rows = with_pictures(2)
    DataKey.objects.all().delete()
    assert len(problems(session)) == len(rows) == 2
    Erasure.objects.create(
        organisation=session.organisation, candidate=session.candidate, subject="0" * 32, actor_kind="system",
        kind=Erasure.Kind.ENROLLMENT,
    )  # fmt: skip
    assert problems(session) == []  # it goes on, and the files follow


def test_a_picture_marked_as_removed_before_its_time_shows(evidence_dir: Path) -> None:
    session, rows = with_pictures()
    (evidence_dir / rows[1].storage_name).unlink()
    Evidence.objects.filter(pk=rows[1].pk).update(removed_at=timezone.now())
    told = [f"The picture {rows[1].id} was removed before its time, and no erasure says so."]
    assert problems(session) == list(chain_verify(session, pictures=False)) == told
    Evidence.objects.filter(pk=rows[1].pk).update(removed_at=timezone.now() - timedelta(minutes=1))
    erase(session)  # what an erasure removed afterwards explains nothing that went before
    assert problems(session) == told


def expire(session: ExamSession) -> None:
    Evidence.objects.filter(frame_id="f1").update(expires_at=timezone.now() - timedelta(seconds=1))
    assert evidence_sweep.sweep().expired == 1


def erase(session: ExamSession) -> None:
    enrollment_erase(organisation=session.organisation, candidate_id=session.candidate.candidate_id, actor=SYSTEM)
    assert not Evidence.objects.filter(removed_at=None).exists()


@pytest.mark.parametrize("remove", [expire, erase])
def test_what_time_or_erasure_removed_leaves_its_hash_and_the_chain_holds(
    remove: Callable[[ExamSession], None],
) -> None:
    session, rows = with_pictures()
    remove(session)
    assert [row.sha256 for row in Evidence.objects.order_by("chain_index")] == [row.sha256 for row in rows]
    assert problems(session) == []


def test_a_new_key_is_for_new_chains() -> None:
    session, _ = with_pictures(1)
    purpose = OrganisationKey.Purpose.EVIDENCE
    organisation = session.organisation
    own_key_renew(organisation=organisation, purpose=purpose, after=own_key(organisation=organisation, purpose=purpose))
    builders.apply(session, frames={"later": (builders.ONSET + 9, builders.jpeg(7))})
    assert EvidenceChain.objects.get().key_version == 1
    assert problems(session) == []
    OrganisationKey.objects.filter(purpose=purpose, version=1).delete()
    assert problems(session) == ["The key of the chain is missing or does not open."]


def test_the_command_counts_and_fails_when_something_is_wrong() -> None:
    session, rows = with_pictures()
    out = StringIO()
    call_command("evidence", "verify", stdout=out)
    assert out.getvalue() == "1 sessions, 4 pictures, of which 0 were removed by time or erasure; 0 problems.\n"
    Evidence.objects.filter(pk=rows[0].pk).update(sha256="0" * 64)
    out = StringIO()
    with pytest.raises(CommandError, match="not what it was"):
        call_command("evidence", "verify", "--session", session.session_id, stdout=out)
    assert f"{session.id}: What is said of the picture 1 ({rows[0].id}) was changed." in out.getvalue()
    call_command("evidence", "verify", "--organisation", "nobody", stdout=StringIO())
    with pytest.raises(CommandError, match="no session"):
        call_command("evidence", "verify", "--session", "nothing", stdout=StringIO())


# --- What is stored: the picture alone --------------------------------------------------------------------------------
def with_position() -> bytes:
    """A JPEG with EXIF (GPS), a comment, and an archive behind its end."""
    exif = Image.Exif()
    exif[0x8825] = {1: "N", 2: (52.0, 31.0, 12.0), 3: "E", 4: (13.0, 24.0, 36.0)}
    exif[0x010F] = "SECRET-CAMERA"
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), (200, 30, 30)).save(buffer, "JPEG", exif=exif, comment=b"SECRET-COMMENT")
    return buffer.getvalue() + b"PK\x03\x04SECRET-ARCHIVE"


def test_a_picture_is_stored_without_position_comment_or_anything_behind_it() -> None:
    given = with_position()
    assert b"Exif" in given
    session = builders.session()
    alert = builders.apply(session)
    with transaction.atomic():
        (row,) = evidence.keep(incident=alert.incident, frames={"f1": (builders.ONSET, given)})
    stored = evidence.picture(row)
    assert b"SECRET" not in stored
    assert b"Exif" not in stored
    assert not Image.open(io.BytesIO(stored)).getexif()
    assert Image.open(io.BytesIO(stored)).tobytes() == Image.open(io.BytesIO(given)).tobytes()


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 30, "restart_marker_blocks": 2}])
def test_stripping_leaves_the_pixels_of_any_jpeg(options: dict[str, object]) -> None:
    noise = Image.effect_noise((90, 70), 60).convert("RGB")
    buffer = io.BytesIO()
    noise.save(buffer, "JPEG", comment=b"gone", **options)
    stripped = without_metadata(buffer.getvalue())
    assert Image.open(io.BytesIO(stripped)).tobytes() == Image.open(buffer).tobytes()
    assert b"gone" not in stripped
    assert without_metadata(stripped) == stripped


@pytest.mark.parametrize("length", [0, 1, 2, 3, 5, 20, 200, 600, -1, -2])
def test_a_cut_off_jpeg_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match=r"begin|marker|longer|end"):
        without_metadata(builders.jpeg()[:length])


def test_what_is_no_jpeg_is_not_stored_and_holds_up_nothing(evidence_dir: Path) -> None:
    session = builders.session()
    pictures = {"f1": (builders.ONSET, b"GIF89a"), "f2": (builders.ONSET, builders.jpeg())}
    alert = builders.apply(session, frames=pictures)
    assert [link["frame_id"] for link in alert.payload["metadata"]["evidence"]] == ["f2"]
    assert len(list(evidence_dir.rglob("*.sealed"))) == 1


# --- Who saw it -------------------------------------------------------------------------------------------------------
def test_every_way_to_see_a_picture_is_written_down() -> None:
    session, (row,) = with_pictures(1)
    organisation = session.organisation
    key_client = APIClient()
    key, raw = api_key_create(organisation=organisation, name="k", scopes=["sessions"])
    key_client.credentials(HTTP_AUTHORIZATION=f"Bearer {raw}")
    person = builders.staff(organisation)
    signed_in = APIClient()
    signed_in.force_login(person)

    for client, path in (
        (key_client, f"/api/v1/evidence/{row.id}"),
        (signed_in, f"/api/v1/evidence/{row.id}"),
        (signed_in, f"/admin/alerts/incident/{row.id}/picture/"),
        (APIClient(), evidence.link(row.id).split("8000", 1)[1]),
    ):
        assert client.get(path).status_code == 200

    entries = AuditEntry.objects.filter(action="evidence.viewed", subject=str(row.id)).order_by("sequence")
    assert list(entries.values_list("actor_kind", "actor")) == [
        ("key", key.prefix), ("person", person.username), ("person", person.username), ("system", "signed link"),
    ]  # fmt: skip
    assert entries[0].details == {"session": str(session.id), "incident": str(row.incident_id)}


def test_who_does_not_see_it_is_not_written_down() -> None:
    _, (row,) = with_pictures(1)
    assert APIClient().get(f"/api/v1/evidence/{row.id}", {"signature": "x"}).status_code == 403
    stranger = APIClient()
    stranger.force_login(builders.staff(builders.organisation()))
    assert stranger.get(f"/api/v1/evidence/{row.id}").status_code == 404
    assert not AuditEntry.objects.filter(action="evidence.viewed").exists()
