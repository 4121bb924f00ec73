"""The way of an exam through everything: a real browser, the candidate page, gateway, worker and rules, to both ends.

Nothing here is faked but the camera's and the microphone's content.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from jsonschema import Draft202012Validator, FormatChecker
from playwright.async_api import Page

from demo import material, settings
from demo.inbox import Inbox, listening, webhook_receiver
from demo.people import PEOPLE
from demo.script import CALM, JOURNEY
from demo.service import Service, ServiceError
from demo.verdict import incidents
from detection.engine.weights import weights_path
from tests.browser import ALLOWED, DENIED, chromium, film
from tests.stack import Stack

pytestmark = pytest.mark.browser

SCHEMA = Path(__file__).resolve().parent.parent / "alerts" / "schemas" / "alert-1.1.json"
TRIES = 3
PAGE_TIMEOUT_MS = 30_000
CAMERA_S = 2.0
"""How far the film's beginning is from the moment at which the page shows it."""


@dataclass(slots=True)
class Platform:
    """What an exam platform has: an API key and a receiver for webhooks."""

    service: Service
    http: aiohttp.ClientSession
    inbox: Inbox

    async def start_session(self, **body: Any) -> dict[str, Any]:
        return await self.service.call("POST", "/api/v1/session/start", json=body)

    async def end(self, session: dict[str, Any]) -> None:
        await self.service.call("POST", f"/api/v1/session/{session['session_id']}/end")

    async def wait_for_incidents(self, session: dict[str, Any], event_types: set[str]) -> None:
        """Wait until there are incidents of these types, and one of each."""
        deadline = time.monotonic() + 20
        while True:
            found = (await self.service.call("GET", f"/api/v1/session/{session['session_id']}"))["incidents"]
            if event_types <= {each["event_type"] for each in found}:
                assert all(each["count"] == 1 for each in found if each["event_type"] in event_types)
                assert "WINDOW_BLUR" not in {each["event_type"] for each in found}
                return
            assert time.monotonic() < deadline, found
            await asyncio.sleep(0.3)

    async def state(self, session: dict[str, Any]) -> str:
        return str((await self.service.call("GET", f"/api/v1/session/{session['session_id']}"))["state"])


@pytest.fixture
async def platform(stack: Stack) -> AsyncIterator[Platform]:
    inbox = Inbox()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http, webhook_receiver(inbox) as hook:
        service = Service(http, stack.url, await asyncio.to_thread(stack.api_key))
        body = {"transport": "webhook", "url": hook.url, "secret": hook.secret}
        subscription = await service.call("POST", "/api/v1/subscriptions", json=body)
        yield Platform(service, http, inbox)
        await service.call("DELETE", f"/api/v1/subscriptions/{subscription['id']}")


@pytest.mark.timeout(240)
async def test_what_happens_before_a_webcam_reaches_the_socket_and_the_webhook(
    platform: Platform, stack: Stack
) -> None:
    await platform.service.enrol("A", [weights_path(PEOPLE["A"].enrolled or "")], settings.CONSENT)
    session = await platform.start_session(candidate_id="A", exam_id="journey")
    inbox, token = platform.inbox, platform.service.api_key
    files = await asyncio.to_thread(material.browser_files, JOURNEY)
    async with (
        listening(inbox, http=platform.http, ws_url=session["ws_url"], token=token),
        chromium(*film(*files)) as browser,
    ):
        page = await browser.new_page()
        await page.goto(session["candidate_url"])
        await enter_room(page)
        camera_at = time.time()
        await page.click("#start")
        await page.wait_for_selector("#connection[data-state=live]", timeout=PAGE_TIMEOUT_MS)
        await eventually(lambda: "live" in inbox.states, timeout_s=10, what=lambda: stack.logs())
        expected = {each.event_type for each in JOURNEY.expected}
        await eventually(lambda: expected <= closed_types(inbox), timeout_s=50, what=lambda: stack.logs())
        await platform.end(session)
        await page.wait_for_selector("main[data-stage=stopped][data-reason=ended]", timeout=PAGE_TIMEOUT_MS)
        await eventually(lambda: inbox.socket.keys() <= inbox.webhook.keys(), timeout_s=10, what=lambda: stack.logs())
    assert inbox.states[0] == "created"
    assert "live" in inbox.states
    assert inbox.states[-1] == "ended"
    require_published_schema(inbox)
    require_script(inbox, session["session_id"], camera_at)
    assert inbox.refused == 0


async def test_a_visitor_is_enrolled_on_joining_and_comes_back_after_the_gateway_was_lost(
    platform: Platform, stack: Stack
) -> None:
    in_front = {"page": {"in_front": True}}
    session = await platform.start_session(candidate_id="visitor", enroll_on_join=True, policy=in_front)
    files = await asyncio.to_thread(material.browser_files, CALM)
    async with chromium(*film(*files)) as browser:
        page = await browser.new_page()
        await page.goto(session["candidate_url"])
        await enter_room(page)
        assert "#" not in page.url
        await page.click("#take")
        assert "agree" in await page.inner_text("#enrol-problem")  # consent comes first
        await page.check("#consent")
        await take_pictures(page)
        await page.reload()  # the token is kept for this tab
        await enter_room(page)
        await page.wait_for_selector("#ready", timeout=PAGE_TIMEOUT_MS)  # and nobody is enrolled twice
        await page.click("#start")
        await page.wait_for_selector("#connection[data-state=live]", timeout=PAGE_TIMEOUT_MS)
        assert await page.evaluate("document.activeElement.id") == "title-room"  # where a screen reader reads on
        await leave_and_come_back(page)
        await platform.wait_for_incidents(session, {"TAB_HIDDEN", "CLIPBOARD"})
        stack.kill("gateway")
        await page.wait_for_selector("#connection[data-state=reconnecting]", timeout=PAGE_TIMEOUT_MS)
        stack.start("gateway")
        await page.wait_for_selector("#connection[data-state=live]", timeout=PAGE_TIMEOUT_MS)
        await platform.end(session)
        await page.wait_for_selector("main[data-stage=stopped][data-reason=ended]", timeout=PAGE_TIMEOUT_MS)


async def test_who_does_not_agree_is_told_whom_to_ask_and_nothing_was_sent(platform: Platform) -> None:
    session = await platform.start_session(candidate_id="unwilling", enroll_on_join=True)
    async with chromium(ALLOWED) as browser:
        page = await browser.new_page()
        posted: list[str] = []
        page.on("request", lambda request: posted.append(request.url) if request.method == "POST" else None)
        await page.goto(session["candidate_url"])
        await enter_room(page)
        assert "organisation that invited me" in await page.inner_text("#consent-text")
        await page.click("#decline")
        await page.wait_for_selector("main[data-stage=stopped][data-reason=declined]", timeout=PAGE_TIMEOUT_MS)
        assert "contact the organisation that invited you" in await page.inner_text("#stopped-text")
        assert await page.evaluate("document.getElementById('preview').srcObject") is None
        assert posted == []
        await page.click("#stopped-retry")  # who thinks again may go back
        await enter_room(page)
        assert not await page.is_checked("#consent")
    await platform.end(session)


async def test_who_withdraws_on_the_page_is_let_go_and_told_what_comes_now(platform: Platform) -> None:
    await platform.service.enrol("regrets", [weights_path(PEOPLE["A"].enrolled or "")], settings.CONSENT)
    session = await platform.start_session(candidate_id="regrets")
    async with chromium(ALLOWED) as browser:
        page = await browser.new_page()
        await page.goto(session["candidate_url"])
        await enter_room(page)
        await page.click("#start")
        await page.wait_for_selector("#connection[data-state=live]", timeout=PAGE_TIMEOUT_MS)
        await page.click("#withdrawal summary")
        assert "ends at once" in await page.inner_text("#withdrawal")
        await page.click("#withdraw")
        await page.wait_for_selector("main[data-stage=stopped][data-reason=withdrawn]", timeout=PAGE_TIMEOUT_MS)
        assert await page.evaluate("document.getElementById('preview').srcObject") is None
    assert await platform.state(session) == "ended"
    with pytest.raises(ServiceError, match="consent_missing"):
        await platform.start_session(candidate_id="regrets")


async def test_of_two_pages_on_one_session_the_older_gives_way(platform: Platform) -> None:
    await platform.service.enrol("A", [weights_path(PEOPLE["A"].enrolled or "")], settings.CONSENT)
    session = await platform.start_session(candidate_id="A")
    files = await asyncio.to_thread(material.browser_files, CALM)
    async with chromium(*film(*files)) as browser:
        pages = [await browser.new_page(), await browser.new_page()]
        for page in pages:
            await page.goto(session["candidate_url"])
            await enter_room(page)
            await page.click("#start")
            await page.wait_for_selector("#connection[data-state=live]", timeout=PAGE_TIMEOUT_MS)
        await pages[0].wait_for_selector("main[data-stage=stopped][data-reason=replaced]", timeout=PAGE_TIMEOUT_MS)
        assert await pages[1].get_attribute("#connection", "data-state") == "live"
        assert await platform.state(session) in {"live", "created"}  # the worker may not have heard of the media yet
        await platform.end(session)
        await pages[1].wait_for_selector("main[data-stage=stopped][data-reason=ended]", timeout=PAGE_TIMEOUT_MS)


async def test_who_refuses_the_camera_is_told_how_to_allow_it(platform: Platform) -> None:
    session = await platform.start_session(candidate_id="shy", enroll_on_join=True)
    async with chromium(DENIED) as browser:
        page = await browser.new_page()
        await page.goto(session["candidate_url"])
        await page.click("#allow", timeout=PAGE_TIMEOUT_MS)
        await page.wait_for_selector("#device-problem[data-reason=denied]", timeout=PAGE_TIMEOUT_MS)
        assert "address bar" in await page.inner_text("#device-problem")
    await platform.end(session)


async def test_a_link_with_a_wrong_token_opens_nothing(platform: Platform) -> None:
    session = await platform.start_session(candidate_id="lost", enroll_on_join=True)
    other = await platform.start_session(candidate_id="other", enroll_on_join=True)
    async with chromium() as browser:
        page = await browser.new_page()
        for fragment in ("#abc", f"#{other['join_token']}"):
            await page.goto("about:blank")
            await page.goto(session["candidate_url"].partition("#")[0] + fragment)
            await page.wait_for_selector("main[data-stage=stopped][data-reason=invalid]", timeout=PAGE_TIMEOUT_MS)
    await platform.end(session)
    await platform.end(other)


async def enter_room(page: Page) -> None:
    await page.click("#allow", timeout=PAGE_TIMEOUT_MS)
    await page.wait_for_selector("main[data-stage=room]", timeout=PAGE_TIMEOUT_MS)


HIDE = """(hidden) => {
  Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
  document.hasFocus = () => !hidden;
  dispatchEvent(new Event(hidden ? "blur" : "focus"));
  document.dispatchEvent(new Event("visibilitychange"));
}"""
"""As a browser with a screen does when another tab is chosen. One without never hides a page."""


async def leave_and_come_back(page: Page) -> None:
    """Copy something, look into another tab for two seconds, and come back."""
    await page.keyboard.press("Control+A")
    await page.keyboard.press("Control+C")
    await page.evaluate(HIDE, True)
    await asyncio.sleep(2)
    await page.evaluate(HIDE, False)


def closed_types(inbox: Inbox) -> set[str]:
    return {alert["event_type"] for _, alert in inbox.socket.values() if alert["metadata"]["phase"] == "closed"}


async def take_pictures(page: Page) -> None:
    """Enrol as a person does, who tries once more when the page says what is wrong with the pictures."""
    said: list[str] = []
    while len(said) < TRIES:
        await page.click("#take")
        await page.wait_for_selector("#ready:visible, #enrol-problem:visible", timeout=PAGE_TIMEOUT_MS)
        if await page.is_visible("#ready"):
            return
        said.append(await page.inner_text("#enrol-problem"))
    raise AssertionError(f"The page took no pictures: {said}")


async def eventually(condition: Callable[[], bool], *, timeout_s: float, what: Callable[[], str]) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, what()
        await asyncio.sleep(0.1)


def require_published_schema(inbox: Inbox) -> None:
    validator = Draft202012Validator(json.loads(SCHEMA.read_text()), format_checker=FormatChecker())
    for box in (inbox.socket, inbox.webhook):
        assert len(box) >= 2 * len(JOURNEY.expected)
        for _, alert in box.values():
            validator.validate(alert)
    assert {key: alert for key, (_, alert) in inbox.socket.items()} == {
        key: alert for key, (_, alert) in inbox.webhook.items() if key in inbox.socket
    }


def require_script(inbox: Inbox, session_id: str, camera_at: float) -> None:
    """Require the film's incidents and no others, at about the times at which the film shows them."""
    found = incidents(inbox, started_at=camera_at, session_id=session_id)
    assert [each.event_type for each in found] == [each.event_type for each in JOURNEY.expected]
    for each, expected in zip(found, JOURNEY.expected, strict=True):
        assert each.end_s is not None
        assert expected.opens_s[0] - CAMERA_S <= each.onset_s <= expected.opens_s[1] + CAMERA_S, (each, expected)
        assert expected.closes_s[0] - CAMERA_S <= each.end_s <= expected.closes_s[1] + CAMERA_S, (each, expected)
