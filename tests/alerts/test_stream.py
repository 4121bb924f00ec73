"""One order over an organisation's alerts that misses nobody, however transactions overlap."""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection, transaction

from accounts.models import Organisation
from alerts import stream, tasks
from alerts.models import Alert
from alerts.stream import BEGINNING, EventUnknownError, Filters, alerts_after, cursor_of, newest, place
from detection.engine.policy import EventType
from tests.alerts import builders

pytestmark = pytest.mark.django_db(transaction=True)


def ids(page: stream.Page) -> list[uuid.UUID]:
    return [alert.event_id for alert in page.alerts]


def in_thread(call: Callable[[], Any]) -> threading.Thread:
    def run() -> None:
        try:
            call()
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@contextmanager
def uncommitted_alert(owner: Organisation) -> Iterator[None]:
    """Write an alert in a transaction that stays open inside the block."""
    written, may_commit = threading.Event(), threading.Event()
    session = builders.session(owner)

    def write() -> None:
        with transaction.atomic():
            builders.apply(session)
            written.set()
            assert may_commit.wait(20)

    thread = in_thread(write)
    try:
        assert written.wait(20)
        yield
    finally:
        may_commit.set()
        thread.join(20)


def test_an_alert_that_commits_late_comes_after_those_that_were_read_before() -> None:
    owner = builders.organisation()
    with uncommitted_alert(owner):
        second = builders.apply(builders.session(owner))
        page = alerts_after(owner, BEGINNING)
        assert ids(page) == [second.event_id]
    late = alerts_after(owner, page.position)
    assert len(late.alerts) == 1
    assert ids(alerts_after(owner, BEGINNING)) == [second.event_id, late.alerts[0].event_id]


def test_a_transaction_that_stays_open_holds_up_nobody() -> None:
    owner = builders.organisation()
    with uncommitted_alert(owner), transaction.atomic():  # and neither does one that reads
        assert newest(owner) == BEGINNING
        with transaction.atomic():
            alert = builders.apply(builders.session(owner))
        assert ids(alerts_after(owner, BEGINNING)) == [alert.event_id]


def test_readers_and_writers_at_once_miss_nothing_and_keep_each_session_in_order() -> None:
    owner = builders.organisation()
    sessions = [builders.session(owner) for _ in range(4)]
    random_hold = random.Random(1)
    holds = [[random_hold.uniform(0, 0.02) for _ in range(25)] for _ in sessions]
    done = threading.Event()
    read: list[list[Alert]] = [[], [], []]

    def write(number: int) -> None:
        for hold_s in holds[number]:
            with transaction.atomic():
                builders.apply(sessions[number])
                time.sleep(hold_s)

    def follow(number: int) -> None:
        position = BEGINNING
        while True:
            last_round = done.is_set()
            page = alerts_after(owner, position, limit=7)
            position = page.position
            read[number].extend(page.alerts)
            if last_round and not page.more:
                return

    readers = [in_thread(lambda number=number: follow(number)) for number in range(len(read))]
    writers = [in_thread(lambda number=number: write(number)) for number in range(len(sessions))]
    for thread in writers:
        thread.join(60)
    done.set()
    for thread in readers:
        thread.join(60)
    assert [len(got) for got in read] == [100, 100, 100]
    assert [a.event_id for a in read[0]] == [a.event_id for a in read[1]] == [a.event_id for a in read[2]]
    for session in sessions:
        assert [a.sequence for a in read[0] if a.session_id == session.pk] == list(range(1, 26))


def test_a_session_keeps_its_order_though_the_clocks_of_its_workers_differ() -> None:
    owner = builders.organisation()
    session = builders.session(owner)
    made = [builders.apply(session) for _ in range(3)]
    Alert.objects.filter(pk=made[0].pk).update(created_at=made[2].created_at + builders.timezone.timedelta(hours=1))
    assert ids(alerts_after(owner, BEGINNING)) == [alert.event_id for alert in made]


def test_a_page_ends_at_its_limit_and_says_that_there_is_more() -> None:
    owner = builders.organisation()
    session = builders.session(owner)
    made = [builders.apply(session) for _ in range(5)]
    first = alerts_after(owner, BEGINNING, limit=3)
    assert (ids(first), first.more) == ([alert.event_id for alert in made[:3]], True)
    rest = alerts_after(owner, first.position, limit=3)
    assert (ids(rest), rest.more) == ([alert.event_id for alert in made[3:]], False)
    assert alerts_after(owner, rest.position) == stream.Page([], rest.position, more=False)


def test_filters_ask_the_database_and_alerts_at_hand_alike() -> None:
    owner = builders.organisation()
    one, two = builders.session(owner, exam_id="algebra"), builders.session(owner, exam_id="biology")
    three = builders.session(owner)
    for session in (one, two, three):
        builders.apply(session)
        builders.apply(session, builders.change(EventType.SPEECH_DETECTED))
    everything = alerts_after(owner, BEGINNING).alerts
    wanted = {
        Filters(): 6,
        Filters(session_id=two.pk): 2,
        Filters(exam_ids=("algebra", "biology")): 4,
        Filters(event_types=("NO_FACE",)): 3,
        Filters(exam_ids=("algebra",), event_types=("NO_FACE",)): 1,
        Filters(session_id=three.pk, exam_ids=("algebra",)): 0,
    }
    assert len(everything) == 6
    for filters, count in wanted.items():
        page = alerts_after(owner, BEGINNING, filters)
        assert len(page.alerts) == count, filters
        assert ids(page) == [alert.event_id for alert in everything if filters.match(alert)]
        assert page.position == everything[-1].position, "what was filtered out need not be looked at again"


def test_another_organisations_alerts_are_neither_read_nor_resumed_after() -> None:
    owner, other = builders.organisation(), builders.organisation()
    foreign = builders.apply(builders.session(other))
    own = builders.apply(builders.session(owner))
    assert ids(alerts_after(owner, BEGINNING)) == [own.event_id]
    with pytest.raises(EventUnknownError) as refused:
        cursor_of(owner, str(foreign.event_id))
    assert refused.value.oldest_event_id == own.event_id


def test_whoever_names_the_last_alert_it_has_had_goes_on_after_it() -> None:
    owner = builders.organisation()
    made = [builders.apply(builders.session(owner)) for _ in range(3)]
    assert ids(alerts_after(owner, cursor_of(owner, str(made[0].event_id)))) == [alert.event_id for alert in made[1:]]
    assert cursor_of(owner, str(made[2].event_id)) == newest(owner)


@pytest.mark.parametrize("event_id", [str(uuid.uuid4()), "no-id", "", "0" * 400])
def test_an_event_that_was_never_issued_is_answered_with_the_oldest_that_is_wanted(event_id: str) -> None:
    owner = builders.organisation()
    builders.apply(builders.session(owner))
    speech = builders.apply(builders.session(owner), builders.change(EventType.SPEECH_DETECTED))
    with pytest.raises(EventUnknownError) as refused:
        cursor_of(owner, event_id, Filters(event_types=("SPEECH_DETECTED",)))
    assert refused.value.oldest_event_id == speech.event_id
    with pytest.raises(EventUnknownError) as refused:
        cursor_of(builders.organisation(), event_id)
    assert refused.value.oldest_event_id is None


def test_no_position_is_given_twice_though_the_newest_alert_was_erased() -> None:
    owner = builders.organisation()
    erased = builders.session(owner)
    builders.apply(erased)
    position = newest(owner)
    erased.delete()
    after = builders.apply(builders.session(owner))
    assert ids(alerts_after(owner, position)) == [after.event_id]


def test_the_sweep_places_what_nobody_reads() -> None:
    alert = builders.apply(builders.session())
    tasks.sweep()
    alert.refresh_from_db()
    assert alert.position is not None
    assert place() == 0
