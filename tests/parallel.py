"""Tests on all cores: ``-n auto`` gives each pytest-xdist worker servers of its own, and whole files of tests.

What plays the whole product in real time stays together on one worker, so that never two of them share the cores, and
goes first, since it takes longest.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from xdist.scheduler import LoadScopeScheduling

REAL_TIME = "real time"
IN_REAL_TIME = (
    "tests/alerts/test_faults.py",
    "tests/demo/",
    "tests/detection/test_outages.py",
    "tests/media_gateway/",
    "tests/test_check_in.py",
    "tests/test_journey.py",
)


MOST_WORKERS = 4  # each has a database and loads the models: half a gigabyte and more
CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")


class ByFile(LoadScopeScheduling):
    """Hand out files in the order of their number of tests, after all that is played in real time."""

    def _split_scope(self, nodeid: str) -> str:
        return REAL_TIME if nodeid.startswith(IN_REAL_TIME) else nodeid.partition("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return how many cores this process may use: a container often sees more, of which it has a share."""
    quota, _, period = CPU_QUOTA.read_text().partition(" ") if CPU_QUOTA.exists() else ("max", "", "")
    share = MOST_WORKERS if quota == "max" else max(1, int(quota) // int(period))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, share, MOST_WORKERS)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Keep the tests of a file on one worker."""
    return ByFile(config, log)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name a random id after its argument: all workers, and a second try, must find the test by the same name."""
    try:
        UUID(str(val))
    except ValueError:
        return None
    return argname
