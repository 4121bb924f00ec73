"""Prometheus figures of all processes of this machine on their own port: ``python -m proctor_site.metrics_server``.

Web, gateway and workers write their figures into the directory ``PROMETHEUS_MULTIPROC_DIR``; any of them can sum it up.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import psutil
from prometheus_client import REGISTRY, CollectorRegistry, Metric, make_wsgi_app
from prometheus_client.multiprocess import MultiProcessCollector

from media_gateway.metrics_access import PRIVATE, REFUSAL, Network, is_allowed, networks
from proctor_site.env import env

if TYPE_CHECKING:  # it exists for type checkers alone
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

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


class MetricsServer(ThreadingMixIn, WSGIServer):
    """Answers with the metrics of ``shared_registry``, to addresses in ``allowed`` alone."""

    daemon_threads = True

    def __init__(self, host: str, port: int, *, allowed: Sequence[Network]) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _QuietHandler)
        self.set_app(_guarded(make_wsgi_app(shared_registry()), allowed))


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name for it
        """Log no requests: there is one every few seconds."""


def _guarded(application: WSGIApplication, allowed: Sequence[Network]) -> WSGIApplication:
    def answer(request: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if is_allowed(request["REMOTE_ADDR"], request.get("HTTP_X_FORWARDED_FOR", ""), allowed):
            return application(request, start_response)
        start_response("403 Forbidden", [("Content-Type", "text/plain")])
        return [REFUSAL.encode()]

    return answer


def main() -> int:
    """Serve ``/metrics`` until a signal asks to stop."""
    if not os.environ.get(DIRECTORY):
        print(f"{DIRECTORY} is not set: there is nothing to serve but this process.", file=sys.stderr)
        return 2
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})  # before threads: all inherit it
    host, port = env.str("METRICS_HOST", default="127.0.0.1"), env.int("METRICS_PORT", default=9090)
    try:
        allowed = networks(env.list("METRICS_ALLOWED_NETWORKS", default=list(PRIVATE)))
    except ValueError as error:
        print(f"METRICS_ALLOWED_NETWORKS cannot be used: {error}", file=sys.stderr)
        return 2
    server = MetricsServer(host, port, allowed=allowed)
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    print(f"metrics on http://{host}:{port}/metrics", flush=True)
    signal.sigwait({signal.SIGINT, signal.SIGTERM})
    server.shutdown()
    thread.join()
    server.server_close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
