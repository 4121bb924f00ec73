"""Give every test session a PostgreSQL and a Valkey of its own, and Django its settings, before anything needs them.

``DATABASE_URL`` and ``REDIS_URL`` in the environment win: then the tests run on those servers, in one process.
"""

from __future__ import annotations

import atexit
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import django
import pytest
import redis
from celery.signals import setup_logging
from django.test import TransactionTestCase

from proctor_site.embedded import Services
from proctor_site.embedded.postgres import sweep_reachable
from proctor_site.embedded.processes import MARKER
from proctor_site.embedded.run_directory import RunDirectory, sweep_temporary

PREFIX = "sd-proctor-test-"
ROOT = Path(__file__).resolve().parent.parent
IS_WORKER = "PYTEST_XDIST_WORKER" in os.environ

pytest_plugins = ["tests.stack", "tests.parallel"]


def _start_services() -> tuple[Services, tempfile.TemporaryDirectory[str]]:
    if not IS_WORKER:  # those that start beside this one have not locked their directories yet
        sweep_temporary(PREFIX)  # of sessions that were killed
        sweep_reachable()
    directory = tempfile.TemporaryDirectory(prefix=PREFIX)
    base = Path(directory.name)
    base.chmod(0o711)  # as root, PostgreSQL runs as another account and must reach its data
    run = RunDirectory(base)
    if not run.acquire():
        raise RuntimeError(f"{base} is new, yet locked")
    services = Services(run, secrets_file=base / "secrets.env", given=os.environ, durable=False)
    os.environ.update(services.start())
    os.environ[MARKER] = str(run.path)  # by which the next session finds what a killed one has left running
    os.environ["EVIDENCE_DIR"] = str(base / "evidence")
    os.environ["DJANGO_SETTINGS_MODULE"] = "proctor_site.settings"
    return services, directory


def _stop_services() -> None:
    _services.stop()
    _directory.cleanup()


# Who runs the tests in the background may have these ignored, and every process started from here would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# At import and not in a hook: conftest files and test modules below this one import models, which wants the settings.
_services, _directory = _start_services()
atexit.register(_stop_services)  # runs after Ctrl-C and after a failed collection too
django.setup()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """Leave it to each worker of pytest-xdist to start servers, as if it were alone; this process runs no test."""
    if "REDIS_URL" not in _services.environment:
        raise pytest.UsageError("On the Redis of REDIS_URL tests run in one process only: leave -n out.")
    _stop_services()
    for name in (*_services.environment, MARKER, "EVIDENCE_DIR", "DJANGO_SETTINGS_MODULE"):
        del os.environ[name]


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the services while pytest-xdist still waits for this worker; whatever else ends it, atexit does."""
    if IS_WORKER:
        _stop_services()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a longer run send more of the requests that are made up from the OpenAPI document."""
    parser.addoption(
        "--contract-cases",
        type=int,
        default=25,
        help="Requests per operation and kind (right, wrong), and walks over several; see tests/hardening.",
    )


@setup_logging.connect
def _leave_logging_alone(**_: object) -> None:
    """Keep Celery workers that run inside the tests from turning the root logger down for all tests after them."""


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """Have the rows that migrations made put back after each test that commits."""
    from tests.pristine import Pristine  # its models want the settings

    with django_db_blocker.unblock(), pytest.MonkeyPatch.context() as patch:
        pristine = Pristine.take()
        patch.setattr(TransactionTestCase, "_fixture_teardown", lambda _: pristine.restore())
        yield


@pytest.fixture(scope="session")
def weights_dir() -> Path:
    """Return the directory of model weights; fail with the command that fills it when it is empty."""
    directory = Path(os.environ.get("WEIGHTS_DIR") or ROOT / "var" / "weights")
    if not directory.is_dir() or not any(directory.iterdir()):
        pytest.fail(f"There are no weights in {directory}: run `make weights` first.")
    return directory


@pytest.fixture
def redis_client() -> Iterator[redis.Redis]:
    """Yield a client of an empty Redis, emptied again afterwards."""
    with redis.Redis.from_url(os.environ["REDIS_URL"]) as client:
        client.flushdb()
        yield client
        client.flushdb()


@pytest.fixture
def evidence_dir(settings: Any, tmp_path: Path) -> Path:
    """Keep evidence below a temporary folder and return it."""
    folder = tmp_path / "evidence"
    options = settings.STORAGES["evidence"]["OPTIONS"] | {"location": folder}
    settings.STORAGES = settings.STORAGES | {"evidence": settings.STORAGES["evidence"] | {"OPTIONS": options}}
    return folder
