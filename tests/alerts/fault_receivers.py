"""Whom the alerts go to while things break: a receiver for every transport, and what each of them has got."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, NamedTuple, Self

import grpc
from confluent_kafka import Consumer, Message, TopicPartition
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import ClientConnection, connect

from alerts.rpc import alerts_pb2
from tests.alerts import receiver
from tests.alerts.grpc_peers import PATH, GrpcReceiver, receiving

PAUSE_S = 0.1
"""Before a client connects again."""
LOOK_S = 0.5
"""How long a client waits for a message before it looks whether it is to stop."""


class Receipt(NamedTuple):
    """One alert that came: its id, and by what else it is known."""

    event_id: str
    session_id: str
    sequence: int


Written = Mapping[str, tuple[str, int]]
"""What the database says: session and sequence number by event id."""


def read(document: Mapping[str, Any]) -> Receipt:
    """Read an alert as published."""
    return Receipt(document["event_id"], document["exam_session_id"], document["metadata"]["sequence"])


def read_message(alert: alerts_pb2.Alert) -> Receipt:
    """Read an alert that came by gRPC."""
    return Receipt(alert.event_id, alert.exam_session_id, alert.metadata.sequence)


def judge(receipts: Sequence[Receipt], written: Written) -> dict[str, Any]:
    """Hold what came against what was written.

    ``missing``: alerts that never came. ``foreign``: receipts whose id does not stand for this alert, so that a second
    one under another id would show. ``disordered``: sessions whose alerts, each where it came first, are not in order.
    ``again``: how many came a second time.
    """
    first = dict.fromkeys(receipts)
    sequences: dict[str, list[int]] = {}
    for receipt in first:
        sequences.setdefault(receipt.session_id, []).append(receipt.sequence)
    return {
        "missing": len(written.keys() - {receipt.event_id for receipt in first}),
        "foreign": sum(written.get(receipt.event_id) != receipt[1:] for receipt in first),
        "disordered": sorted(session for session, found in sequences.items() if found != sorted(found)),
        "again": len(receipts) - len(first),
    }


class Client(threading.Thread):
    """Follows alerts over a connection that breaks, and goes on after the last one it has had."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.receipts: list[Receipt] = []
        self.refused: list[str] = []
        """What the server said against a request: nothing, if it keeps its word."""
        self.connections = 0
        self._stopping = threading.Event()

    def run(self) -> None:
        while not self._stopping.is_set():
            self._follow(self.receipts[-1].event_id if self.receipts else None)
            self._stopping.wait(PAUSE_S)

    def stop(self) -> None:
        """Hang up."""
        self._stopping.set()
        self.join()

    def has(self, wanted: Collection[str]) -> bool:
        """Tell whether all these events have come."""
        return not set(wanted) - {receipt.event_id for receipt in list(self.receipts)}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _follow(self, last: str | None) -> None:
        """Take alerts after ``last``, or all that there are, until the connection ends."""
        raise NotImplementedError


class StreamClient(Client):
    """Follows the gRPC stream as docs/grpc.md tells platforms to."""

    def __init__(self, address: str, key: str) -> None:
        super().__init__("stream")
        self._metadata = (("authorization", f"Bearer {key}"),)
        self._channel = grpc.insecure_channel(address, [("grpc.max_reconnect_backoff_ms", 1000)])
        self._subscribe = self._channel.unary_stream(
            PATH,
            request_serializer=alerts_pb2.SubscribeRequest.SerializeToString,
            response_deserializer=alerts_pb2.Alert.FromString,
        )
        self._call: Any = None

    def stop(self) -> None:
        self._stopping.set()
        if self._call is not None:
            self._call.cancel()
        super().stop()
        self._channel.close()

    def _follow(self, last: str | None) -> None:
        start = {"after_event_id": last} if last else {"from_beginning": True}
        self._call = self._subscribe(alerts_pb2.SubscribeRequest(**start), metadata=self._metadata)
        with suppress(grpc.RpcError):
            for number, alert in enumerate(self._call):
                self.connections += not number
                self.receipts.append(read_message(alert))
        if self._call.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
            self.refused.append(f"{self._call.code().name}: {self._call.details()}")


class SocketClient(Client):
    """Follows a WebSocket as docs/events.md tells. Its first connection must stand before the first alert."""

    def __init__(self, address: str, key: str) -> None:
        super().__init__("socket")
        self._address = address
        self._headers = {"Authorization": f"Bearer {key}"}
        self.greeted = threading.Event()

    def _follow(self, last: str | None) -> None:
        address = f"{self._address}?after={last}" if last else self._address
        with (
            suppress(OSError, ConnectionClosed, InvalidHandshake, TimeoutError),
            connect(address, additional_headers=self._headers, proxy=None) as connection,
        ):
            self.connections += 1
            self._hear(connection)

    def _hear(self, connection: ClientConnection) -> None:
        while not self._stopping.is_set():
            try:
                message = json.loads(connection.recv(LOOK_S))
            except TimeoutError:
                continue
            if message["type"] == "alert":
                self.receipts.append(read(message["data"]))
            elif message["type"] == "error":
                self.refused.append(message["data"]["code"])
            self.greeted.set()


class TopicReader(Client):
    """Consumes a topic from its beginning, through whatever happens to the broker short of losing its memory."""

    def __init__(self, servers: str, topic: str) -> None:
        super().__init__("topic")
        self._topic = topic
        config = {"bootstrap.servers": servers, "group.id": "audience", "enable.auto.commit": False, "log_level": 2}
        self._consumer = Consumer(config)
        self.places: dict[str, Receipt] = {}
        """What was read, by the words in which the cluster reports where it lies."""

    def run(self) -> None:
        super().run()
        self._consumer.close()

    def _follow(self, last: str | None) -> None:
        found = self._consumer.list_topics(self._topic, timeout=5).topics[self._topic]
        self._consumer.assign([TopicPartition(self._topic, number, 0) for number in found.partitions])
        while found.partitions and not self._stopping.is_set():
            for record in self._consumer.consume(100, timeout=LOOK_S):
                if record.error() is None:
                    self._note(record)

    def _note(self, record: Message) -> None:
        receipt = read(json.loads(record.value() or b""))
        self.places[f"partition {record.partition()}, offset {record.offset()}"] = receipt
        self.receipts.append(receipt)


class Audience:
    """Receivers that are pushed to, and clients that follow; they outlive whatever breaks on the other side."""

    def __init__(self, webhooks: receiver.Receiver, pushed: GrpcReceiver, clients: Mapping[str, Client]) -> None:
        self.webhooks = webhooks
        self.pushed = pushed
        self.clients = clients

    def receipts(self) -> dict[str, list[Receipt]]:
        """Return what each has got, in order."""
        return {
            "webhook": [read(json.loads(one.body)) for one in list(self.webhooks.requests) if _is_whole(one)],
            "push": [read_message(alert) for alert in list(self.pushed.got)],
            **{name: list(client.receipts) for name, client in self.clients.items()},
        }


def _is_whole(request: receiver.Received) -> bool:
    """Tell whether the sender lived to send all of it; what is cut off fails its signature."""
    return len(request.body) == int(request.headers["content-length"])


@contextmanager
def audience(clients: Callable[[], Mapping[str, Client]]) -> Iterator[Audience]:
    """Run the receivers and the clients."""
    with receiver.running() as webhooks, receiving() as pushed:
        made = Audience(webhooks, pushed, clients())
        with ExitStack() as following:
            for client in made.clients.values():
                following.enter_context(client)
            yield made
