"""Detections lie in monthly partitions, made in time and safely."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest
from django.core.management import call_command
from django.db import connection, connections

from detection.models import Detection
from detection.partitions import ensure_partitions, month_starts, partition_name
from tests.detection.builders import commit, frame
from tests.factories import make_session

NOVEMBER = datetime(2031, 11, 23, 15, tzinfo=UTC)


def rows_in(partition: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {partition}")
        return int(cursor.fetchone()[0])


def test_months_go_on_over_the_year_in_utc() -> None:
    late = datetime.fromisoformat("2031-12-01T00:30:00+01:00")

    assert [f"{start:%Y-%m-%d %H:%M %Z}" for start in month_starts(late, 1)] == [
        "2031-11-01 00:00 UTC",
        "2031-12-01 00:00 UTC",
        "2032-01-01 00:00 UTC",
    ]


@pytest.mark.django_db
def test_this_month_and_the_next_two_are_made_once() -> None:
    names = ["detection_detection_y2031m11", "detection_detection_y2031m12", "detection_detection_y2032m01"]

    assert ensure_partitions(now=NOVEMBER) == names
    assert ensure_partitions(now=NOVEMBER) == []
    assert ensure_partitions(now=datetime(2031, 12, 1, tzinfo=UTC)) == ["detection_detection_y2032m02"]


@pytest.mark.django_db
def test_rows_that_lie_in_the_default_partition_move_into_the_new_one() -> None:
    session = make_session()  # its samples are of September 2026, for which no partition was made
    commit(session, [frame(0), frame(0.5)])
    september = datetime(2026, 9, 1, tzinfo=UTC)
    assert rows_in("detection_detection_default") == 2

    ensure_partitions(months_ahead=0, now=september)

    assert rows_in(partition_name(september)) == 2
    assert rows_in("detection_detection_default") == 0
    assert Detection.objects.filter(session=session).count() == 2
    commit(session, [frame(1.0)])
    assert rows_in(partition_name(september)) == 3


@pytest.mark.django_db
def test_a_migrated_database_has_the_partition_of_today() -> None:
    call_command("migrate", verbosity=0)

    today = partition_name(month_starts(datetime.now(UTC), 0)[0])
    with connection.cursor() as cursor:
        cursor.execute("SELECT inhparent::regclass::text FROM pg_inherits WHERE inhrelid = to_regclass(%s)", [today])
        assert cursor.fetchone() == ("detection_detection",)


@pytest.mark.django_db(transaction=True)
def test_two_processes_at_once_make_each_partition_once() -> None:
    made: list[list[str]] = []

    def work() -> None:
        try:
            made.append(ensure_partitions(now=datetime(2033, 5, 5, tzinfo=UTC)))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(map(len, made)) == [0, 0, 3]
    with connection.cursor() as cursor:
        for name in next(names for names in made if names):
            cursor.execute(f"DROP TABLE {name}")
