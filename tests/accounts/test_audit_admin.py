"""The audit log in the admin and on the command line: read-only, found by a candidate's id, exported whole."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client

from accounts.audit import SYSTEM, Actor, audit_write, candidate_subject
from accounts.audit_export import audit_export
from accounts.models import AuditEntry, Organisation
from tests.factories import make_organisation, make_user

pytestmark = pytest.mark.django_db

LIST = "/admin/accounts/auditentry/"


@pytest.fixture
def organisation() -> Organisation:
    return make_organisation()


@pytest.fixture
def auditor(organisation: Organisation) -> Client:
    client = Client()
    client.force_login(make_user(organisation, permissions=["view_auditentry"]))
    return client


def write(organisation: Organisation, action: str = "session.opened", **fields: Any) -> AuditEntry:
    values: dict[str, Any] = {"actor": SYSTEM, "subject_type": "session", "subject": "s1"} | fields
    return audit_write(organisation=organisation, action=action, **values)


def body(answer: Any) -> bytes:
    return b"".join(answer)


def test_an_auditor_sees_the_own_organisations_log_and_can_change_nothing(
    auditor: Client, organisation: Organisation
) -> None:
    mine, theirs = write(organisation, "mine.done"), write(make_organisation(), "theirs.done")
    page = auditor.get(LIST).content.decode()
    assert "mine.done" in page
    assert "theirs.done" not in page
    assert auditor.get(f"{LIST}{mine.pk}/change/").status_code == 200
    assert auditor.get(f"{LIST}{theirs.pk}/change/").status_code == 302
    assert auditor.get(f"{LIST}add/").status_code == 403
    assert auditor.post(f"{LIST}{mine.pk}/change/", {"action": "x"}).status_code == 403
    assert auditor.post(f"{LIST}{mine.pk}/delete/", {"post": "yes"}).status_code == 403


def test_who_may_not_see_it_does_not(organisation: Organisation) -> None:
    client = Client()
    client.force_login(make_user(organisation, permissions=["view_user"]))
    assert client.get(LIST).status_code == 403


def test_entries_are_found_by_action_actor_and_the_candidates_id(auditor: Client, organisation: Organisation) -> None:
    subject = candidate_subject(organisation=organisation, candidate_id="ada@uni.example")
    write(organisation, "candidate.opened", subject_type="candidate", subject=subject)
    write(organisation, "policy.changed", actor=Actor(AuditEntry.ActorKind.PERSON, "grace"))
    for term, found, missed in (
        ("ada@uni.example", "candidate.opened", "policy.changed"),
        ("grace", "policy.changed", "candidate.opened"),
        ("policy.", "policy.changed", "candidate.opened"),
    ):
        rows = auditor.get(LIST, {"q": term}).context["cl"].result_list
        assert [entry.action for entry in rows] == [found], (term, missed)
    rows = auditor.get(LIST, {"action": "policy.changed"}).context["cl"].result_list
    assert [entry.action for entry in rows] == ["policy.changed"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_what_is_chosen_is_exported_whole_and_that_is_written_down(
    auditor: Client, organisation: Organisation, form: str
) -> None:
    entries = [write(organisation, f"a{n}", details={"n": n}) for n in range(600)]
    answer = auditor.post(LIST, {
        "action": f"export_{form}", "select_across": "1", "index": "0", "_selected_action": [entries[0].pk],
    })  # fmt: skip
    assert answer["content-disposition"].endswith(f'.{form}"')
    text = body(answer).decode()
    rows = (
        list(csv.DictReader(io.StringIO(text))) if form == "csv" else [json.loads(line) for line in text.splitlines()]
    )
    signed_in, *rows = rows
    assert signed_in["action"] == "sign_in.succeeded"
    assert [row["action"] for row in rows] == [f"a{n}" for n in range(600)]
    assert (json.loads(rows[7]["details"]) if form == "csv" else rows[7]["details"]) == {"n": 7}
    assert rows[0]["mac"] == bytes(entries[0].mac).hex()
    told = AuditEntry.objects.get(action="audit.exported")
    assert (told.details, told.actor_kind) == ({"entries": 601, "format": form}, "person")


def test_a_spreadsheet_takes_no_name_for_a_formula(organisation: Organisation) -> None:
    write(organisation, actor=Actor(AuditEntry.ActorKind.PERSON, "=HYPERLINK(1)"))
    text = b"".join(audit_export(AuditEntry.objects.all(), "csv")).decode()
    assert next(csv.DictReader(io.StringIO(text)))["actor"] == "'=HYPERLINK(1)"


# --- Command line -----------------------------------------------------------------------------------------------------
def test_the_command_verifies_and_fails_when_something_was_changed(organisation: Organisation) -> None:
    entry = write(organisation)
    out = io.StringIO()
    call_command("audit", "verify", "--organisation", organisation.slug, stdout=out)
    assert out.getvalue() == f"{organisation.slug}: 1 entries read.\n"
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute("UPDATE accounts_auditentry SET actor = 'x' WHERE id = %s", [entry.pk])
    out = io.StringIO()
    with pytest.raises(CommandError, match="not what was written"):
        call_command("audit", "verify", stdout=out)
    assert f"{organisation.slug}: Entry 1 was changed." in out.getvalue()


def test_the_command_exports_lines_that_can_be_read(organisation: Organisation) -> None:
    write(organisation, "early")
    late = write(organisation, "late")
    out = io.StringIO()
    call_command("audit", "export", "--since", late.at.isoformat(), stdout=out)
    assert [json.loads(line)["action"] for line in out.getvalue().splitlines()] == ["late"]
    assert AuditEntry.objects.filter(action="audit.exported", organisation=organisation).exists()


@pytest.mark.parametrize(
    "options", [["--organisation", "nobody"], ["--since", "yesterday"], ["--since", "2026-99-99T00:00Z"]]
)
def test_a_wrong_option_is_named(options: list[str]) -> None:
    with pytest.raises(CommandError, match=r"nobody|no time"):
        call_command("audit", "export", *options, stdout=io.StringIO())
