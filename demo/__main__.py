"""``python -m demo [--once]``: watch a scripted exam being proctored by the running product.

Without ``--once`` (or ``ONCE=1``) it stays up afterwards for your own webcam. Exits 0 when everything scripted was
found in its window and nothing else was, 1 otherwise, 2 when the exam could not be staged.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import aiohttp

from demo import access, report, settings
from demo.exam import ScriptedExam
from demo.inbox import RECEIVER_PATH, Inbox, Receiver, webhook_receiver
from demo.policy import make_policy
from demo.publisher import PublishError
from demo.script import EXAM
from demo.service import Service, ServiceError, wait_until_healthy
from demo.visitor import VisitorExam


def say(line: str = "") -> None:
    """Print a line at once, also into a pipe."""
    print(line, flush=True)


async def stage(*, once: bool) -> int:
    """Run the demo; return the process's exit status."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http:
        say("Waiting for the services …")
        await wait_until_healthy(http, settings.public_url())
        await asyncio.to_thread(access.withdraw_old_keys)
        await asyncio.to_thread(make_policy)
        service = Service(http, settings.public_url(), await asyncio.to_thread(access.make_api_key))
        inbox = Inbox()
        async with webhook_receiver(inbox) as receiver, _subscribed(service, receiver):
            _introduce()
            exam = ScriptedExam(EXAM, service, http, inbox, say)
            inbox.on_alert = exam.tell
            verdict = await exam.run()
            say(f"\n{report.table(verdict)}\n\n{report.summary(verdict)}")
            if not once:
                await _stay_up(service, http)
        return 0 if verdict.passed else 1


@asynccontextmanager
async def _subscribed(service: Service, receiver: Receiver) -> AsyncIterator[None]:
    """Subscribe the receiver while the block runs, and forget the receivers of demos that were killed."""
    await _forget_old_receivers(service)
    body = {"transport": "webhook", "url": receiver.url, "secret": receiver.secret}
    subscription = await service.call("POST", "/api/v1/subscriptions", json=body)
    try:
        yield
    finally:
        with suppress(ServiceError):  # after Ctrl-C the web process may be gone first; the next demo forgets it then
            await service.call("DELETE", f"/api/v1/subscriptions/{subscription['id']}")


async def _forget_old_receivers(service: Service) -> None:
    listed = await service.call("GET", "/api/v1/subscriptions")
    for subscription in listed["results"]:
        if subscription["url"].endswith(RECEIVER_PATH):
            await service.call("DELETE", f"/api/v1/subscriptions/{subscription['id']}")


def _introduce() -> None:
    say(f"\nA scripted exam of {EXAM.duration_s:.0f} seconds, published by WHIP and watched by the running product.")
    say("Its people are photographs that move, its voices are synthetic:")
    say(report.credits())
    say(report.left_out(settings.left_out()))
    say()


async def _stay_up(service: Service, http: aiohttp.ClientSession) -> None:
    """Print where to look, and watch visitors until Ctrl-C."""
    login = await asyncio.to_thread(access.make_login)
    base = settings.public_url()
    say("\nEverything stays up until you press Ctrl-C.")
    say(f"  proctor's screen          {base}/admin/   user {login.username}, password {login.password}")
    say(f"  REST documentation        {base}/api/docs/")
    say(f"  health, metrics           {base}/.well-known/health   {settings.metrics_url()}")
    await VisitorExam(service, http, say).run()


async def _until_signalled(*, once: bool) -> int:
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        return await stage(once=once)
    except asyncio.CancelledError:
        say("\nStopped.")
        return 130 if once else 0
    except (PublishError, ServiceError) as error:
        say(f"\nThe demo could not go on: {error}")
        return 2


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--once", action="store_true", help="print the table and exit with the verdict")
    once = parser.parse_args().once or os.environ.get("ONCE", "") not in ("", "0")
    return asyncio.run(_until_signalled(once=once))


if __name__ == "__main__":
    sys.exit(main())
