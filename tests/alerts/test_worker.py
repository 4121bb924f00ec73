"""Delivery by a real Celery worker: woken by the commit, and after a worker's sudden death."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from django.utils import timezone

from alerts import tasks, wake
from alerts.models import Delivery
from tests.alerts import builders
from tests.alerts.receiver import Receiver
from tests.alerts.web import ROOT, database_url

pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def worker(log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker of the alerts queue on the test database, as the Procfile starts it."""
    command = [sys.executable, "-m", "celery", "-A", "proctor_site", "worker", "-Q", "alerts", "-P", "threads"]
    environment = {**os.environ, "DATABASE_URL": database_url(), "WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8"}
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*command, "-c", "4", "-n", f"alerts{time.monotonic_ns()}@%h", "--without-mingle", "--without-gossip"],
            cwd=ROOT, env=environment, stdout=output, stderr=output,
        )  # fmt: skip
        try:
            yield process
        finally:
            process.terminate()
            process.wait(15)


def eventually(true: Callable[[], bool], what: str, within_s: float = 30) -> None:
    until = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < until, what
        time.sleep(0.05)


def test_a_committed_alert_reaches_the_receiver_through_the_queue(
    receiver: Receiver, redis_client: redis.Redis, tmp_path: Path
) -> None:
    owner = builders.organisation()
    builders.subscription(owner, receiver.url())
    session = builders.session(owner)
    with worker(tmp_path / "worker.log"):
        builders.apply(session)
        eventually(lambda: len(receiver.requests) == 1, "the first alert does not arrive")
        committed = time.monotonic()
        for _ in range(20):
            builders.apply(session)
        eventually(lambda: len(receiver.requests) == 21, "not all alerts arrive")
        assert time.monotonic() - committed < 10
        eventually(lambda: not Delivery.objects.pending().exists(), "not all deliveries are settled")
    sequences = [json.loads(request.body)["metadata"]["sequence"] for request in receiver.requests]
    assert sequences == list(range(1, 22))


def test_what_a_killed_worker_held_is_delivered_by_the_next_under_the_same_id(
    receiver: Receiver, redis_client: redis.Redis, tmp_path: Path
) -> None:
    owner = builders.organisation()
    builders.subscription(owner, receiver.url("/slow"))
    receiver.behaviours["/slow"] = lambda handler: handler.server.stopping.wait(60) and None
    session = builders.session(owner)
    with worker(tmp_path / "worker.log") as first:
        alert = builders.apply(session)
        builders.apply(session)
        eventually(lambda: len(receiver.requests) == 1, "the worker does not send")
        first.send_signal(signal.SIGKILL)
        first.wait()

    held = Delivery.objects.get(sequence=1)
    assert (held.state, held.attempt_count) == ("pending", 0)
    assert held.leased_until is not None
    assert held.leased_until > timezone.now()
    del receiver.behaviours["/slow"]
    receiver.behaviours["/slow"] = lambda handler: handler.answer(200)
    Delivery.objects.exclude(lease=None).update(leased_until=timezone.now())  # the lease runs out
    with worker(tmp_path / "worker.log"):
        tasks.sweep()
        assert wake.flush()
        eventually(lambda: not Delivery.objects.pending().exists(), "the delivery does not come back")
    ids = [request.headers["webhook-id"] for request in receiver.requests]
    assert ids[:2] == [str(alert.event_id)] * 2
    assert len(ids) == 3
