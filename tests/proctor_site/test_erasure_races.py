"""Somebody is erased at the very moment at which something else is done about them: answers, and nothing is left."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from django.db import connection, transaction

from accounts.audit import SYSTEM
from accounts.models import Organisation
from accounts.problems import Problem
from enrollment.attempts import verification_attempt
from enrollment.erasing import biometrics_remove
from enrollment.locking import candidate_ensure
from enrollment.models import Candidate, Consent, Enrollment, Erasure, FailedVerifications
from proctor_site import erasure
from proctor_site.erasure import candidate_erase, enrollment_erase
from sessions.biometrics import WITHOUT
from sessions.consents import consent_withdraw
from sessions.models import ExamSession
from sessions.policies import accommodations_set
from sessions.services import session_end, session_start
from tests.factories import make_enrolled_candidate, make_organisation, make_session
from tests.locks import somebody_waits
from tests.plays import wait_for

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("evidence_dir")]


@pytest.fixture
def organisation() -> Organisation:
    return make_organisation()


@contextmanager
def last_rows_being_removed(candidate: Candidate) -> Iterator[None]:
    """Remove the candidate elsewhere, in a transaction that ends only once somebody waits for the row."""
    removed = threading.Event()

    def remove() -> None:
        try:
            with transaction.atomic():
                ExamSession.objects.filter(candidate=candidate).delete()
                biometrics_remove(candidate)
                Candidate.objects.filter(pk=candidate.pk).delete()
                removed.set()
                wait_for("somebody who waits", somebody_waits, timeout_s=20)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as elsewhere:
        removing = elsewhere.submit(remove)
        wait_for("the removal", lambda: removed.is_set() or removing.done(), timeout_s=20)
        yield
        removing.result()


def test_who_is_erased_between_being_found_and_held_is_made_anew(organisation: Organisation) -> None:
    before = make_enrolled_candidate(organisation, "ada")
    with last_rows_being_removed(before), transaction.atomic():
        after = candidate_ensure(organisation=organisation, candidate_id="ada")
    assert after.pk != before.pk
    assert not Consent.objects.exists()  # what was agreed to went with whoever was erased


def test_a_session_without_biometrics_starts_for_who_was_just_erased(organisation: Organisation) -> None:
    before = make_enrolled_candidate(organisation, "ada")
    with last_rows_being_removed(before):
        session = session_start(organisation=organisation, candidate_id="ada", overrides=WITHOUT)
    assert session.candidate.pk != before.pk
    assert ExamSession.objects.get().candidate == session.candidate


def test_accommodations_are_those_of_who_is_there_afterwards(organisation: Organisation) -> None:
    before = make_enrolled_candidate(organisation, "ada")
    longer = {"rules": {"NO_FACE": {"hold_s": 20}}}
    with last_rows_being_removed(before):
        accommodations_set(organisation=organisation, candidate_id="ada", accommodations=longer, actor=SYSTEM)
    assert Candidate.objects.get().accommodations == longer


def test_what_comes_too_late_is_told_that_nobody_is_there(organisation: Organisation) -> None:
    late: dict[str, Callable[[ExamSession], object]] = {
        "candidate_unknown": lambda session: consent_withdraw(candidate=session.candidate, actor=SYSTEM),
        "session_unknown": lambda session: session_end(session=session, reason="requested", actor=SYSTEM),
    }
    for code, do in late.items():
        session = make_session(candidate=make_enrolled_candidate(organisation, "ada"))
        with last_rows_being_removed(session.candidate), pytest.raises(Problem) as refused:
            do(session)
        assert refused.value.code == code


def test_a_comparison_under_way_leaves_no_count_of_who_was_erased(organisation: Organisation) -> None:
    ada = make_enrolled_candidate(organisation, "ada")

    def compare() -> None:
        with verification_attempt(ada) as attempt:
            candidate_erase(organisation=organisation, candidate_id="ada", actor=SYSTEM)
            attempt.matched = False

    with pytest.raises(Problem) as refused:
        compare()
    assert refused.value.code == "candidate_unknown"
    assert not FailedVerifications.objects.exists()


def test_asked_for_by_many_at_once_everybody_gets_the_same_receipt(organisation: Organisation) -> None:
    make_session(candidate=make_enrolled_candidate(organisation, "ada"))
    together = threading.Barrier(6)

    def ask(number: int) -> str:
        try:
            together.wait()
            of = candidate_erase if number % 2 else enrollment_erase
            return str(of(organisation=organisation, candidate_id="ada", actor=SYSTEM).receipt_id)
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        receipts = list(pool.map(ask, range(6)))
    assert Erasure.objects.filter(finished_at=None).count() == 0
    assert set(receipts) == {str(key) for key in Erasure.objects.values_list("pk", flat=True)}
    assert not Candidate.objects.exists()


def test_who_asks_again_while_the_last_rows_go_waits_for_them(
    organisation: Organisation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that removes the last rows and one that begins hold candidate and erasure in the same order."""
    make_enrolled_candidate(organisation, "ada")
    asked: list[str] = []
    remove, threads = erasure.biometrics_remove, list[threading.Thread]()

    def again() -> None:
        try:
            asked.append(str(candidate_erase(organisation=organisation, candidate_id="ada", actor=SYSTEM).receipt_id))
        finally:
            connection.close()

    def meanwhile(candidate: Candidate) -> object:
        if not threads:
            threads.append(threading.Thread(target=again))
            threads[0].start()
            wait_for("the second", somebody_waits, timeout_s=20)
        return remove(candidate)

    monkeypatch.setattr(erasure, "biometrics_remove", meanwhile)
    first = candidate_erase(organisation=organisation, candidate_id="ada", actor=SYSTEM)
    threads[0].join()
    assert asked == [str(first.receipt_id)]
    assert not Enrollment.objects.exists()
