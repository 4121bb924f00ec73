"""What beat asks for by the clock happens whatever the receivers of alerts do."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
import redis
from django.conf import settings
from django.utils import timezone

from alerts.models import Delivery
from detection.messages import QUEUE_ALERTS, QUEUE_SWEEPS
from proctor_site.celery import app
from sessions.models import ExamSession
from sessions.tasks import sweep
from tests.alerts import builders
from tests.alerts.receiver import Receiver
from tests.alerts.test_worker import eventually
from tests.alerts.test_worker import worker as alerts_worker
from tests.alerts.web import ROOT, database_url
from tests.factories import make_session
from tests.stack import procfile

ALERTS_THREADS = 4


def queue_of(task: str) -> str:
    name: str = app.amqp.router.route({}, task)["queue"].name
    return name


def test_nothing_by_the_clock_shares_a_queue_with_deliveries_except_their_own_sweeps() -> None:
    scheduled = {entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values()}
    queues = {task: queue_of(task) for task in scheduled}
    own = {"alerts.sweep", "alerts.evidence_sweep"}
    assert {task for task in scheduled if queues[task] == QUEUE_ALERTS} == own
    assert {task for task in scheduled if queues[task] == QUEUE_SWEEPS} == scheduled - own
    assert {"detection.sweep", "detection.fill_gaps", "sessions.sweep", "alerts.rescore"} <= scheduled - own


def test_the_sweeps_are_taken_by_the_worker_and_not_by_the_process_that_delivers() -> None:
    commands = procfile()
    assert f",{QUEUE_SWEEPS} " in commands["worker"]
    assert QUEUE_SWEEPS not in commands["alerts"]


@contextmanager
def sweeps_worker(log: Path) -> Iterator[None]:
    """A worker of the queue of the sweeps on the test database; it loads no model."""
    command = [sys.executable, "-m", "celery", "-A", "proctor_site", "worker", "-Q", QUEUE_SWEEPS, "-c", "1"]
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*command, "-n", f"sweeps{time.monotonic_ns()}@%h", "--without-mingle", "--without-gossip"],
            cwd=ROOT, env={**os.environ, "DATABASE_URL": database_url()}, stdout=output, stderr=output,
        )  # fmt: skip
        try:
            yield
        finally:
            process.terminate()
            process.wait(15)


@pytest.mark.django_db(transaction=True)
def test_overdue_sessions_end_while_every_delivery_hangs(
    receiver: Receiver, redis_client: redis.Redis, tmp_path: Path
) -> None:
    owner = builders.organisation()
    builders.subscription(owner, receiver.url("/hangs"))
    receiver.behaviours["/hangs"] = lambda handler: handler.server.stopping.wait(60) and None
    overdue = make_session(owner, planned_end_at=timezone.now() - timedelta(days=1))
    with alerts_worker(tmp_path / "alerts.log"), sweeps_worker(tmp_path / "sweeps.log"):
        for _ in range(ALERTS_THREADS + 2):
            builders.apply(builders.session(owner))
        eventually(lambda: len(receiver.requests) >= ALERTS_THREADS, "the threads are not all busy")
        sweep.delay()
        eventually(lambda: _state(overdue) == "ended", f"not swept: {(tmp_path / 'sweeps.log').read_text()[-2000:]}")
        assert Delivery.objects.pending().count() == ALERTS_THREADS + 2
        receiver.stopping.set()  # or the worker would wait for its threads


def _state(session: ExamSession) -> str:
    session.refresh_from_db()
    return session.state
