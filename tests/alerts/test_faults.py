"""Real processes and servers die while alerts are on their way: none is lost, none gets a second id, the order holds.

Each scenario of ``tests.alerts.faults`` prints its seed; ``FAULTS_SEED`` repeats it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.alerts.fault_receivers import Receipt, judge
from tests.alerts.faults import ALERTS, KAFKA_ALERTS, KILLS
from tests.plays import Play, playing

TIMEOUT_S = 540
"""For a machine that is busy with other things; alone on two cores a scenario takes a minute or two."""
PROGRAM = "tests.alerts.faults"
RECEIVERS = {"webhook", "push", "kafka", "stream", "proctor's socket", "session's socket"}
WELL = {"missing": 0, "foreign": 0, "disordered": []}

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module", autouse=True)
def kafka_play() -> Iterator[Play]:
    """Start the scenario about Kafka, which mostly waits, so that the others are played meanwhile."""
    with playing(PROGRAM, "kafka_stops_and_dies") as started:
        yield started


def well(came: dict[str, Any]) -> dict[str, Any]:
    """Return what must not be: nothing missing, foreign or out of order."""
    return {fault: came[fault] for fault in WELL}


def require_all_came(result: dict[str, Any]) -> None:
    assert {name: well(came) for name, came in result["came"].items()} == dict.fromkeys(RECEIVERS, WELL), result
    assert not any(result["refused"].values()), result
    assert result["parked"] == 0, result


def test_processes_killed_at_any_instant_lose_no_alert_and_keep_ids_and_order() -> None:
    with playing(PROGRAM, "killed_processes") as play:
        result = play.result(TIMEOUT_S)
    assert Counter(name for _, name in result["faults"]) == KILLS
    assert result["written"] == ALERTS + 1  # the first, for everybody to resume after
    require_all_came(result)
    # They were killed in earnest: the web's and the stream's clients had to come back.
    assert min(result["connections"][name] for name in ("stream", "proctor's socket", "session's socket")) > 1, result


def test_a_postgresql_that_crashes_loses_no_alert_and_every_process_outlives_it() -> None:
    with playing(PROGRAM, "postgres_crashes") as play:
        result = play.result(TIMEOUT_S)
    assert result["broken"] > 0, result  # writers were hit, and each repeated its change
    assert result["written"] == ALERTS + 1
    require_all_came(result)


def test_a_kafka_broker_that_is_stopped_and_continued_loses_no_alert(kafka_play: Play) -> None:
    stopped = kafka_play.result(TIMEOUT_S)["stopped"]
    assert stopped["written"] == KAFKA_ALERTS
    assert well(stopped) == WELL


def test_a_kafka_broker_that_is_killed_makes_no_alert_count_as_delivered_that_it_did_not_report(
    kafka_play: Play,
) -> None:
    result = kafka_play.result(TIMEOUT_S)
    killed, back = result["killed"], result["back"]
    assert (killed["marked_while_dead"], killed["misreported"]) == (0, 0), result
    assert killed["seen"] > 0, result  # what was marked could be compared with what the topic held
    assert (back["misreported"], well(back)) == (0, WELL), result
    assert back["written"] == 2 * KAFKA_ALERTS - killed["marked"], result


@pytest.mark.parametrize(
    ("came", "fault"),
    [
        ([Receipt("a", "s", 1)], {"missing": 1}),
        ([Receipt("a", "s", 1), Receipt("b", "s", 2), Receipt("c", "s", 2)], {"foreign": 1}),
        ([Receipt("b", "s", 2), Receipt("a", "s", 1)], {"disordered": ["s"]}),
        ([Receipt("a", "s", 1), Receipt("b", "s", 2), Receipt("a", "s", 1)], {}),
    ],
)
def test_the_judge_sees_what_is_lost_renamed_or_out_of_order(came: list[Receipt], fault: dict[str, Any]) -> None:
    assert well(judge(came, {"a": ("s", 1), "b": ("s", 2)})) == WELL | fault
