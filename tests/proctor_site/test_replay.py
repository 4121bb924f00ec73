"""After a restore: what was erased or withdrawn since the backup is done again, and nothing else is touched."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction
from django.utils import timezone

from accounts.audit import SYSTEM, audit_verify
from accounts.models import AuditEntry, DataKey, Organisation, OrganisationKey
from accounts.own_keys import own_key
from alerts.models import Incident
from enrollment.consents import has_consented
from enrollment.models import Candidate, FaceTemplate
from proctor_site.erasure import candidate_erase, enrollment_erase
from sessions.consents import consent_withdraw
from sessions.holds import hold_lift, hold_place
from tests.alerts import builders
from tests.factories import make_consent, make_enrolled_candidate, make_organisation, make_session, make_template

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("evidence_dir", "redis_client")]

NAMES = ("ada", "bob", "cid", "dan")


@pytest.fixture
def organisation() -> Organisation:
    return make_organisation()


def populate(organisation: Organisation) -> str:
    """Make four candidates of a time before all that happens in the tests; return the backup: a savepoint."""
    for name in NAMES:
        candidate = make_enrolled_candidate(organisation, name)
        builders.apply(make_session(candidate=candidate), frames={"f1": (builders.ONSET, builders.jpeg())})
    before = timezone.now() - timedelta(days=1)
    Candidate.objects.update(created_at=before)
    FaceTemplate.objects.update(created_at=before)
    for purpose in (OrganisationKey.Purpose.AUDIT, OrganisationKey.Purpose.RECEIPTS):
        own_key(organisation=organisation, purpose=purpose)
    return transaction.savepoint()


def exported() -> str:
    out = StringIO()
    call_command("audit", "export", stdout=out)
    return out.getvalue()


def replayed(path: Path, *options: str) -> str:
    out = StringIO()
    call_command("erasures", "replay", str(path), *options, stdout=out)
    return out.getvalue()


def written(folder: Path, text: str) -> Path:
    path = folder / "told.txt"
    path.write_text(text)
    return path


def happened(organisation: Organisation) -> list[str]:
    """Erase ada, erase bob's enrolment, withdraw for cid; return the receipts."""
    ada = candidate_erase(organisation=organisation, candidate_id="ada", actor=SYSTEM)
    bob = enrollment_erase(organisation=organisation, candidate_id="bob", actor=SYSTEM)
    consent_withdraw(candidate=Candidate.objects.get(organisation=organisation, candidate_id="cid"), actor=SYSTEM)
    return [ada.receipt, bob.receipt]


def state(organisation: Organisation) -> dict[str, tuple[bool, bool]]:
    """By candidate: whether there is a template, and whether consent stands."""
    candidates = Candidate.objects.filter(organisation=organisation)
    return {
        candidate.candidate_id: (FaceTemplate.objects.filter(candidate=candidate).exists(), has_consented(candidate))
        for candidate in candidates
    }


AFTERWARDS = {"bob": (False, False), "cid": (True, False), "dan": (True, True)}


def test_an_exported_audit_log_erases_and_withdraws_again(organisation: Organisation, tmp_path: Path) -> None:
    backup = populate(organisation)
    happened(organisation)
    log = written(tmp_path, exported())
    transaction.savepoint_rollback(backup)
    assert state(organisation) == dict.fromkeys(NAMES, (True, True))

    counted = replayed(log, "--dry-run")

    assert state(organisation) == dict.fromkeys(NAMES, (True, True))
    assert "candidate.erased   would be done for 1" in counted
    assert counted.replace("would be done", "done") == replayed(log)
    assert state(organisation) == AFTERWARDS
    assert DataKey.objects.count() == 2  # of cid and dan
    assert set(Incident.objects.values_list("session__candidate__candidate_id", flat=True)) == {"bob", "cid", "dan"}
    again = AuditEntry.objects.filter(actor="replay").order_by("sequence").values_list("action", flat=True)
    assert list(again) == ["candidate.erased", "enrollment.erased", "consent.withdrawn"]
    assert list(audit_verify(organisation)) == []


def test_run_twice_it_changes_nothing_more(organisation: Organisation, tmp_path: Path) -> None:
    backup = populate(organisation)
    happened(organisation)
    log = written(tmp_path, exported())
    transaction.savepoint_rollback(backup)
    replayed(log)
    entries = AuditEntry.objects.count()
    assert "3 lines tell of somebody of whom that is not here" in replayed(log)
    assert AuditEntry.objects.count() == entries


def test_receipts_erase_again_too_and_a_forged_one_erases_nobody(organisation: Organisation, tmp_path: Path) -> None:
    backup = populate(organisation)
    receipts = happened(organisation)
    header, claims, signature = receipts[0].split(".")
    forged = ".".join((header, receipts[1].split(".")[1], signature))
    unsigned = ".".join(("eyJhbGciOiJub25lIn0", claims, ""))
    transaction.savepoint_rollback(backup)

    with pytest.raises(CommandError) as told:
        replayed(written(tmp_path, "\n".join([forged, unsigned, "nonsense", *receipts[:1]])))

    assert [line[:7] for line in str(told.value).splitlines()[1:]] == ["Line 1:", "Line 2:", "Line 3:"]
    assert set(state(organisation)) == {"bob", "cid", "dan"}
    assert state(organisation)["bob"] == (True, True)


def test_a_receipt_under_a_key_that_the_backup_lacks_is_believed_only_when_that_is_said(
    organisation: Organisation, tmp_path: Path
) -> None:
    backup = populate(organisation)
    receipts = written(tmp_path, "\n".join(happened(organisation)))
    transaction.savepoint_rollback(backup)
    OrganisationKey.objects.filter(purpose=OrganisationKey.Purpose.RECEIPTS).delete()
    with pytest.raises(CommandError, match="signed with a key that is not here"):
        replayed(receipts)
    assert state(organisation) == dict.fromkeys(NAMES, (True, True))
    replayed(receipts, "--unverified")
    assert state(organisation) == AFTERWARDS | {"cid": (True, True)}  # there is no receipt of a withdrawal


def test_who_came_back_since_is_left_alone(organisation: Organisation, tmp_path: Path) -> None:
    populate(organisation)
    happened(organisation)
    log = written(tmp_path, exported())
    make_enrolled_candidate(organisation, "ada")
    for name in ("bob", "cid"):
        candidate = Candidate.objects.get(candidate_id=name)
        make_consent(candidate)
        make_template(candidate)
    before = state(organisation)
    assert before == dict.fromkeys(NAMES, (True, True))
    replayed(log)
    assert state(organisation) == before


def test_a_hold_of_the_backup_refuses_and_holds_up_nobody_else(organisation: Organisation, tmp_path: Path) -> None:
    backup = populate(organisation)
    happened(organisation)
    log = written(tmp_path, exported())
    transaction.savepoint_rollback(backup)
    hold = hold_place(actor=SYSTEM, reason="appeal", candidate=Candidate.objects.get(candidate_id="ada"))
    with pytest.raises(CommandError, match=r"candidate\.erased: The candidate is under a legal hold"):
        replayed(log)
    assert state(organisation) == AFTERWARDS | {"ada": (True, True)}
    hold_lift(hold=hold, actor=SYSTEM)
    replayed(log)
    assert state(organisation) == AFTERWARDS


def test_another_organisations_candidate_of_the_same_name_stays(organisation: Organisation, tmp_path: Path) -> None:
    other = make_organisation()
    populate(other)
    backup = populate(organisation)
    happened(organisation)
    log = written(tmp_path, exported())
    transaction.savepoint_rollback(backup)
    replayed(log)
    assert state(other) == dict.fromkeys(NAMES, (True, True))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"at": "yesterday"}, "no entry of an exported audit log"),
        ({"at": "2033-01-01T00:00:00"}, "no entry of an exported audit log"),
        ({"at": None}, "no entry of an exported audit log"),
        ({"mac": "xyz"}, "no entry of an exported audit log"),
        ({"sequence": "first"}, "no entry of an exported audit log"),
        ({"subject": None}, "names no candidate"),
        ({"organisation": "nowhere"}, "no organisation 'nowhere'"),
        ({"subject": "0" * 32}, "was changed"),
        ({"at": "2033-01-01T00:00:00+00:00"}, "was changed"),
        ({"mac": "00" * 32}, "was changed"),
    ],
)
def test_a_line_that_cannot_be_believed_is_named_and_does_nothing(
    organisation: Organisation, tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    backup = populate(organisation)
    happened(organisation)
    entries = [json.loads(line) for line in exported().splitlines()]
    last = max(n for n, entry in enumerate(entries) if entry["action"] == "candidate.erased")
    changed = [entry | change if n == last else entry for n, entry in enumerate(entries[: last + 1])]
    transaction.savepoint_rollback(backup)
    with pytest.raises(CommandError, match=told):
        replayed(written(tmp_path, "\n".join(map(json.dumps, changed))))
    assert state(organisation) == dict.fromkeys(NAMES, (True, True))


def test_a_log_that_was_cut_is_believed_only_when_that_is_said(organisation: Organisation, tmp_path: Path) -> None:
    backup = populate(organisation)
    happened(organisation)
    lines = [line for line in exported().splitlines() if json.loads(line)["action"] == "consent.withdrawn"]
    transaction.savepoint_rollback(backup)
    path = written(tmp_path, lines[0])
    with pytest.raises(CommandError, match="the line before it in the log is missing"):
        replayed(path)
    assert state(organisation) == dict.fromkeys(NAMES, (True, True))
    replayed(path, "--unverified")
    assert state(organisation)["cid"] == (True, False)


def test_a_log_may_go_on_in_another_file_or_where_the_database_ends(organisation: Organisation, tmp_path: Path) -> None:
    backup = populate(organisation)
    known = len(exported().splitlines())
    transaction.savepoint_rollback(backup)  # without the entry that tells of the export
    happened(organisation)
    log = exported().splitlines()
    transaction.savepoint_rollback(backup)
    files = [tmp_path / "first.jsonl", tmp_path / "second.jsonl"]
    for path, part in zip(files, (log[known : known + 1], log[known + 1 :]), strict=True):
        path.write_text("\n".join(part))
    call_command("erasures", "replay", *map(str, files), stdout=StringIO())
    assert state(organisation) == AFTERWARDS
