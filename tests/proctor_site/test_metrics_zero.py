"""Counters are exported at 0 before anything has been counted: a rate sees the first loss only if there was a 0."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from alerts.live_access import Close
from detection.engine.policy import EventType

ROOT = Path(__file__).resolve().parents[2]
EXPORT = """
import django; django.setup()
import alerts.tasks, alerts.consumers, detection.tasks, media_gateway.metrics
from prometheus_client import generate_latest
print(generate_latest().decode())
"""


@pytest.fixture(scope="module")
def exported() -> dict[str, float]:
    """Return what a process that has done nothing yet exports, by series."""
    environment = {name: value for name, value in os.environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"}
    environment |= {"PROMETHEUS_MULTIPROC_DIR": ""}
    done = subprocess.run(
        [sys.executable, "-c", EXPORT], env=environment, cwd=ROOT, capture_output=True, text=True, check=True
    )
    lines = [line.rpartition(" ") for line in done.stdout.splitlines() if line.startswith("sdproctor_")]
    return {series: float(value) for series, _, value in lines}


@pytest.mark.parametrize("stream", ["video", "audio"])
def test_every_reason_for_dropping_a_sample(exported: dict[str, float], stream: str) -> None:
    reasons = ("stale", "missing", "unreadable", "failed", "unknown_session", "lost", "database", "ended")
    for reason in reasons:
        assert exported[f'sdproctor_samples_dropped_total{{reason="{reason}",stream="{stream}"}}'] == 0


@pytest.mark.parametrize(("stream", "module"), [("video", "video.py"), ("audio", "audio.py")])
def test_every_reason_for_skipping_a_sample_in_the_gateway(
    exported: dict[str, float], stream: str, module: str
) -> None:
    source = (ROOT / "media_gateway" / module).read_text()
    reasons = set(re.findall(r'skip\([^"\n]*"([a-z]+)"\)|or \("([a-z]+)" if', source))
    named = {name for pair in reasons for name in pair if name} | {"redis_unavailable", "queue_full", "backlog"}
    assert len(named) >= 5
    for reason in named:
        assert exported[f'sdproctor_gateway_samples_skipped_total{{reason="{reason}",stream="{stream}"}}'] == 0


def test_wake_ups_sockets_and_alerts(exported: dict[str, float]) -> None:
    for kind in ("delivery", "socket"):
        assert exported[f'sdproctor_wakeups_lost_total{{kind="{kind}"}}'] == 0
    for code in set(Close) - {Close.NORMAL}:
        assert exported[f'sdproctor_socket_closed_total{{code="{int(code)}"}}'] == 0
    for event in EventType:
        assert exported[f'sdproctor_alerts_total{{event_type="{event}",phase="opened"}}'] == 0
