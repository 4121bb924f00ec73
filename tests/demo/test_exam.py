"""A scripted exam against the whole product, as the demo stages it, without a browser."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import aiohttp
import pytest

from demo import report
from demo.exam import ScriptedExam
from demo.inbox import Inbox, webhook_receiver
from demo.script import JOURNEY
from demo.service import Service
from tests.stack import ROOT, Stack


def make_policy(stack: Stack) -> None:
    """Make the demo's policy in the stack's database."""
    subprocess.run([sys.executable, "-m", "demo.policy"], cwd=ROOT, env=stack.environment, check=True)


@pytest.mark.timeout(180)
async def test_everything_scripted_is_found_in_its_window_and_nothing_else(stack: Stack) -> None:
    inbox, said = Inbox(), list[str]()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http, webhook_receiver(inbox) as hook:
        await asyncio.to_thread(make_policy, stack)
        service = Service(http, stack.url, await asyncio.to_thread(stack.api_key))
        body = {"transport": "webhook", "url": hook.url, "secret": hook.secret, "exam_ids": ["demo"]}
        subscription = await service.call("POST", "/api/v1/subscriptions", json=body)
        exam = ScriptedExam(JOURNEY, service, http, inbox, said.append)
        inbox.on_alert = exam.tell
        verdict = await exam.run()
        await service.call("DELETE", f"/api/v1/subscriptions/{subscription['id']}")
    assert verdict.passed, f"{report.table(verdict)}\n{stack.logs()}"
    assert len(verdict.lines) == len(JOURNEY.expected)
    assert sum("alert:" in line for line in said) == 2 * len(JOURNEY.expected)
    assert any(line.endswith("runs under the policy Demo, version 1.") for line in said)
    assert "0:18.0  somebody speaks" in said
    assert inbox.states[-1] == "ended"
