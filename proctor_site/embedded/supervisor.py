"""Own the embedded services for as long as one command runs: ``python -m proctor_site.embedded -- COMMAND…``."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

from environ import Env

from proctor_site.embedded.errors import EmbeddedError
from proctor_site.embedded.ports import LOOPBACK, port_is_free
from proctor_site.embedded.postgres import reachable_directory
from proctor_site.embedded.processes import MARKER, marked_processes, stop_processes, with_descendants
from proctor_site.embedded.run_directory import RunDirectory
from proctor_site.embedded.services import Services

BASE_DIR = Path(__file__).resolve().parent.parent.parent
SERVERS = {"WEB": 8000, "GATEWAY": 8001, "METRICS": 9090}
POLL_S = 0.5
COMMAND_STOP_S = 10
"""How long the command may take to stop, and its children after it: honcho kills its own after 5 s."""
ALREADY_RUNS = "SD Proctor already runs from this directory. Stop it first (Ctrl-C there), or use another clone."


def main(arguments: list[str]) -> int:
    """Run the command with the services it needs and return its exit status; 2 when it could not be started."""
    options = _parse(arguments)
    Env.read_env(BASE_DIR / ".env")  # the environment itself wins
    run = RunDirectory(options.directory / "run")
    try:
        if not run.acquire():
            return _join(run, options)
        try:
            return _erase(run, options) if options.erase else _supervise(run, options)
        finally:
            run.release()
    except EmbeddedError as error:
        print(f"sd-proctor: {error}", file=sys.stderr)
        return 2


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m proctor_site.embedded", description=__doc__)
    parser.add_argument("--directory", type=Path, default=BASE_DIR / "var", help="where data, logs and secrets live")
    parser.add_argument("--servers", action="store_true", help="the command starts the servers: check their ports")
    parser.add_argument("--kafka", action="store_true", help="start a Kafka broker too, which keeps nothing")
    parser.add_argument("--with-parent", action="store_true", help="stop when the process that started this one ends")
    parser.add_argument("--until-interrupted", action="store_true", help="Ctrl-C is how the command ends: status 0")
    parser.add_argument("--erase", action="store_true", help="remove the directory with all data, and run nothing")
    parser.add_argument("command", nargs="*", help="the program to run, after --")
    options = parser.parse_args(arguments)
    if bool(options.command) == options.erase:
        parser.error("either a command or --erase is wanted")
    return options


def _join(run: RunDirectory, options: argparse.Namespace) -> int:
    """Run the command beside the run that owns the directory, on its services."""
    environment = run.published()
    if options.servers or options.erase or not environment:
        raise EmbeddedError(ALREADY_RUNS)
    return subprocess.run(options.command, env=_overlaid(os.environ, environment), check=False).returncode


def _erase(run: RunDirectory, options: argparse.Namespace) -> int:
    """Remove the database, the secrets, the evidence and all else that lies in the directory."""
    run.stop_leftovers()
    shutil.rmtree(reachable_directory(run), ignore_errors=True)  # used only where the clone is out of its reach
    shutil.rmtree(options.directory)
    return 0


def _supervise(run: RunDirectory, options: argparse.Namespace) -> int:
    stopping = _Stopping()
    secrets_file = options.directory / "secrets.env"
    services = Services(run, secrets_file=secrets_file, given=os.environ, kafka=options.kafka)
    metrics = BASE_DIR / (os.environ.get("PROMETHEUS_MULTIPROC_DIR") or run.path / "metrics")
    try:
        environment = services.start()
        if options.servers:
            require_free_ports(os.environ)  # after the leftovers of a killed run have been stopped
            environment |= public_addresses(os.environ)
        metrics.mkdir(parents=True, exist_ok=True)
        for counted in metrics.glob("*.db"):  # by processes that are gone
            counted.unlink()
        environment = {"PROMETHEUS_MULTIPROC_DIR": str(metrics)} | environment
        run.publish(environment)
        return _run_command(run, options, environment, services, stopping)
    finally:
        run.withdraw()
        services.stop()


def _run_command(
    run: RunDirectory,
    options: argparse.Namespace,
    environment: Mapping[str, str],
    services: Services,
    stopping: _Stopping,
) -> int:
    if stopping.signal is not None:
        return 128 + stopping.signal
    environment = {**_overlaid(os.environ, environment), MARKER: str(run.path)}
    try:
        command = subprocess.Popen(options.command, env=environment)
    except OSError as error:
        raise EmbeddedError(f"{options.command[0]} cannot be started: {error.strerror}") from error
    stopping.forward_to(command)
    parent = os.getppid() if options.with_parent else None
    on_terminal = sys.stderr.isatty()
    try:
        while not _ended(command):
            if message := services.failure():
                raise EmbeddedError(message)
            if stopping.overdue() or (parent is not None and os.getppid() != parent):
                break
            if on_terminal and not sys.stderr.isatty():
                break  # the terminal is gone, and the hang-up reached make alone, which waits for us
    finally:
        remaining = with_descendants(marked_processes(run.path))
        stop_processes(remaining, first=signal.SIGTERM, grace_s=COMMAND_STOP_S)
    status = command.wait()
    if options.until_interrupted and stopping.signal == signal.SIGINT:
        return 0
    return status if status >= 0 else 128 - status


def _ended(command: subprocess.Popen[bytes]) -> bool:
    try:
        command.wait(POLL_S)
    except subprocess.TimeoutExpired:
        return False
    return True


def _overlaid(given: Mapping[str, str], added: Mapping[str, str]) -> dict[str, str]:
    """Return ``given`` with the variables of ``added`` that it leaves unset or empty."""
    return {**given, **{name: value for name, value in added.items() if not given.get(name)}}


def require_free_ports(environment: Mapping[str, str]) -> None:
    """Raise ``EmbeddedError`` naming the first server's port that another program holds."""
    for server in SERVERS:
        port = _port_of(server, environment)
        if not port_is_free(port, environment.get(f"{server}_HOST") or LOOPBACK):
            raise EmbeddedError(
                f"Port {port} is taken by another program. Stop that one, or choose another port with {server}_PORT=…"
            )


def public_addresses(environment: Mapping[str, str]) -> dict[str, str]:
    """Return under which addresses this machine's browser finds web and gateway."""
    return {
        "PUBLIC_URL": f"http://localhost:{_port_of('WEB', environment)}",
        "GATEWAY_PUBLIC_URL": f"http://localhost:{_port_of('GATEWAY', environment)}",
    }


def _port_of(server: str, environment: Mapping[str, str]) -> int:
    text = environment.get(f"{server}_PORT") or str(SERVERS[server])
    if not text.isdigit():
        raise EmbeddedError(f"{server}_PORT={text} is not a port")
    return int(text)


class _Stopping:
    """Pass the signals that ask this process to stop on to the command, and give it a limited time to obey."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._since = 0.0
        self._command: subprocess.Popen[bytes] | None = None
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                signal.signal(number, self._receive)

    def forward_to(self, command: subprocess.Popen[bytes]) -> None:
        """Name the command; a signal that came before is passed on now."""
        self._command = command
        if self.signal is not None:
            command.send_signal(self.signal)

    def overdue(self) -> bool:
        """Return whether the command has had its time to stop."""
        return self.signal is not None and time.monotonic() - self._since > COMMAND_STOP_S

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.signal is None:
            self._since = time.monotonic()
        self.signal = number
        if self._command is not None and not (number == signal.SIGINT and _terminal_told_everyone()):
            self._command.send_signal(signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)


def _terminal_told_everyone() -> bool:
    """Return whether Ctrl-C on the terminal has reached the command too: it interrupts the whole foreground group."""
    try:
        with open("/dev/tty") as terminal:
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:
        return False
