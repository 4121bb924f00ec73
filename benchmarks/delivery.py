"""How fast alerts leave: one worker process pinned to one core, with real subscribers in processes of their own.

``throughput``: a backlog of alerts of a hundred sessions for four subscribers is delivered. ``latency``: 50 alerts a
second, from the commit to the receipt. ``hanging``: five alerts a second to twenty subscribers, of which one never
answers, against the same without it. Other transports plug in by name in ``SINKS``.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import psutil

from benchmarks import bed, grpc_sink, kafka_sink, webhook_sink


class Sink(Protocol):
    """Subscribers that note what they receive. ``can_hang``: one of them can do so without the others."""

    @property
    def can_hang(self) -> bool: ...

    def address(self, name: str, *, hangs: bool = False) -> str: ...

    def received(self) -> dict[str, list[tuple[str, float]]]: ...


SINKS: Mapping[str, Callable[[], AbstractContextManager[Sink]]] = {
    "webhook": webhook_sink.running,
    "kafka": kafka_sink.running,
    "grpc": grpc_sink.running,
}
BUDGET_PER_S = {"webhook": 300, "kafka": 3000, "grpc": 300}
BUDGET_P95_S = 0.5
RATE_PER_S = 50
SUBSCRIBERS, RATE_TO_ALL_PER_S = 20, 5
SESSIONS = 100


@contextmanager
def worker() -> Iterator[psutil.Process]:
    """Run the process that delivers, as the Procfile does, on one core."""
    command = ["celery", "-A", "proctor_site", "-q", "worker", "-Q", "alerts", "-P", "threads", "-c", "8"]
    options = ["-n", "bench@%h", "--without-gossip", "--without-mingle", "--loglevel", "WARNING"]
    with bed.process(*command, *options, log="delivery-worker") as process:
        process.cpu_affinity(process.cpu_affinity()[-1:])
        from proctor_site.celery import app

        bed.wait_for("the worker", lambda: bool(app.control.ping(timeout=0.5)))
        yield process


def throughput(transport: str, sink: Sink, *, alerts: int) -> dict[str, Any]:
    """Deliver a backlog."""
    from alerts import wake
    from alerts.models import Delivery
    from benchmarks import outbox

    owner = outbox.organisation()
    four = [outbox.subscribe(owner, transport, sink.address(f"fast-{number}")) for number in range(4)]
    outbox.fill(owner, outbox.sessions(owner, SESSIONS), alerts // len(four), four)
    with worker() as process:
        used_s, began = bed.processor_s(process), time.monotonic()
        for subscription in four:
            wake.delivery(subscription.id)
        pending = Delivery.objects.filter(organisation=owner).exclude(state="delivered")
        bed.wait_for("all deliveries", lambda: not pending.exists(), timeout_s=300, pause_s=0.05)
        took_s = time.monotonic() - began
        used_s = bed.processor_s(process) - used_s
    return {
        "deliveries": alerts,
        "per_s": round(alerts / took_s, 1),
        "worker_processor_ms_each": round(used_s / alerts * 1000, 3),
        "budget_per_s": BUDGET_PER_S[transport],
        "within_budget": alerts / took_s >= BUDGET_PER_S[transport],
    }


def delays(transport: str, sink: Sink, names: Mapping[str, bool], *, rate_per_s: float, length_s: float) -> list[float]:
    """Commit alerts at a steady rate; return the seconds from each commit to its receipt at those that answer.

    ``names`` are the subscribers, and whether each hangs.
    """
    from benchmarks import outbox

    owner = outbox.organisation()
    addresses = {name: sink.address(name, hangs=hangs) for name, hangs in names.items()}
    for address in addresses.values():
        outbox.subscribe(owner, transport, address)
    among, committed, began = outbox.sessions(owner, SESSIONS), {}, time.monotonic()
    for number in range(int(rate_per_s * length_s)):
        time.sleep(max(0.0, began + number / rate_per_s - time.monotonic()))
        alert = outbox.apply(among[number % SESSIONS])
        committed[str(alert.event_id)] = time.time()
    answering = [addresses[name] for name, hangs in names.items() if not hangs]

    def arrived() -> dict[tuple[str, str], float]:
        received = sink.received()
        first: dict[tuple[str, str], float] = {}
        for address in answering:
            for event_id, at in received.get(address, ()):
                first.setdefault((address, event_id), at)
        return first

    wanted = len(committed) * len(answering)
    bed.wait_for("all receipts", lambda: len(arrived()) >= wanted, pause_s=0.5)
    return [max(0.0, at - committed[event_id]) for (_, event_id), at in arrived().items()]


def summary(values: list[float]) -> dict[str, Any]:
    """Summarise delays, in seconds."""
    p95_s = sorted(values)[max(0, math.ceil(0.95 * len(values)) - 1)]
    return {
        "receipts": len(values), "p50_s": round(statistics.median(values), 3), "p95_s": round(p95_s, 3),
        "max_s": round(max(values), 3), "budget_p95_s": BUDGET_P95_S, "within_budget": p95_s <= BUDGET_P95_S,
    }  # fmt: skip


def run(transport: str, *, alerts: int, length_s: float) -> dict[str, Any]:
    """Measure all three."""
    os.environ["WEBHOOK_ALLOWED_NETWORKS"] = "127.0.0.0/8"
    figures: dict[str, Any] = {
        "what": f"{transport}; one worker process on one core; database, Redis and subscribers share the machine"
    }
    many = [f"one-of-many-{number}" for number in range(SUBSCRIBERS)]
    with SINKS[transport]() as sink, bed.own_services():
        figures["throughput"] = throughput(transport, sink, alerts=alerts)
        with worker():
            alone = delays(transport, sink, {"alone": False}, rate_per_s=RATE_PER_S, length_s=length_s)
            figures[f"latency_at_{RATE_PER_S}_per_s"] = summary(alone)
        if not sink.can_hang:
            return figures
        with worker():
            healthy = dict.fromkeys(many, False)
            without = delays(transport, sink, healthy, rate_per_s=RATE_TO_ALL_PER_S, length_s=length_s)
            with_one = {f"beside-{name}": name == many[0] for name in many}
            beside = delays(transport, sink, with_one, rate_per_s=RATE_TO_ALL_PER_S, length_s=length_s)
    figures[f"{SUBSCRIBERS}_subscribers"] = summary(without)
    figures[f"{SUBSCRIBERS - 1}_beside_one_that_hangs"] = summary(beside)
    return figures


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--transport", choices=SINKS, default="webhook")
    parser.add_argument("--alerts", type=int, default=6000, help="deliveries of the backlog")
    parser.add_argument("--length", type=float, default=20.0, help="seconds of each of the other measurements")
    given = parser.parse_args()
    bed.report(f"delivery-{given.transport}", run(given.transport, alerts=given.alerts, length_s=given.length))


if __name__ == "__main__":
    main()
