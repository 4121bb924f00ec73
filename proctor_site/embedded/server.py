"""What the embedded servers have in common: one process on the loopback interface, noted in the run's ledger."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from proctor_site.embedded.errors import EmbeddedError
from proctor_site.embedded.run_directory import RunDirectory

_PAUSE_S = 0.02


class Server:
    """A server that this process starts and stops."""

    name: ClassVar[str]
    """In the run's directory and its ledger."""
    title: ClassVar[str]
    """In messages."""
    start_timeout_s: ClassVar[float] = 15
    stop_timeout_s: ClassVar[float] = 10
    _stop_signal: ClassVar[int] = signal.SIGTERM
    _kill_signal: ClassVar[int] = signal.SIGKILL

    def __init__(self, run: RunDirectory) -> None:
        self._run = run
        self._process: subprocess.Popen[bytes] | None = None
        self._log = run.path / f"{self.name}.log"

    def stop(self) -> None:
        """Stop the server; kill it if it does not obey."""
        self._end(self._stop_signal)

    def failure(self) -> str | None:
        """Return why the server no longer runs, or None while it does."""
        if self._process is None or self._process.poll() is None:
            return None
        return f"{self.title} ended with status {self._process.returncode}; see {self._log}"

    def _spawn(self, command: Sequence[str], **options: Any) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the programs that use it; it is stopped after them
                **options,
            )
        self._run.ledger.note(self.name, self._process)

    def _wait_until(self, missing: Callable[[], str | None]) -> None:
        """Wait until ``missing`` returns None; until then it returns what is amiss. Raises ``EmbeddedError``."""
        deadline = time.monotonic() + self.start_timeout_s
        while True:
            if failure := self.failure():
                self._run.ledger.forget(self.name)
                raise EmbeddedError(failure)
            if (amiss := missing()) is None:
                return
            if time.monotonic() > deadline:
                self.stop()
                raise EmbeddedError(f"{self.title} did not answer in {self.start_timeout_s:.0f} s: {amiss}")
            time.sleep(_PAUSE_S)

    def _end(self, number: int) -> None:
        if self._process is None:
            return
        self._process.send_signal(number)
        try:
            self._process.wait(self.stop_timeout_s)
        except subprocess.TimeoutExpired:
            self._process.send_signal(self._kill_signal)
            self._process.wait(self.stop_timeout_s)
        self._process = None
        self._run.ledger.forget(self.name)
