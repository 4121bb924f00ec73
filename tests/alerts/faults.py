"""Kills what carries alerts while they are on their way and prints what arrived; a test runs this as a program.

It has a PostgreSQL, a Redis and a Kafka broker to itself, the product's own processes, and a receiver per transport.
"""

from __future__ import annotations

import os
import random
import secrets
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.plays import Servers, play, wait_for

if TYPE_CHECKING:
    from tests.alerts.fault_bed import Bed, Writing
    from tests.alerts.fault_receivers import Receipt

ALERTS = 2000
CRASHES = 2
KAFKA_ALERTS = 600
PROCESSES = ("web", "alerts", "stream", "beat")
KILLS = {"alerts": 3, "web": 2, "stream": 2}


def killed_processes(bed: Bed) -> dict[str, Any]:
    """SIGKILL the delivering worker, the web process and the stream's server, each again and again."""
    chance, seed = seeded()
    bed.start(*PROCESSES)
    faults = instants(chance, KILLS)
    with bed.listening() as listening:
        writing = bed.write(ALERTS)
        for count, name in faults:
            after(count, writing)
            bed.wait_until_at_work(name)
            time.sleep(chance.random())
            bed.kill(name)
        writing.join()
        return {"seed": seed, "faults": faults} | bed.settled(listening)


def postgres_crashes(bed: Bed) -> dict[str, Any]:
    """Have PostgreSQL crash and recover; everything else lives on."""
    chance, seed = seeded()
    bed.start(*PROCESSES)
    faults = instants(chance, {"postgres": CRASHES})
    with bed.listening() as listening:
        writing = bed.write(ALERTS)
        for count, _ in faults:
            after(count, writing)
            bed.crash_postgres(away_s=chance.uniform(0.5, 4.0))
        writing.join()
        return {"seed": seed, "faults": faults, "broken": writing.broken} | bed.settled(listening)


def kafka_stops_and_dies(bed: Bed) -> dict[str, Any]:
    """Stop and continue the Kafka broker amid the first alerts; kill it, with all that it holds, amid the next."""
    from tests.alerts.fault_receivers import judge

    chance, seed = seeded()
    bed.start("alerts", "beat")
    bed.subscribe("kafka", "")
    with bed.topic_reader() as reader:
        writing = bed.write(KAFKA_ALERTS)
        after(chance.randrange(KAFKA_ALERTS), writing)
        bed.broker.pause()
        bed.wait_for_failures()
        bed.broker.resume()
        writing.join()
        bed.deliver_all()
        wait_for("all records", lambda: reader.has(bed.written()))
        stopped = {"written": len(bed.written()), **judge(reader.receipts, bed.written())}

        writing = bed.write(KAFKA_ALERTS)
        after(chance.randrange(KAFKA_ALERTS), writing)
        bed.broker.kill()
    bed.wait_for_failures()
    marked = bed.reported()
    time.sleep(chance.uniform(1.0, 3.0))
    marked_while_dead = len(bed.reported()) - len(marked)
    bed.broker.start()
    writing.join()
    bed.deliver_all()
    rest = {event_id: what for event_id, what in bed.written().items() if event_id not in marked}
    with bed.topic_reader() as second:
        wait_for("the rest", lambda: second.has(rest))
    return {
        "seed": seed,
        "stopped": stopped,
        "killed": {
            "marked": len(marked),
            "marked_while_dead": marked_while_dead,
            "seen": sum(place in reader.places for place in marked.values()),
            "misreported": misreported(marked.items(), reader.places),
        },
        "back": {
            "written": len(rest),
            **judge(second.receipts, rest),
            "misreported": misreported(bed.reported().items() - marked.items(), second.places),
        },
    }


def misreported(reported: Iterable[tuple[str, str]], held: Mapping[str, Receipt]) -> int:
    """Count the alerts that were reported to lie where the topic held another one."""
    return sum(place in held and held[place].event_id != event_id for event_id, place in reported)


def after(count: int, writing: Writing) -> None:
    """Wait until so many alerts are committed."""
    wait_for(f"alert {count}", lambda: writing.reached(count), pause_s=0.01)


def seeded() -> tuple[random.Random, int]:
    """Return a source of chance and its seed: ``FAULTS_SEED``, or a new one."""
    seed = int(os.environ.get("FAULTS_SEED") or secrets.randbits(32))
    print(f"FAULTS_SEED={seed}", file=sys.stderr, flush=True)
    return random.Random(seed), seed


def instants(chance: random.Random, times: Mapping[str, int]) -> list[tuple[int, str]]:
    """Return after how many alerts each victim is hit, at random within equal parts of the whole."""
    return sorted(
        (int((part + chance.random()) * ALERTS / count), name) for name, count in times.items() for part in range(count)
    )


SCENARIOS = {scenario.__name__: scenario for scenario in (killed_processes, postgres_crashes, kafka_stops_and_dies)}


@contextmanager
def running(directory: Path) -> Iterator[Bed]:
    """Run everything, logging to ``directory``."""
    from tests.alerts import kafka_peers

    servers = Servers(directory, durable=True)
    with kafka_peers.running() as broker:
        os.environ |= {"KAFKA_BOOTSTRAP_SERVERS": broker.servers, "WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8"}
        try:
            servers.start()
            from tests.alerts import fault_bed

            with fault_bed.running(servers, broker) as bed:
                yield bed
        finally:
            servers.stop()


if __name__ == "__main__":
    play(SCENARIOS, running)
