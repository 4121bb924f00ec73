"""Receivers of pushed alerts that note what comes, each a gRPC server of its own, for ``benchmarks.delivery``."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc

from alerts.rpc import alerts_pb2

RECEIVER = alerts_pb2.DESCRIPTOR.services_by_name["AlertReceiver"].full_name


class GrpcSink:
    """The receivers as a benchmark sees them: each subscriber's address is a server."""

    can_hang = True

    def __init__(self) -> None:
        self._received: dict[str, list[tuple[str, float]]] = {}
        self._servers: list[grpc.Server] = []
        self._closing = threading.Event()

    def address(self, name: str, *, hangs: bool = False) -> str:
        """Start a server for a subscriber; ``name`` is for those of its transports that tell subscribers by it."""
        server = grpc.server(ThreadPoolExecutor(4))
        came: list[tuple[str, float]] = []

        def deliver(alert: alerts_pb2.Alert, context: grpc.ServicerContext) -> alerts_pb2.DeliverReply:
            came.append((alert.event_id, time.time()))
            if hangs:
                self._closing.wait()
            return alerts_pb2.DeliverReply()

        handler = grpc.unary_unary_rpc_method_handler(
            deliver, alerts_pb2.Alert.FromString, alerts_pb2.DeliverReply.SerializeToString
        )
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(RECEIVER, {"Deliver": handler}),))
        address = f"grpc://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        self._servers.append(server)
        self._received[address] = came
        return address

    def received(self) -> dict[str, list[tuple[str, float]]]:
        """Return what came to each address: event ids and Unix seconds, in order."""
        return {address: list(came) for address, came in self._received.items()}

    def close(self) -> None:
        """Stop all servers."""
        self._closing.set()
        for stopped in [server.stop(1) for server in self._servers]:
            stopped.wait()


@contextmanager
def running() -> Iterator[GrpcSink]:
    """Have receivers at hand."""
    sink = GrpcSink()
    try:
        yield sink
    finally:
        sink.close()
