"""Five failed verifications in a row pause verification of that candidate, and of no other."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import AuditEntry, Organisation
from accounts.problems import Problem
from enrollment.attempts import LONGEST_PAUSE, pause_after, verification_attempt
from enrollment.models import Candidate, FailedVerifications
from tests.enrollment.test_enroll import enroll
from tests.enrollment.test_verify import verify
from tests.factories import make_enrolled_candidate, make_organisation


def compare(candidate: Candidate, matched: bool | None) -> str:
    """Return the code of the refusal, or nothing."""
    try:
        with verification_attempt(candidate) as attempt:
            attempt.matched = matched
    except Problem as problem:
        return problem.code
    return ""


@pytest.mark.django_db
class TestCounting:
    @pytest.fixture
    def ada(self) -> Candidate:
        return make_enrolled_candidate()

    def test_the_fifth_failure_pauses_for_half_a_minute(self, ada: Candidate) -> None:
        assert [compare(ada, matched=False) for _ in range(5)] == [""] * 5
        with pytest.raises(Problem) as caught, verification_attempt(ada):
            pass
        assert (caught.value.code, caught.value.status) == ("verification_paused", 429)
        assert caught.value.retry_after_s is not None
        assert 29 <= caught.value.retry_after_s <= 30
        assert compare(make_enrolled_candidate(ada.organisation), matched=True) == ""

    def test_a_match_begins_the_count_anew(self, ada: Candidate) -> None:
        for _ in range(3):
            assert [compare(ada, matched) for matched in (False, False, False, False, True)] == [""] * 5

    def test_what_was_not_compared_does_not_count(self, ada: Candidate) -> None:
        assert [compare(ada, matched=None) for _ in range(12)] == [""] * 12
        for _ in range(7):
            with pytest.raises(ZeroDivisionError), verification_attempt(ada):
                raise ZeroDivisionError
        assert compare(ada, matched=True) == ""

    def test_the_pause_ends_and_each_further_failure_doubles_it(self, ada: Candidate) -> None:
        for _ in range(5):
            compare(ada, matched=False)
        FailedVerifications.objects.update(paused_until=timezone.now())
        assert compare(ada, matched=False) == ""
        assert compare(ada, matched=False) == "verification_paused"
        left = FailedVerifications.objects.get().paused_until - timezone.now()  # type: ignore[operator]
        assert timedelta(seconds=58) < left <= timedelta(seconds=60)

    def test_no_pause_is_shorter_than_half_a_minute_or_longer_than_a_day(self) -> None:
        assert [pause_after(n) for n in range(5)] == [None] * 5
        pauses = [pause_after(n) for n in range(5, 60)]
        assert pauses[0] == timedelta(seconds=30)
        assert all(a is not None and b is not None and a <= b for a, b in itertools.pairwise(pauses))
        assert pauses[-1] == LONGEST_PAUSE

    def test_it_is_told_without_the_candidates_name(self, ada: Candidate) -> None:
        for _ in range(5):
            compare(ada, matched=False)
        entry = AuditEntry.objects.get(action="verification.paused")
        assert entry.details["failures"] == 5
        assert ada.candidate_id not in f"{entry.subject}{entry.details}"


@pytest.mark.django_db(transaction=True)
def test_many_at_once_do_not_get_past_the_count() -> None:
    ada = make_enrolled_candidate(make_organisation())

    def one(_: int) -> str:
        try:
            return compare(ada, matched=False)
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(one, range(24)))
    assert (told.count(""), told.count("verification_paused")) == (5, 19)


@pytest.mark.django_db
@pytest.mark.usefixtures("embedding_worker")
def test_over_rest_it_is_429_with_the_time_to_come_back(
    client: APIClient, organisation: Organisation, photographs: dict[str, bytes]
) -> None:
    assert enroll(client, photographs["a_1"]).status_code == 201
    answers = [verify(client, photographs["b_1"]) for _ in range(5)]
    assert [(answer.status_code, answer.json()["match"]) for answer in answers] == [(200, False)] * 5
    refused = verify(client, photographs["a_2"])  # the right face: it is not looked at
    assert (refused.status_code, refused.json()["code"]) == (429, "verification_paused")
    assert 0 < int(refused["Retry-After"]) <= 30
    FailedVerifications.objects.update(paused_until=timezone.now())
    assert verify(client, photographs["a_2"]).json()["match"] is True
    assert FailedVerifications.objects.get().count == 0
