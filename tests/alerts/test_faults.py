"""Real processes and servers die while alerts are on their way: none is lost, none gets a second id, the order holds.

Each scenario of ``tests.alerts.faults`` prints its seed; ``FAULTS_SEED`` repeats it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.alerts.faults import ALERTS, KAFKA_ALERTS, KILLS_EACH, SCENARIOS, VICTIMS
from tests.plays import Play, playing

TIMEOUT_S = 280
RECEIVERS = {"webhook", "push", "kafka", "stream", "proctor's socket", "session's socket"}
WELL = {"missing": 0, "foreign": 0, "disordered": []}

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def plays() -> Iterator[dict[str, Play]]:
    """Start every scenario; they all run at the same time."""
    with playing("tests.alerts.faults", list(SCENARIOS)) as started:
        yield started


def well(came: dict[str, Any]) -> dict[str, Any]:
    """Return what must not be: nothing missing, foreign or out of order."""
    return {fault: came[fault] for fault in WELL}


def require_all_came(result: dict[str, Any]) -> None:
    assert {name: well(came) for name, came in result["came"].items()} == dict.fromkeys(RECEIVERS, WELL), result
    assert not any(result["refused"].values()), result
    assert result["parked"] == 0, result


def test_processes_killed_at_any_instant_lose_no_alert_and_keep_ids_and_order(plays: dict[str, Play]) -> None:
    result = plays["killed_processes"].result(TIMEOUT_S)
    assert sorted(name for _, name in result["faults"]) == sorted(VICTIMS * KILLS_EACH)
    assert result["written"] == ALERTS + 1  # the first, for everybody to resume after
    require_all_came(result)
    # They were killed in earnest: the web's and the stream's clients had to come back.
    assert min(result["connections"][name] for name in ("stream", "proctor's socket", "session's socket")) > 1, result


def test_a_postgresql_that_crashes_loses_no_alert_and_every_process_outlives_it(plays: dict[str, Play]) -> None:
    result = plays["postgres_crashes"].result(TIMEOUT_S)
    assert result["broken"] > 0, result  # writers were hit, and each repeated its change
    assert result["written"] == ALERTS + 1
    require_all_came(result)


def test_a_kafka_broker_that_is_stopped_and_continued_loses_no_alert(plays: dict[str, Play]) -> None:
    stopped = plays["kafka_stops_and_dies"].result(TIMEOUT_S)["stopped"]
    assert stopped["written"] == KAFKA_ALERTS
    assert well(stopped) == WELL


def test_a_kafka_broker_that_is_killed_makes_no_alert_count_as_delivered_that_it_did_not_report(
    plays: dict[str, Play],
) -> None:
    result = plays["kafka_stops_and_dies"].result(TIMEOUT_S)
    killed, back = result["killed"], result["back"]
    assert (killed["marked_while_dead"], killed["misreported"]) == (0, 0), result
    assert killed["seen"] > 0, result  # what was marked could be compared with what the topic held
    assert (back["misreported"], well(back)) == (0, WELL), result
    assert back["written"] == 2 * KAFKA_ALERTS - killed["marked"], result
