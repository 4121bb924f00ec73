"""A Kafka broker and a consumer that notes what comes, for ``benchmarks.delivery``."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient, NewTopic

from benchmarks import bed
from benchmarks.kafka_send import broker

PREFIX = "bench-"


class KafkaSink:
    """The consumer as a benchmark sees it: each subscriber's address is a topic of its own."""

    can_hang = False
    """A broker that hangs does so for all topics at once."""

    def __init__(self, servers: str) -> None:
        self._admin = AdminClient({"bootstrap.servers": servers})
        self._received: dict[str, list[tuple[str, float]]] = {}
        self._assigned: set[str] = set()
        self._stopping = threading.Event()
        self._consumer = Consumer({
            "bootstrap.servers": servers, "group.id": "bench", "auto.offset.reset": "earliest",
            "topic.metadata.refresh.interval.ms": 500, "session.timeout.ms": 6000, "heartbeat.interval.ms": 1000,
            "fetch.wait.max.ms": 20,
        })  # fmt: skip
        self._thread = threading.Thread(target=self._consume, daemon=True)

    def address(self, name: str, *, hangs: bool = False) -> str:
        """Make a topic for a subscriber of this name and have the consumer read it."""
        topic = f"{PREFIX}{name}"
        for made in self._admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)]).values():
            made.result(10)
        if not self._thread.is_alive():
            self._consumer.subscribe([f"^{PREFIX}.*"], on_assign=self._note)
            self._thread.start()
        bed.wait_for(f"the topic {topic}", lambda: topic in self._assigned)
        return topic

    def received(self) -> dict[str, list[tuple[str, float]]]:
        """Return what came by each topic: event ids and Unix seconds, in order."""
        return {topic: list(came) for topic, came in list(self._received.items())}

    def close(self) -> None:
        """Stop reading."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(10)

    def _note(self, consumer: Consumer, partitions: list[object]) -> None:
        self._assigned = {partition.topic for partition in partitions}  # type: ignore[attr-defined]

    def _consume(self) -> None:
        while not self._stopping.is_set():
            for message in self._consumer.consume(500, timeout=0.05):
                if message.error() is None:
                    event_id = dict(message.headers() or ())["event_id"].decode()
                    self._received.setdefault(message.topic(), []).append((event_id, time.time()))
        self._consumer.close()


@contextmanager
def running() -> Iterator[KafkaSink]:
    """Run a broker, and have the product deliver to it."""
    bed.RESULTS.mkdir(exist_ok=True)
    with broker() as servers:
        os.environ |= {"KAFKA_BOOTSTRAP_SERVERS": servers, "KAFKA_ALLOWED_TOPICS": f"{PREFIX}*"}
        sink = KafkaSink(servers)
        try:
            yield sink
        finally:
            sink.close()
