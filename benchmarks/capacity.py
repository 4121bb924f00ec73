"""What one candidate costs each part of the product, in processor time: how many a core carries.

Every process of the product runs for real and candidates publish moving pictures and sound by WHIP at the default
policy's rates; publishers are not counted. Between the moment when all are live and the one when the first leaves, the
processor time of each process, of PostgreSQL and of Redis is taken. The clip has more incidents than any exam, and
alerts have to keep within their budget meanwhile: capacity that comes late is none.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from benchmarks import bed
from benchmarks.latency import BUDGET_S, STAGGER_S, percentile, sit
from demo import material
from demo.publisher import load_clip
from demo.script import JOURNEY
from demo.service import Service
from tests.stack import Stack, running_stack

CANDIDATES = 6
SETTLED_S = 8.0
"""After the last candidate has begun: networks are warm, connections made."""


def spent_s(stack: Stack) -> dict[str, float]:
    """Return the seconds of processor time by part of the product, up to now."""
    parts = {name: bed.processor_s(psutil.Process(process.pid)) for name, process in stack.processes.items()}
    return parts | {"postgresql": bed.processor_s(bed.postgres()), "redis": bed.redis_processor_s()}


async def between(stack: Stack, begins: float, ends: float) -> dict[str, float]:
    """Return what each part spends from one moment to another (monotonic), in seconds of processor per second."""
    await asyncio.sleep(max(0.0, begins - time.monotonic()))
    before, began = await asyncio.to_thread(spent_s, stack), time.monotonic()
    await asyncio.sleep(max(0.0, ends - time.monotonic()))
    after, ended = await asyncio.to_thread(spent_s, stack), time.monotonic()
    return {name: (after[name] - before[name]) / (ended - began) for name in before}


async def measure(stack: Stack, *, candidates: int, length_s: float) -> tuple[dict[str, float], list[float]]:
    """Let candidates sit their exams; return what the parts spent meanwhile, and the delays of alerts in seconds."""
    clip = load_clip(await asyncio.to_thread(material.clip, JOURNEY))
    async with aiohttp.ClientSession() as http:
        service = Service(http, stack.url, stack.api_key())
        began = time.monotonic() + 5 + candidates
        all_live = began + (candidates - 1) * STAGGER_S + SETTLED_S
        watching = asyncio.create_task(between(stack, all_live, began + length_s))
        sittings = [sit(service, number, clip, length_s, began) for number in range(candidates)]
        alerts = [alert for found in await asyncio.gather(*sittings) for alert in found]
        return await watching, [alert["delay_s"] for alert in alerts]


def run(*, candidates: int, laps: int) -> dict[str, Any]:
    """Measure over ``laps`` rounds of the clip."""
    bed.RESULTS.mkdir(exist_ok=True)
    weights_dir = Path(os.environ.get("WEIGHTS_DIR", "var/weights")).resolve()
    with tempfile.TemporaryDirectory() as directory, running_stack(Path(directory), weights_dir) as stack:
        length_s = laps * JOURNEY.duration_s
        parts, delays = asyncio.run(measure(stack, candidates=candidates, length_s=length_s))
    each = {name: round(share * 1000 / candidates, 1) for name, share in sorted(parts.items(), key=lambda at: -at[1])}
    total = sum(each.values())
    p95_s = percentile(delays, 0.95)
    return {
        "what": f"{candidates} candidates at the default policy; publishers share the machine and are not counted",
        "processor_ms_per_candidate_and_second": {**each, "all": round(total, 1)},
        "candidates_per_core": round(1000 / total, 1),
        "alerts": len(delays),
        "alert_delay_p95_s": round(p95_s, 3),
        "budget_p95_s": BUDGET_S,
        "within_budget": p95_s <= BUDGET_S,
    }


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", type=int, default=CANDIDATES)
    parser.add_argument("--laps", type=int, default=3, help="rounds of the 28-second clip")
    given = parser.parse_args()
    bed.report("capacity", run(candidates=given.candidates, laps=given.laps))


if __name__ == "__main__":
    main()
