"""Pictures in a folder of their own, and broadcasts finished before the next test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from alerts import kafka_producer, wake
from tests.alerts import kafka_peers
from tests.alerts.receiver import Receiver, running


@pytest.fixture(autouse=True)
def wake_ups_are_out(evidence_dir: Path) -> Iterator[None]:
    """Keep evidence apart, and let wake-ups out before the next test."""
    yield
    wake.flush()


@pytest.fixture(autouse=True)
def no_lasting_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the sockets' threads close their database connections, or the test database could not be dropped."""
    monkeypatch.setitem(connections.databases["default"], "CONN_MAX_AGE", 0)


@pytest.fixture
async def no_listener_outlives_its_test() -> AsyncIterator[None]:
    """End the channel layer's own task: before Python 3.12 a request to end may get lost, and the loop never closes."""
    yield
    while listeners := {task for task in asyncio.all_tasks() if "_do_receiving" in repr(task.get_coro())}:
        for task in listeners:
            task.cancel()
        await asyncio.wait(listeners, timeout=0.2)


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    """A webhook receiver on loopback, which the settings allow for the test."""
    settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.0/8"]
    with running() as made:
        yield made


@pytest.fixture
def broker(settings: Any) -> Iterator[kafka_peers.Broker]:
    """A Kafka broker process that the settings name, with no producer before and after."""
    kafka_producer.close()
    with kafka_peers.running() as started:
        settings.KAFKA_BOOTSTRAP_SERVERS = started.servers
        yield started
        kafka_producer.close()
