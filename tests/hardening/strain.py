"""What work costs: memory that is not given back, and how long the event loop was held by one step."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psutil
import pytest

MEGABYTE = 1 << 20


def grown_bytes(work: Callable[[], Any]) -> int:
    """Do ``work`` twice and return by how much the process grew at the second time: the first may fill caches."""
    work()
    gc.collect()
    before = psutil.Process().memory_info().rss
    work()
    gc.collect()
    return int(psutil.Process().memory_info().rss - before)


@dataclass
class Steps:
    """The steps of an event loop, by the processor time they cost its thread: waiting for a busy machine is none."""

    longest_ms: float = 0.0
    what: str = ""
    count: int = field(default=0)


@contextmanager
def steps_measured(monkeypatch: pytest.MonkeyPatch) -> Iterator[Steps]:
    """Measure every step of the running loop while the block runs."""
    steps, run = Steps(), asyncio.events.Handle._run  # type: ignore[attr-defined]

    def measured(handle: Any) -> None:
        started = time.thread_time()
        run(handle)
        took_ms = (time.thread_time() - started) * 1000
        steps.count += 1
        if took_ms > steps.longest_ms:
            steps.longest_ms, steps.what = took_ms, repr(handle)

    with monkeypatch.context() as patch:
        patch.setattr(asyncio.events.Handle, "_run", measured)
        yield steps
