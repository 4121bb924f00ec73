"""What the Kafka tests talk to: a broker process over TCP, and librdkafka's mock cluster for errors on demand."""

from __future__ import annotations

import ctypes
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import confluent_kafka
from confluent_kafka import Consumer, Message, TopicPartition

from alerts.outgoing import Outgoing
from proctor_site.embedded.kafka import broker_command
from proctor_site.embedded.ports import LOOPBACK, free_port

PRODUCE, METADATA, INIT_PRODUCER_ID = 0, 3, 22
"""Requests of Kafka's protocol."""


class Broker:
    """A broker process that can be killed, started again under the same address, stopped and continued."""

    def __init__(self, *, advertised_port: int | None = None, asks_for_login: bool = False) -> None:
        self._advertised_port = advertised_port
        self.port = free_port()
        self.servers = f"{LOOPBACK}:{self.port}"
        self._options = ["--authentication"] if asks_for_login else []
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start it, with nothing in it, and return once it listens."""
        self._process = subprocess.Popen(
            [*broker_command(self.port, advertised_port=self._advertised_port), *self._options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 15
        while True:
            with socket.socket() as client:
                if client.connect_ex((LOOPBACK, self.port)) == 0:
                    return
            assert self._process.poll() is None, "the broker ended"
            assert time.monotonic() < deadline, "the broker does not listen"
            time.sleep(0.01)

    def kill(self) -> None:
        """SIGKILL: all that it held is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Have it do nothing, while its connections stay open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused one go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


@contextmanager
def running(*, advertised_port: int | None = None, asks_for_login: bool = False) -> Iterator[Broker]:
    """Run a broker. One that asks for a login knows no user: it is there to refuse."""
    broker = Broker(advertised_port=advertised_port, asks_for_login=asks_for_login)
    try:
        yield broker
    finally:
        broker.kill()


def read(
    servers: str, topic: str, count: int, *, timeout_s: float = 20, config: Mapping[str, Any] | None = None
) -> list[Message]:
    """Return the first ``count`` records of a topic, those of a partition in their order; fewer when time is over.

    ``config`` is what the cluster asks for, such as a login.
    """
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "tests", "log_level": 2, **(config or {})})
    found: list[Message] = []
    try:
        partitions = consumer.list_topics(topic, timeout=5).topics[topic].partitions
        consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
        deadline = time.monotonic() + timeout_s
        while len(found) < count and time.monotonic() < deadline:
            found += [message for message in consumer.consume(count, timeout=0.2) if message.error() is None]
    finally:
        consumer.close()
    return found


def ids(messages: Sequence[Message]) -> dict[str, list[str]]:
    """Return by session the event ids in the order of the topic, each where it came first."""
    found: dict[str, list[str]] = {}
    for message in messages:
        key, event_id = (message.key() or b"").decode(), dict(message.headers() or [])["ce_id"].decode()
        seen = found.setdefault(key, [])
        if event_id not in seen:
            seen.append(event_id)
    return found


def alert(event_id: str, *, topic: str = "", session_id: str | None = None, body: bytes | None = None) -> Outgoing:
    """Return an alert of the session that its id begins with."""
    session = session_id or event_id.partition("-")[0]
    content = body if body is not None else b'{"event_id": "%s"}' % event_id.encode()
    return Outgoing(event_id, session, "NO_FACE", "1.0", "2026-09-21T14:13:20.250Z", content, topic, ())


def _library() -> Any:
    package = Path(confluent_kafka.__file__).parent
    found = [*package.parent.glob("confluent_kafka.libs/librdkafka*"), *package.glob(".dylibs/librdkafka*")]
    library = ctypes.CDLL(str(found[0]))  # the one that the module has loaded already
    for name in ("rd_kafka_new", "rd_kafka_conf_new", "rd_kafka_mock_cluster_new"):
        getattr(library, name).restype = ctypes.c_void_p
    library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
    return library


class MockCluster:
    """A cluster inside librdkafka: real TCP, no storage, and errors as asked for."""

    def __init__(self, brokers: int = 1) -> None:
        self._library = _library()
        reason = ctypes.create_string_buffer(512)
        conf = ctypes.c_void_p(self._library.rd_kafka_conf_new())
        self._client = ctypes.c_void_p(self._library.rd_kafka_new(0, conf, reason, len(reason)))
        assert self._client, reason.value
        self._cluster = ctypes.c_void_p(self._library.rd_kafka_mock_cluster_new(self._client, brokers))
        self.servers = self._library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()

    def topic(self, name: str, *, partitions: int = 1) -> None:
        """Make a topic."""
        assert self._library.rd_kafka_mock_topic_create(self._cluster, name.encode(), partitions, 1) == 0

    def topic_fails(self, name: str, code: int) -> None:
        """Answer every question for a topic with this error; 0 ends it."""
        self._library.rd_kafka_mock_topic_set_error(self._cluster, name.encode(), code)

    def fail(self, request: int, *codes: int) -> None:
        """Answer the next requests of this kind with these errors, one each; 0 lets one pass."""
        array = (ctypes.c_int * len(codes))(*codes)
        self._library.rd_kafka_mock_push_request_errors_array(
            self._cluster, ctypes.c_int16(request), ctypes.c_size_t(len(codes)), array
        )

    def close(self) -> None:
        """End the cluster."""
        self._library.rd_kafka_mock_cluster_destroy(self._cluster)
        self._library.rd_kafka_destroy(self._client)


@contextmanager
def mock_cluster() -> Iterator[MockCluster]:
    """Run a mock cluster."""
    cluster = MockCluster()
    try:
        yield cluster
    finally:
        cluster.close()
