"""The directory in which the processes of one machine add up their metrics, made ready before any of them counts."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_ROOT = Path(__file__).resolve().parent.parent


def prepare() -> None:
    """Make the directory that ``PROMETHEUS_MULTIPROC_DIR`` names, relative to the repository.

    Empty means unset: prometheus_client, which reads the variable when it is imported, would take "" for a directory.
    """
    value = os.environ.get(VARIABLE, "").strip()
    if not value:
        os.environ.pop(VARIABLE, None)
        return
    directory = _ROOT / value
    directory.mkdir(parents=True, exist_ok=True)
    os.environ[VARIABLE] = str(directory)
