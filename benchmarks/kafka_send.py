"""How many alerts a second does one process hand to a Kafka broker, every one of them reported delivered?

The transport alone, without the database: batches as the delivery makes them, to a broker process over TCP that keeps
everything in memory. With all alerts of a batch of one session each waits for the report on the one before.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil

from benchmarks import bed
from proctor_site.embedded.kafka import broker_command
from proctor_site.embedded.ports import LOOPBACK, free_port, port_is_free

ALERTS = 30_000
BUDGET_PER_S = 3000
BODY_BYTES = 2000
"""About what an alert with one picture's link has."""


@contextmanager
def broker() -> Iterator[str]:
    """Run a broker and yield its address."""
    port = free_port()
    with (bed.RESULTS / "kafka-broker.log").open("wb") as log:
        running = subprocess.Popen(broker_command(port), stdout=log, stderr=log)
    try:
        bed.wait_for("the broker", lambda: not port_is_free(port))
        yield f"{LOOPBACK}:{port}"
    finally:
        running.kill()
        running.wait()


def measure(*, alerts: int, sessions: int) -> dict[str, Any]:
    """Send alerts of so many sessions; raise ``RuntimeError`` unless all were reported delivered."""
    from alerts.outgoing import Answer, Outgoing
    from alerts.transports import kafka

    names = [f"session-{number}" for number in range(sessions)]
    body = b'{"filler": "' + b"x" * BODY_BYTES + b'"}'
    taken_s: list[float] = []
    process = psutil.Process()
    used_s, began = sum(process.cpu_times()[:2]), time.perf_counter()
    for start in range(0, alerts, kafka.MAX_BATCH):
        batch = [
            Outgoing(str(uuid.uuid4()), names[n % sessions], "NO_FACE", "1.0", "2026-09-21T14:13:20.250Z", body, "", ())
            for n in range(start, min(alerts, start + kafka.MAX_BATCH))
        ]
        called = time.perf_counter()
        results = kafka.send(batch)
        taken_s.append(time.perf_counter() - called)
        if failed := [result for result in results if not isinstance(result, Answer)]:
            raise RuntimeError(f"{len(failed)} of {len(batch)} not delivered: {failed[0]}")
    elapsed_s = time.perf_counter() - began
    return {
        "sessions": sessions,
        "alerts": alerts,
        "alerts_per_s": round(alerts / elapsed_s),
        "processor_ms_per_alert": round((sum(process.cpu_times()[:2]) - used_s) / alerts * 1000, 3),
        "batch_ms_p95": round(sorted(taken_s)[int(len(taken_s) * 0.95)] * 1000, 1),
    }


def run(*, alerts: int, core: int | None) -> dict[str, Any]:
    """Measure with few and many sessions in a batch."""
    bed.RESULTS.mkdir(exist_ok=True)
    with broker() as servers:
        if core is not None:
            os.sched_setaffinity(0, {core})  # after the broker's start: it may use the others
        os.environ |= {"KAFKA_BOOTSTRAP_SERVERS": servers, "DJANGO_SETTINGS_MODULE": "proctor_site.settings"}
        import django

        django.setup()
        measure(alerts=1000, sessions=100)
        modes = [measure(alerts=alerts // share, sessions=sessions) for sessions, share in ((200, 1), (50, 1), (1, 20))]
    many = modes[0]["alerts_per_s"]
    return {
        "what": "kafka.send alone, idempotent, acks=all, all reported delivered, to an embedded broker over TCP",
        "core": core,
        "alerts_per_s": many,
        "budget_per_s": BUDGET_PER_S,
        "within_budget": many >= BUDGET_PER_S,
        "modes": modes,
    }


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--alerts", type=int, default=ALERTS)
    parser.add_argument("--core", type=int, default=0 if hasattr(os, "sched_setaffinity") else None)
    arguments = parser.parse_args()
    bed.report("kafka_send", run(alerts=arguments.alerts, core=arguments.core))


if __name__ == "__main__":
    main()
