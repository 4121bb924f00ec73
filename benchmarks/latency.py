"""How soon an alert arrives: eight candidates at once on this machine, from capture in the gateway to the WebSocket.

Every process of the product runs for real. Eight publishers send the same moving pictures and sound by WHIP, each begun
a little later than the one before. The delay of an alert is its arrival at a WebSocket client minus the capture time at
which the rule's hold time was over (``decided_at``), so the hold itself does not count.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import statistics
import tempfile
import time
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks import bed
from demo import material, settings
from demo.inbox import Inbox, listening
from demo.people import PEOPLE
from demo.publisher import EncodedClip, WhipPublisher, load_clip
from demo.script import JOURNEY
from demo.service import Service
from detection.engine.weights import weights_path
from tests.stack import Stack, running_stack

CANDIDATES = 8
STAGGER_S = 1.7
"""Between the starts of two publishers: their incidents do not all fall on the same moment, nor evenly apart."""
BUDGET_S = 1.5
LAST_ALERTS_S = 10.0


async def sit(service: Service, number: int, clip: EncodedClip, length_s: float, began: float) -> list[dict[str, Any]]:
    """Publish as one candidate for ``length_s``; return the alerts that opened, each with its delay in seconds."""
    candidate_id, inbox = f"candidate-{number}", Inbox()
    await service.enrol(candidate_id, [weights_path(PEOPLE["A"].enrolled or "")], settings.CONSENT)
    session = await service.call("POST", "/api/v1/session/start", json={"candidate_id": candidate_id})
    await asyncio.sleep(max(0.0, began + number * STAGGER_S - time.monotonic()))
    async with AsyncExitStack() as stack:
        token, url = service.api_key, session["ws_url"]
        await stack.enter_async_context(listening(inbox, http=service.http, ws_url=url, token=token))
        publisher = WhipPublisher(session["whip_url"], session["join_token"], clip, loop=True)
        await stack.enter_async_context(publisher)
        await publisher.play_until(length_s)
        await service.call("POST", f"/api/v1/session/{session['session_id']}/end", json={})
        await asyncio.wait_for(inbox.ended.wait(), LAST_ALERTS_S)
    return [
        {
            "event_type": alert["event_type"],
            "delay_s": arrived_at - datetime.fromisoformat(alert["metadata"]["decided_at"]).timestamp(),
        }
        for arrived_at, alert in inbox.socket.values()
        if alert["metadata"]["phase"] == "opened"
    ]


async def measure(stack: Stack, *, length_s: float) -> list[dict[str, Any]]:
    """Let all candidates sit their exams; return their alerts."""
    clip = load_clip(await asyncio.to_thread(material.clip, JOURNEY))
    async with aiohttp.ClientSession() as http:
        service = Service(http, stack.url, stack.api_key())
        began = time.monotonic() + 5
        sittings = [sit(service, number, clip, length_s, began) for number in range(CANDIDATES)]
        return [alert for alerts in await asyncio.gather(*sittings) for alert in alerts]


def percentile(values: list[float], share: float) -> float:
    """Return the value that ``share`` of the values do not exceed (nearest rank)."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def figures(alerts: list[dict[str, Any]]) -> dict[str, Any]:
    """Summarise the delays, in seconds."""
    delays = [alert["delay_s"] for alert in alerts]
    p95_s = percentile(delays, 0.95)
    return {
        "what": f"{CANDIDATES} candidates, capture to alert at the WebSocket beyond the rule's hold time; publishers, "
        "product and client share this machine",
        "alerts": len(delays),
        "p50_s": round(statistics.median(delays), 3),
        "p95_s": round(p95_s, 3),
        "max_s": round(max(delays), 3),
        "budget_p95_s": BUDGET_S,
        "within_budget": p95_s <= BUDGET_S,
        "by_event_type": {
            kind: {"alerts": len(own), "p50_s": round(statistics.median(own), 3), "max_s": round(max(own), 3)}
            for kind in sorted({alert["event_type"] for alert in alerts})
            if (own := [alert["delay_s"] for alert in alerts if alert["event_type"] == kind])
        },
    }


def run(*, laps: int) -> dict[str, Any]:
    """Measure over ``laps`` rounds of the clip."""
    bed.RESULTS.mkdir(exist_ok=True)
    weights_dir = Path(os.environ.get("WEIGHTS_DIR", "var/weights")).resolve()
    with tempfile.TemporaryDirectory() as directory, running_stack(Path(directory), weights_dir) as stack:
        return figures(asyncio.run(measure(stack, length_s=laps * JOURNEY.duration_s)))


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--laps", type=int, default=3, help="rounds of the 28-second clip")
    bed.report("latency", run(laps=parser.parse_args().laps))


if __name__ == "__main__":
    main()
