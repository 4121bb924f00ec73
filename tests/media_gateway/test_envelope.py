"""The hand-written envelope is what Celery sends and what Celery reads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery

from detection.messages import Technical, TechnicalMessage
from media_gateway.envelope import task_message
from tests.media_gateway.world import OwnValkey


def celery_app(valkey: OwnValkey) -> Celery:
    return Celery("test", broker=valkey.url, set_as_current=False)


WORKER = """
import json, os
from celery import Celery
from redis import Redis

app = Celery("worker", broker=os.environ["REDIS_URL"])

@app.task(name="note", queue="things", bind=True)
def note(self, **kwargs):
    ran = {"id": self.request.id, "ignore_result": self.request.ignore_result, "kwargs": kwargs}
    Redis.from_url(os.environ["REDIS_URL"]).rpush("ran", json.dumps(ran))
"""


@pytest.fixture
def worker(valkey: OwnValkey, tmp_path: Path) -> Iterator[None]:
    """A Celery worker in a process of its own that notes what it ran."""
    (tmp_path / "things.py").write_text(WORKER)
    command = [sys.executable, "-m", "celery", "-A", "things", "worker", "-P", "solo", "-Q", "things"]
    process = subprocess.Popen(
        [*command, "--without-gossip", "--without-mingle", "--loglevel", "ERROR"],
        cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if k != "DJANGO_SETTINGS_MODULE"} | {"REDIS_URL": valkey.url},
    )
    yield
    process.terminate()
    process.wait(30)


def test_a_celery_worker_runs_the_task(valkey: OwnValkey, worker: None) -> None:
    message = TechnicalMessage(str(uuid.uuid4()), Technical.GAP, 1.5, until=2.5, stream="video", skipped=3, reason="é")
    client = valkey.client()
    client.lpush("things", task_message("note", message.to_dict(), queue="things", origin="gate"))
    popped = client.blpop(["ran"], timeout=60)
    assert popped is not None
    ran = json.loads(popped[1])
    assert TechnicalMessage.from_dict(ran["kwargs"]) == message
    assert ran["ignore_result"] is True
    assert uuid.UUID(ran["id"])
    deadline = time.monotonic() + 20
    while client.hlen("unacked"):
        assert time.monotonic() < deadline, "the worker did not acknowledge the message"
        time.sleep(0.05)
    assert not client.keys("celery-task-meta-*")


def test_the_envelope_has_what_send_task_puts_into_it(valkey: OwnValkey) -> None:
    client = valkey.client()
    celery_app(valkey).send_task("note", kwargs={"a": 1}, queue="things", ignore_result=True)
    theirs = json.loads(client.rpop("things") or b"")
    ours = json.loads(task_message("note", {"a": 1}, queue="things", origin="gate"))
    assert ours.keys() == theirs.keys()
    assert ours["body"] == theirs["body"]
    assert ours["properties"].keys() == theirs["properties"].keys()
    assert ours["properties"]["delivery_info"] == theirs["properties"]["delivery_info"]
    assert ours["headers"].keys() <= theirs["headers"].keys()
    varying = {"id", "root_id", "origin", "kwargsrepr"}
    assert all(ours["headers"][name] == theirs["headers"][name] for name in ours["headers"].keys() - varying)
