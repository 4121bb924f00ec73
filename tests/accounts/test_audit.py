"""The audit log: appended only, chained, and free of names."""

from __future__ import annotations

from importlib import import_module

import pytest
from django.apps import apps
from django.db import DatabaseError, connection, transaction

from accounts.audit import SYSTEM, Actor, audit_verify, audit_write, candidate_subject
from accounts.models import AuditEntry, AuditHead, Organisation
from tests.factories import make_organisation

pytestmark = pytest.mark.django_db


def write(organisation: object, *actions: str) -> list[AuditEntry]:
    return [
        audit_write(
            organisation=organisation, actor=SYSTEM, action=action, subject_type="session", details={"n": 1.5, "é": [1]}
        )
        for action in actions
    ]


def tamper(sql: str, *parameters: object) -> None:
    """Do what somebody with the database's own password could do."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(sql, parameters)
        cursor.execute("SET LOCAL session_replication_role = DEFAULT")


def test_entries_are_numbered_per_organisation_and_the_chain_holds() -> None:
    one, two = make_organisation(), make_organisation(slug="two")
    assert [entry.sequence for entry in write(one, "a", "b", "c")] == [1, 2, 3]
    assert [entry.sequence for entry in write(two, "a")] == [1]
    assert list(audit_verify(one)) == list(audit_verify(two)) == []


@pytest.mark.parametrize("change", ["action = 'x'", "details = '{}'", "actor = 'x'", "at = now()", "subject = 'x'"])
def test_a_changed_entry_shows(change: str) -> None:
    organisation = make_organisation()
    entry = write(organisation, "a", "b", "c")[1]
    tamper(f"UPDATE accounts_auditentry SET {change} WHERE id = %s", entry.pk)
    assert list(audit_verify(organisation)) == ["Entry 2 was changed."]


@pytest.mark.parametrize(
    ("sequence", "told"), [(1, "Entries 1 to 1 are missing."), (2, "Entries 2 to 2 are"), (3, "Entries 3 to 3 are")]
)
def test_a_removed_entry_shows(sequence: int, told: str) -> None:
    organisation = make_organisation()
    entry = write(organisation, "a", "b", "c")[sequence - 1]
    tamper("DELETE FROM accounts_auditentry WHERE id = %s", entry.pk)
    assert any(problem.startswith(told) for problem in audit_verify(organisation))


def cut_off(organisation: Organisation, *, end: AuditEntry) -> None:
    """Have the log end with an earlier entry, and its head say so."""
    tamper(
        "DELETE FROM accounts_auditentry WHERE organisation_id = %s AND sequence > %s", organisation.pk, end.sequence
    )
    AuditHead.objects.update(sequence=end.sequence, mac=end.mac)


def test_a_log_whose_end_was_cut_off_shows_and_goes_on_showing() -> None:
    organisation = make_organisation()
    cut_off(organisation, end=write(organisation, "a", "b", "c")[1])
    assert list(audit_verify(organisation)) == ["Where the log begins or ends was changed."]
    write(organisation, "d", "e")
    assert list(audit_verify(organisation)) == ["Where the log begins or ends was changed."]


def test_a_log_whose_beginning_was_cut_off_as_retention_would_shows() -> None:
    organisation = make_organisation()
    first = write(organisation, "a", "b", "c")[0]
    tamper("DELETE FROM accounts_auditentry WHERE id = %s", first.pk)
    AuditHead.objects.update(base_sequence=first.sequence, base_mac=first.mac)
    assert list(audit_verify(organisation)) == ["Where the log begins or ends was changed."]


def test_logs_from_before_their_ends_were_sealed_are_sealed_as_they_are() -> None:
    organisation = make_organisation()
    write(organisation, "a", "b")
    AuditHead.objects.update(seal=b"")
    assert list(audit_verify(organisation)) == ["Where the log begins or ends was changed."]
    import_module("accounts.migrations.0007_audit_head_seal").seal_heads(apps, None)
    write(organisation, "c")
    assert list(audit_verify(organisation)) == []


def test_a_removed_head_shows() -> None:
    organisation = make_organisation()
    write(organisation, "a")
    AuditHead.objects.all().delete()
    assert list(audit_verify(organisation)) == ["The head of the log is missing."]


def test_the_database_itself_refuses_changes() -> None:
    def empty() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE; TRUNCATE accounts_auditentry")

    entry = write(make_organisation(), "a")[0]
    for change in (lambda: AuditEntry.objects.update(action="x"), lambda: entry.delete(), empty):
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
            change()
    assert AuditEntry.objects.get().action == "a"


def test_a_candidate_is_named_by_a_keyed_hash() -> None:
    one, two = make_organisation(), make_organisation(slug="two")
    subject = candidate_subject(organisation=one, candidate_id="ada@uni.example")
    assert len(subject) == 32
    assert subject == candidate_subject(organisation=one, candidate_id="ada@uni.example")
    assert subject != candidate_subject(organisation=one, candidate_id="ada@uni.examplf")
    assert subject != candidate_subject(organisation=two, candidate_id="ada@uni.example")


def test_an_actor_who_is_nobody_is_the_system() -> None:
    assert Actor.of_user(None) == SYSTEM
