"""The embedded services: started where nothing is configured, stopped with their owner, whatever happens to it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg2
import pytest
import redis

from proctor_site.embedded import EmbeddedError, Services
from proctor_site.embedded.ports import free_port, port_is_free, remembered_port
from proctor_site.embedded.postgres import (
    REACHABLE,
    installed_package,
    reachable_copy,
    reachable_directory,
    runs_as,
    sweep_reachable,
)
from proctor_site.embedded.processes import MARKER, Ledger, marked_processes
from proctor_site.embedded.run_directory import RunDirectory, sweep_temporary
from proctor_site.embedded.secrets import load_secrets
from proctor_site.embedded.supervisor import SERVERS, require_free_ports
from proctor_site.embedded.unprivileged import account_for_services

OPEN = ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "JOIN_TOKEN_KEY", "KEY_ENCRYPTION_KEYS")
ROOT = Path(__file__).resolve().parents[2]
_started: list[subprocess.Popen[str]] = []


def reachable_temporary_directory() -> Path:
    """Make a directory that PostgreSQL's account may enter when the tests run as root."""
    path = Path(tempfile.mkdtemp(prefix="sd-proctor-embedded-"))
    path.chmod(0o711)
    return path


@pytest.fixture
def directory() -> Iterator[Path]:
    """Yield a directory for one run; whatever still runs in it is stopped at the end."""
    path = reachable_temporary_directory()
    yield path
    while _started:
        with _started.pop() as supervisor:
            supervisor.terminate()
    run = RunDirectory(path / "run")
    wait_for(run.acquire)
    run.stop_leftovers()
    shutil.rmtree(path)
    run.release()


def wait_for(condition: Callable[[], object], timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{condition} not fulfilled in {timeout_s} s"
        time.sleep(0.05)


def supervise(directory: Path, *command: str, options: tuple[str, ...] = (), **variables: str) -> subprocess.Popen[str]:
    """Start the supervisor with nothing configured but ``variables``."""
    environment = {k: v for k, v in os.environ.items() if k not in OPEN} | variables
    supervisor = subprocess.Popen(
        [sys.executable, "-m", "proctor_site.embedded", "--directory", str(directory), *options, "--", *command],
        env=environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    _started.append(supervisor)
    return supervisor


def services_of(directory: Path) -> dict[str, psutil.Process]:
    return Ledger(directory / "run" / "processes.json").alive()


def python(code: str) -> tuple[str, str, str]:
    return sys.executable, "-c", code


SLEEP = python("import time; print('up', flush=True); time.sleep(600)")
USE_BOTH = python(
    "import os, psycopg2, redis\n"
    "connection = psycopg2.connect(os.environ['DATABASE_URL'])\n"
    "cursor = connection.cursor()\n"
    "cursor.execute('CREATE EXTENSION IF NOT EXISTS vector')\n"
    "cursor.execute(\"SELECT '[1,2]'::vector <-> '[1,5]'::vector\")\n"
    "print(cursor.fetchone()[0], redis.Redis.from_url(os.environ['REDIS_URL']).ping())\n"
)


def test_the_command_finds_postgresql_with_pgvector_and_redis_and_both_end_with_it(directory: Path) -> None:
    supervisor = supervise(directory, *USE_BOTH)
    out, err = supervisor.communicate(timeout=60)
    assert (supervisor.returncode, out.strip()) == (0, "3.0 True"), err
    assert services_of(directory) == {}
    assert not (directory / "run" / "environment").exists()


def test_data_outlives_a_restart(directory: Path) -> None:
    write = "import os, psycopg2\nwith psycopg2.connect(os.environ['DATABASE_URL']) as c: c.cursor().execute({!r})"
    assert supervise(directory, *python(write.format("CREATE TABLE kept (n int)"))).wait(60) == 0
    assert supervise(directory, *python(write.format("INSERT INTO kept VALUES (1)"))).wait(60) == 0


def test_the_status_of_the_command_is_passed_on(directory: Path) -> None:
    assert supervise(directory, *python("raise SystemExit(7)")).wait(60) == 7


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_command_and_services(directory: Path, number: signal.Signals) -> None:
    supervisor = supervise(directory, *SLEEP)
    assert supervisor.stdout is not None
    assert supervisor.stdout.readline() == "up\n"
    assert set(services_of(directory)) == {"postgres", "valkey"}
    supervisor.send_signal(number)
    assert supervisor.wait(30) != 0
    assert services_of(directory) == {}
    assert marked_processes(directory / "run") == []


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, 128 + signal.SIGTERM)])
def test_ctrl_c_is_how_servers_are_meant_to_end(directory: Path, number: signal.Signals, status: int) -> None:
    supervisor = supervise(directory, *SLEEP, options=("--until-interrupted",))
    assert supervisor.stdout is not None
    assert supervisor.stdout.readline() == "up\n"
    supervisor.send_signal(number)
    assert supervisor.wait(30) == status


def test_after_sigkill_of_the_supervisor_the_next_start_stops_what_was_left(directory: Path) -> None:
    grandchild = python(f"import subprocess; subprocess.run({list(SLEEP)!r}, start_new_session=True)")
    supervisor = supervise(directory, *grandchild)
    assert supervisor.stdout is not None
    assert supervisor.stdout.readline() == "up\n"
    supervisor.kill()
    supervisor.wait()
    left = [*services_of(directory).values(), *marked_processes((directory / "run").resolve())]
    assert len(left) == 4  # PostgreSQL, Valkey, the command and its own child in another session
    second = supervise(directory, *USE_BOTH)
    out, err = second.communicate(timeout=60)
    assert (second.returncode, out.strip()) == (0, "3.0 True"), err
    wait_for(lambda: not any(process.is_running() for process in left))


def test_a_process_that_got_a_noted_id_is_never_stopped(directory: Path) -> None:
    bystander = subprocess.Popen(SLEEP, stdout=subprocess.PIPE)
    try:
        run = RunDirectory(directory / "run")
        assert run.acquire()
        run.ledger.note("postgres", bystander)
        noted = (run.path / "processes.json").read_text()
        (run.path / "processes.json").write_text(noted.replace("time.sleep", "other"))
        assert run.stop_leftovers() == 0
        assert bystander.poll() is None
        run.release()
    finally:
        bystander.kill()
        bystander.wait()


def test_a_second_command_joins_the_running_services_and_leaves_them_running(directory: Path) -> None:
    owner = supervise(directory, *SLEEP)
    assert owner.stdout is not None
    assert owner.stdout.readline() == "up\n"
    running = services_of(directory)
    guest = supervise(directory, *USE_BOTH)
    out, err = guest.communicate(timeout=60)
    assert (guest.returncode, out.strip()) == (0, "3.0 True"), err
    assert services_of(directory) == running
    owner.terminate()
    owner.wait(30)


def test_a_second_set_of_servers_in_the_same_directory_is_refused(directory: Path) -> None:
    owner = supervise(directory, *SLEEP)
    assert owner.stdout is not None
    assert owner.stdout.readline() == "up\n"
    second = supervise(directory, *SLEEP, options=("--servers",))
    _, err = second.communicate(timeout=60)
    assert second.returncode == 2
    assert "already runs" in err
    owner.terminate()
    owner.wait(30)


def test_a_service_that_dies_ends_the_run_with_a_reason(directory: Path) -> None:
    supervisor = supervise(directory, *SLEEP)
    assert supervisor.stdout is not None
    assert supervisor.stdout.readline() == "up\n"
    services_of(directory)["valkey"].kill()
    _, err = supervisor.communicate(timeout=60)
    assert supervisor.returncode == 2
    assert "Valkey ended" in err
    assert services_of(directory) == {}


USE_KAFKA = python(
    "import os\n"
    "from confluent_kafka import Producer\n"
    "producer = Producer({'bootstrap.servers': os.environ['KAFKA_BOOTSTRAP_SERVERS'], 'acks': 'all'})\n"
    "producer.produce('topic', 'value', on_delivery=lambda error, message: print(error, message.topic()))\n"
    "producer.flush(30)\n"
)


def test_kafka_runs_beside_the_others_when_it_is_asked_for_and_ends_with_them(directory: Path) -> None:
    supervisor = supervise(directory, *USE_KAFKA, options=("--kafka",), KAFKA_BOOTSTRAP_SERVERS="")
    out, err = supervisor.communicate(timeout=60)
    assert (supervisor.returncode, out.strip()) == (0, "None topic"), err
    assert services_of(directory) == {}


def test_brokers_of_the_operators_own_are_used_and_none_is_started(directory: Path) -> None:
    show = python("import os; print(os.environ['KAFKA_BOOTSTRAP_SERVERS'])")
    supervisor = supervise(directory, *show, options=("--kafka",), KAFKA_BOOTSTRAP_SERVERS="kafka:9092")
    assert supervisor.communicate(timeout=60)[0].strip() == "kafka:9092"
    assert not (directory / "run" / "kafka.log").exists()


def test_with_parent_the_run_ends_when_its_starter_is_killed(directory: Path) -> None:
    supervise_again = [sys.executable, "-m", "proctor_site.embedded", "--directory", str(directory), "--with-parent"]
    environment = {k: v for k, v in os.environ.items() if k not in OPEN}
    starter = subprocess.Popen(
        python(f"import subprocess; subprocess.run({[*supervise_again, '--', *SLEEP]!r})"),
        env=environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert starter.stdout is not None
    assert starter.stdout.readline() == "up\n"
    starter.kill()
    starter.wait()
    wait_for(lambda: services_of(directory) == {})


def test_what_the_operator_configured_is_neither_started_nor_generated(directory: Path) -> None:
    given = dict.fromkeys(OPEN, "given")
    show = python("import os; print([os.environ[n] for n in " + repr(OPEN) + "])")
    supervisor = supervise(directory, *show, **given)
    out, err = supervisor.communicate(timeout=60)
    assert (supervisor.returncode, out.strip()) == (0, str(["given"] * len(OPEN))), err
    assert not (directory / "run" / "postgres").exists()


def test_a_secret_given_by_file_is_not_generated(directory: Path) -> None:
    show = python("import os; print(os.environ.get('SECRET_KEY'), bool(os.environ.get('JOIN_TOKEN_KEY')))")
    supervisor = supervise(
        directory, *show, SECRET_KEY_FILE="/run/secrets/key", DATABASE_URL="given", REDIS_URL="given"
    )
    assert supervisor.communicate(timeout=60)[0].strip() == "None True"


def test_secrets_are_kept_and_readable_by_this_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "secrets.env"
    first = load_secrets(path)
    assert load_secrets(path) == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_secrets(tmp_path / "another.env").keys() == first.keys()
    assert set(load_secrets(tmp_path / "another.env").values()).isdisjoint(first.values())


def test_services_ask_for_their_passwords(directory: Path) -> None:
    run = RunDirectory(directory / "run")
    assert run.acquire()
    with Services(run, secrets_file=directory / "secrets.env", given={}, durable=False) as services:
        database, store = services.environment["DATABASE_URL"], services.environment["REDIS_URL"]
        password = load_secrets(directory / "secrets.env")["EMBEDDED_POSTGRES_PASSWORD"]
        with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
            psycopg2.connect(database.replace(password, "guess"))
        with pytest.raises(redis.AuthenticationError):
            redis.Redis.from_url(store.split("@")[0].split(":")[0] + "://" + store.split("@")[1]).ping()
    run.release()


def test_other_secrets_than_the_databases_are_told_apart_from_a_failure(directory: Path) -> None:
    assert supervise(directory, *python("pass")).wait(60) == 0
    (directory / "secrets.env").unlink()
    supervisor = supervise(directory, *python("pass"))
    _, err = supervisor.communicate(timeout=60)
    assert supervisor.returncode == 2
    assert "secrets.env" in err
    assert services_of(directory) == {}


def test_two_directories_run_side_by_side(directory: Path) -> None:
    other = directory / "other"
    first, second = supervise(directory, *SLEEP), supervise(other, *SLEEP)
    for supervisor in (first, second):
        assert supervisor.stdout is not None
        assert supervisor.stdout.readline() == "up\n"
    pids = {p.pid for place in (directory, other) for p in services_of(place).values()}
    assert len(pids) == 4
    for supervisor in (first, second):
        supervisor.terminate()
        supervisor.wait(30)


def test_a_taken_port_is_named_with_the_variable_that_changes_it() -> None:
    free = {f"{server}_PORT": str(free_port()) for server in SERVERS}
    require_free_ports(free)
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        with pytest.raises(EmbeddedError, match=rf"Port {taken} is taken.*GATEWAY_PORT="):
            require_free_ports(free | {"GATEWAY_PORT": str(taken)})


def test_a_port_is_remembered_until_another_program_takes_it(tmp_path: Path) -> None:
    note = tmp_path / "port"
    port = remembered_port(note)
    assert remembered_port(note) == port
    with socket.create_server(("127.0.0.1", port)):
        assert not port_is_free(port)
        assert remembered_port(note) != port


def test_temporary_runs_of_killed_owners_are_swept_and_living_ones_left(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    prefix = f"sd-proctor-sweep-{os.getpid()}-"
    dead, alive = (Path(f"/tmp/{prefix}{name}") for name in ("dead", "alive"))
    RunDirectory(dead)
    held = RunDirectory(alive)
    assert held.acquire()
    sweep_temporary(prefix)
    assert not dead.exists()
    assert alive.exists()
    held.release()
    sweep_temporary(prefix)
    assert not alive.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives PostgreSQL to another account")
def test_as_root_in_a_closed_directory_the_data_lies_where_postgresql_can_reach_it(directory: Path) -> None:
    directory.chmod(0o700)
    supervisor = supervise(directory, *USE_BOTH)
    out, err = supervisor.communicate(timeout=60)
    assert (supervisor.returncode, out.strip()) == (0, "3.0 True"), err
    data = reachable_directory(RunDirectory(directory / "run"))
    assert (data / "postgres" / "PG_VERSION").exists()
    command = [sys.executable, "-m", "proctor_site.embedded", "--directory", str(directory), "--erase"]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 0
    assert not data.exists()
    directory.mkdir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives PostgreSQL to another account")
def test_data_of_a_temporary_directory_that_is_gone_is_swept(directory: Path) -> None:
    directory.chmod(0o700)
    assert supervise(directory, *python("pass")).wait(60) == 0
    data = reachable_directory(RunDirectory(directory / "run"))
    sweep_reachable()
    assert data.exists()
    shutil.rmtree(directory)
    sweep_reachable()
    assert not data.exists()
    directory.mkdir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives PostgreSQL to another account")
def test_binaries_out_of_reach_are_copied_with_their_libraries(tmp_path: Path) -> None:
    package = installed_package()
    account = account_for_services()
    assert account is not None
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    for part in package.parent.glob("embedded_postgres*"):
        shutil.copytree(part, closed / part.name, symlinks=True)
    assert not runs_as(account, closed / package.name)
    copied = reachable_copy(closed / package.name, account)
    assert copied.is_relative_to(REACHABLE)
    assert runs_as(account, copied)


def test_erase_removes_everything(directory: Path) -> None:
    place = directory / "var"
    assert supervise(place, *python("pass")).wait(60) == 0
    command = [sys.executable, "-m", "proctor_site.embedded", "--directory", str(place), "--erase"]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 0
    assert not place.exists()


def test_the_marker_reaches_the_command_alone(directory: Path) -> None:
    supervisor = supervise(directory, *python(f"import os; print(os.environ[{MARKER!r}])"))
    assert supervisor.communicate(timeout=60)[0].strip() == str((directory / "run").resolve())
