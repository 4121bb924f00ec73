"""Real processes are killed and real servers stopped in an exam: nothing that was decided is lost or doubled."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.detection.scenario import ROOT, SCENARIOS

TIMEOUT_S = 150


class Play:
    """A scenario on its way; they all run at the same time, since mostly they wait."""

    def __init__(self, name: str, directory: Path) -> None:
        self._directory = directory
        environment = {key: value for key, value in os.environ.items() if key not in ("DATABASE_URL", "REDIS_URL")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.detection.scenario", name, str(directory)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def result(self) -> dict[str, Any]:
        """Return what the scenario printed; fail with its errors when it broke off."""
        output, errors = self._process.communicate(timeout=TIMEOUT_S)
        if self._process.returncode != 0:
            log = (self._directory / "worker.log").read_text(errors="replace")[-3000:]
            pytest.fail(f"The scenario ended with {self._process.returncode}:\n{errors[-3000:]}\n{log}")
        return dict(json.loads(output.splitlines()[-1]))

    def stop(self) -> None:
        """End it if it still runs; it stops its own parts."""
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait()


@pytest.fixture(scope="module")
def plays(weights_dir: Path) -> Iterator[dict[str, Play]]:
    """Start every scenario, in directories that PostgreSQL's account can reach where that is another one."""
    with tempfile.TemporaryDirectory(prefix="sd-proctor-scenario-") as base, ExitStack() as stack:
        Path(base).chmod(0o711)
        started: dict[str, Play] = {}
        for name in SCENARIOS:
            directory = Path(base) / name
            directory.mkdir(mode=0o711)
            started[name] = Play(name, directory)
            stack.callback(started[name].stop)
        yield started


def skipped(result: dict[str, Any]) -> int:
    return sum(count for _, count, *_ in result["gaps"])


def test_a_killed_analysing_process_and_a_killed_worker_lose_and_double_no_incident(plays: dict[str, Play]) -> None:
    result = plays["killed_processes"].result()

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
    result = plays["postgres_away"].result()

    assert len(result["incidents"]) == 1
    event, start, end = result["incidents"][0]
    assert (event, start) == ("NO_FACE", pytest.approx(4.0, abs=0.5))
    assert end == pytest.approx(19.75, abs=0.8)
    assert result["sequences"] == [1, 2]
    assert result["detections"] + skipped(result) == result["offered"]
    assert {reason for reason, *_ in result["gaps"]} <= {"stale", "database"}


def test_after_ten_seconds_without_redis_the_worker_goes_on_by_itself(plays: dict[str, Play]) -> None:
    result = plays["redis_away"].result()

    assert [event for event, *_ in result["incidents"]] == ["NO_FACE"]
    assert result["incidents"][0][1] == pytest.approx(26.0, abs=0.5)
    assert result["sequences"] == [1, 2]
    assert result["detections"] + skipped(result) == result["offered"]
    assert any(reason == "redis_unavailable" and count >= 30 for reason, count, *_ in result["gaps"])
