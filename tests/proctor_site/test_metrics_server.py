"""The metrics server: one sum over all processes of a machine, whatever became of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from proctor_site.embedded.ports import free_port
from proctor_site.metrics_server import forget_ended_processes

ROOT = Path(__file__).resolve().parents[2]
COUNT = (
    "import sys, time\n"
    "from prometheus_client import Counter, Gauge\n"
    "Counter('seen', 'Things.').inc(2)\n"
    "Gauge('alive', 'Now.', multiprocess_mode='livesum').set(1)\n"
    "print('counted', flush=True)\n"
    "sys.stdin.read()\n"
)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "metrics"
    path.mkdir()
    return path


def counting_process(directory: Path) -> subprocess.Popen[str]:
    """Start a process that counts 2 and says it is alive, until it is killed."""
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(directory)}
    process = subprocess.Popen(
        [sys.executable, "-c", COUNT], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "counted\n"
    return process


@pytest.fixture
def server(directory: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Yield a metrics server over ``directory`` and its address."""
    port = free_port()
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(directory), "METRICS_PORT": str(port)}
    command = [sys.executable, "-m", "proctor_site.metrics_server"]
    process = subprocess.Popen(command, env=environment, cwd=ROOT)
    try:
        yield process, f"http://127.0.0.1:{port}/metrics"
    finally:
        process.kill()
        process.wait()


def scrape(url: str) -> dict[str, float]:
    deadline = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                lines = response.read().decode().splitlines()
            return {line.split()[0]: float(line.split()[1]) for line in lines if not line.startswith("#")}
        except urllib.error.URLError:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_counters_of_ended_processes_stay_and_their_gauges_go(
    directory: Path, server: tuple[subprocess.Popen[bytes], str]
) -> None:
    first, second = counting_process(directory), counting_process(directory)
    assert scrape(server[1]) == {"seen_total": 4.0, "alive": 2.0}
    for process in (first, second):
        process.kill()
        process.wait()
    assert scrape(server[1]) == {"seen_total": 4.0}


def test_the_server_stops_when_asked(server: tuple[subprocess.Popen[bytes], str]) -> None:
    process, url = server
    scrape(url)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0


def test_an_address_that_is_not_allowed_gets_no_metrics(server: tuple[subprocess.Popen[bytes], str]) -> None:
    scrape(server[1])
    request = urllib.request.Request(server[1], headers={"X-Forwarded-For": "93.184.216.34"})
    with pytest.raises(urllib.error.HTTPError, match="403") as refused:
        urllib.request.urlopen(request, timeout=5)
    assert b"seen_total" not in refused.value.read()


def test_networks_that_are_none_are_named(directory: Path) -> None:
    environment = {
        **os.environ, "PROMETHEUS_MULTIPROC_DIR": str(directory), "METRICS_ALLOWED_NETWORKS": "10.0.0.300/8"
    }  # fmt: skip
    command = [sys.executable, "-m", "proctor_site.metrics_server"]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "METRICS_ALLOWED_NETWORKS cannot be used: '10.0.0.300/8'" in done.stderr


def test_without_a_directory_the_server_says_why_it_does_not_start() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"}
    command = [sys.executable, "-m", "proctor_site.metrics_server"]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "PROMETHEUS_MULTIPROC_DIR is not set" in done.stderr


def test_only_gauges_of_processes_that_are_gone_are_forgotten(directory: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    kept = [f"gauge_livesum_{os.getpid()}.db", f"counter_{ended.pid}.db", f"gauge_max_{ended.pid}.db"]
    for name in [*kept, f"gauge_livesum_{ended.pid}.db"]:
        (directory / name).touch()
    forget_ended_processes(directory)
    assert sorted(path.name for path in directory.iterdir()) == sorted(kept)
