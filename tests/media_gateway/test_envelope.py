"""The hand-written envelope is what Celery sends and what Celery reads."""

from __future__ import annotations

import json
import queue
import uuid
from typing import Any

from celery import Celery
from celery.contrib.testing.worker import start_worker

from detection.messages import Technical, TechnicalMessage
from media_gateway.envelope import task_message
from tests.media_gateway.world import OwnValkey


def celery_app(valkey: OwnValkey) -> Celery:
    return Celery("test", broker=valkey.url, set_as_current=False)


def test_a_celery_worker_runs_the_task(valkey: OwnValkey) -> None:
    app, ran = celery_app(valkey), queue.Queue[tuple[Any, ...]]()

    @app.task(name="note", queue="things", bind=True)
    def note(self: Any, **kwargs: Any) -> None:
        ran.put((self.request.id, self.request.ignore_result, kwargs))

    message = TechnicalMessage(str(uuid.uuid4()), Technical.GAP, 1.5, until=2.5, stream="video", skipped=3, reason="é")
    client = valkey.client()
    with start_worker(app, queues=["things"], perform_ping_check=False, pool="solo", shutdown_timeout=20):
        client.lpush("things", task_message("note", message.to_dict(), queue="things", origin="gate"))
        task_id, ignore_result, kwargs = ran.get(timeout=20)
    assert TechnicalMessage.from_dict(kwargs) == message
    assert ignore_result is True
    assert uuid.UUID(task_id)
    assert client.hlen("unacked") == 0
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
