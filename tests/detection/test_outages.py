"""Real processes are killed and real servers stopped in an exam: nothing that was decided is lost or doubled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.detection.scenario import SCENARIOS
from tests.plays import Play, playing

TIMEOUT_S = 150


@pytest.fixture(scope="module")
def plays(weights_dir: Path) -> Iterator[dict[str, Play]]:
    """Start every scenario; they all run at the same time."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(playing("tests.detection.scenario", name)) for name in SCENARIOS}


def skipped(result: dict[str, Any]) -> int:
    return sum(count for _, count, *_ in result["gaps"])


def test_a_killed_analysing_process_and_a_killed_worker_lose_and_double_no_incident(plays: dict[str, Play]) -> None:
    result = plays["killed_processes"].result(TIMEOUT_S)

    assert [event for event, *_ in result["incidents"]] == ["NO_FACE", "NO_FACE"]
    (_, first, first_end), (_, second, second_end) = result["incidents"]
    assert first == pytest.approx(3.0, abs=0.5)
    assert first_end == pytest.approx(7.25, abs=0.8)
    assert second == pytest.approx(12.0, abs=0.5)
    assert second_end == pytest.approx(16.75, abs=0.8)
    assert result["sequences"] == [1, 2, 3, 4]
    # What the killed worker held in its hands is the only loss, and it shows.
    assert result["detections"] + skipped(result) == result["offered"]
    assert skipped(result) <= 16


def test_ten_seconds_without_postgresql_lose_no_incident_and_show_as_a_gap(plays: dict[str, Play]) -> None:
    result = plays["postgres_away"].result(TIMEOUT_S)

    assert len(result["incidents"]) == 1
    event, start, end = result["incidents"][0]
    assert (event, start) == ("NO_FACE", pytest.approx(4.0, abs=0.5))
    assert end == pytest.approx(19.75, abs=0.8)
    assert result["sequences"] == [1, 2]
    assert result["detections"] + skipped(result) == result["offered"]
    assert {reason for reason, *_ in result["gaps"]} <= {"stale", "database"}


def test_after_ten_seconds_without_redis_the_worker_goes_on_by_itself(plays: dict[str, Play]) -> None:
    result = plays["redis_away"].result(TIMEOUT_S)

    assert [event for event, *_ in result["incidents"]] == ["NO_FACE"]
    assert result["incidents"][0][1] == pytest.approx(26.0, abs=0.5)
    assert result["sequences"] == [1, 2]
    assert result["detections"] + skipped(result) == result["offered"]
    assert any(reason == "redis_unavailable" and count >= 30 for reason, count, *_ in result["gaps"])
