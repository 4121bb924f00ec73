"""Prometheus figures of all processes of this machine on their own port: ``python -m proctor_site.metrics_server``.

Web, gateway and workers write their figures into the directory ``PROMETHEUS_MULTIPROC_DIR``; any of them can sum it up.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path

import psutil
from prometheus_client import REGISTRY, CollectorRegistry, Metric, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector

from proctor_site.env import env

DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"


class LiveProcessCollector:
    """Sums up all processes, without the "live" gauges of those that ended, however they ended."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._all = MultiProcessCollector(None, path=str(directory))  # type: ignore[no-untyped-call]

    def collect(self) -> Iterable[Metric]:
        """Return the metrics of the directory."""
        forget_ended_processes(self._directory)
        return list(self._all.collect())  # type: ignore[no-untyped-call]


def shared_registry() -> CollectorRegistry:
    """Return what ``/metrics`` shows: all processes of this machine, or this one alone where no directory is set."""
    directory = os.environ.get(DIRECTORY)
    if not directory:
        return REGISTRY
    registry = CollectorRegistry()
    registry.register(LiveProcessCollector(Path(directory)))
    return registry


def forget_ended_processes(directory: Path) -> None:
    """Remove the files of gauges that describe a living process where the process is gone; counters stay."""
    for path in directory.glob("gauge_live*.db"):
        process_id = path.stem.rpartition("_")[2]
        if process_id.isdigit() and not psutil.pid_exists(int(process_id)):
            path.unlink(missing_ok=True)


def main() -> int:
    """Serve ``/metrics`` until a signal asks to stop."""
    if not os.environ.get(DIRECTORY):
        print(f"{DIRECTORY} is not set: there is nothing to serve but this process.", file=sys.stderr)
        return 2
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})  # before threads: all inherit it
    host, port = env.str("METRICS_HOST", default="127.0.0.1"), env.int("METRICS_PORT", default=9090)
    server, thread = start_http_server(port, host, registry=shared_registry())
    print(f"metrics on http://{host}:{port}/metrics", flush=True)
    signal.sigwait({signal.SIGINT, signal.SIGTERM})
    server.shutdown()
    thread.join()
    return 0


if __name__ == "__main__":
    sys.exit(main())
