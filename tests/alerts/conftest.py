"""Pictures in a folder of their own, and broadcasts finished before the next test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from alerts import wake
from tests.alerts.receiver import Receiver, running


@pytest.fixture(autouse=True)
def evidence_dir(settings: Any, tmp_path: Path) -> Iterator[Path]:
    """Keep evidence below a temporary folder and return it."""
    folder = tmp_path / "evidence"
    settings.ROOT_URLCONF = "tests.alerts.urls"
    options = settings.STORAGES["evidence"]["OPTIONS"] | {"location": folder}
    settings.STORAGES = settings.STORAGES | {"evidence": settings.STORAGES["evidence"] | {"OPTIONS": options}}
    yield folder
    wake.flush()


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    """A webhook receiver on loopback, which the settings allow for the test."""
    settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.0/8"]
    with running() as made:
        yield made
