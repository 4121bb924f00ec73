"""The directory that one run of embedded services owns: its lock, its ledger, and what it exports."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import tempfile
import uuid
from pathlib import Path

from proctor_site.embedded.processes import Ledger, marked_processes, stop_processes, with_descendants

SERVICE_STOP_SIGNALS = {"postgres": signal.SIGINT}  # PostgreSQL's fast shutdown; SIGTERM would wait for its clients
ENVIRONMENT_FILE = "environment"


class RunDirectory:
    """A directory in which at most one run is alive at a time."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.path = path.resolve()
        self.ledger = Ledger(self.path / "processes.json")
        self._lock: int | None = None

    def acquire(self) -> bool:
        """Take the lock, which the system gives back whenever and however this process ends; False if it is taken."""
        lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        self._lock = lock
        return True

    def release(self) -> None:
        """Give the lock back."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def identity(self) -> str:
        """Return a name for this directory that a new one at the same path does not inherit."""
        path = self.path / "identity"
        if not path.exists():
            path.write_text(uuid.uuid4().hex)
        return path.read_text().strip()

    def stop_leftovers(self) -> int:
        """Stop what an earlier run in this directory left behind, and return how many processes that were."""
        services = self.ledger.alive()
        service_ids = {child.pid for child in with_descendants(services.values())}
        programs = [p for p in with_descendants(marked_processes(self.path)) if p.pid not in service_ids]
        stop_processes(programs, first=signal.SIGTERM, grace_s=4)  # their output goes nowhere: some hang on it
        for name, process in services.items():
            stop_processes([process], first=SERVICE_STOP_SIGNALS.get(name, signal.SIGTERM), grace_s=10)
            self.ledger.forget(name)
        return len(programs) + len(services)

    def publish(self, environment: dict[str, str]) -> None:
        """Write the variables that reach this run's services, readable by this user alone."""
        write_private(self.path / ENVIRONMENT_FILE, "".join(f"{k}={v}\n" for k, v in environment.items()))

    def published(self) -> dict[str, str]:
        """Return what the run that holds the lock has published; empty while it still starts."""
        return read_assignments(self.path / ENVIRONMENT_FILE)

    def withdraw(self) -> None:
        """Remove what was published."""
        (self.path / ENVIRONMENT_FILE).unlink(missing_ok=True)


def write_private(path: Path, content: str) -> None:
    """Replace the file at once, with mode 600."""
    handle, temporary = tempfile.mkstemp(dir=path.parent)  # mkstemp makes it 600
    with os.fdopen(handle, "w") as file:
        file.write(content)
    Path(temporary).replace(path)


def read_assignments(path: Path) -> dict[str, str]:
    """Return the ``NAME=value`` lines of a file that ``write_private`` wrote; empty if there is none."""
    if not path.exists():
        return {}
    return dict(line.split("=", 1) for line in path.read_text().splitlines() if "=" in line)


def sweep_temporary(prefix: str) -> None:
    """Stop and remove temporary runs whose owner was killed: directories ``prefix*`` of ours that nobody locks."""
    for path in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        if not path.is_dir() or path.stat().st_uid != os.geteuid():
            continue
        run = RunDirectory(path)
        if run.acquire():
            run.stop_leftovers()
            shutil.rmtree(path, ignore_errors=True)
            run.release()
