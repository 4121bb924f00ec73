"""The check-in in a real browser: a candidate who answers, one who does not, and one who leaves it out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import cv2
import numpy as np
import pytest
from playwright.async_api import Page

from demo import material, settings
from demo.people import PEOPLE, read_photograph
from demo.script import CALM
from demo.service import Service
from detection.engine.challenge import Prompt
from detection.engine.pipeline import Pipeline
from detection.engine.weights import weights_path
from tests.browser import chromium, film
from tests.puppet import Puppet
from tests.stack import Stack

pytestmark = pytest.mark.browser

PAGE_TIMEOUT_MS = 30_000
FILM_TIMEOUT_MS = 90_000  # a busy machine plays it slowly
FPS = 30  # Chromium's for MJPEG
CALM_S, MOVE_S, REST_S, STEPS = 6.0, 1.6, 0.4, 8
MARK = 32


@dataclass(slots=True)
class Platform:
    service: Service

    async def start_session(self, **policy: Any) -> dict[str, Any]:
        body = {"candidate_id": "A", "policy": policy}
        return await self.service.call("POST", "/api/v1/session/start", json=body)

    async def read(self, session: dict[str, Any]) -> dict[str, Any]:
        return await self.service.call("GET", f"/api/v1/session/{session['session_id']}")

    async def wait_for(self, session: dict[str, Any], *event_types: str) -> None:
        """Wait until there are incidents of these types."""
        deadline = time.monotonic() + 20
        while True:
            found = {each["event_type"] for each in (await self.read(session))["incidents"]}
            if found.issuperset(event_types):
                return
            assert time.monotonic() < deadline, found
            await asyncio.sleep(0.3)


@pytest.fixture
async def platform(stack: Stack) -> AsyncIterator[Platform]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http:
        service = Service(http, stack.url, await asyncio.to_thread(stack.api_key))
        await service.enrol("A", [weights_path(PEOPLE["A"].enrolled or "")], settings.CONSENT)
        yield Platform(service)


@pytest.fixture(scope="module")
def mover(tmp_path_factory: pytest.TempPathFactory, weights_dir: Path) -> Path:
    """Return a film, to be looped, in which A makes every movement there is, one after the other."""
    photograph = read_photograph(PEOPLE["A"].filmed)
    scale = 480 / photograph.shape[0]
    puppet = Puppet(np.asarray(cv2.resize(photograph, None, fx=scale, fy=scale), np.uint8), Pipeline.load())
    path = tmp_path_factory.mktemp("mover") / "mover.mjpeg"
    with path.open("wb") as file:
        file.write(_jpeg(puppet.pose(None), marked=True) * round(CALM_S * FPS))
        rest = _jpeg(puppet.pose(None)) * round(REST_S * FPS)
        for prompt in Prompt:
            ramp = [_jpeg(puppet.pose(prompt, k / STEPS)) for k in range(1, STEPS)]
            file.write(b"".join([*ramp, _jpeg(puppet.pose(prompt)) * round(MOVE_S * FPS), *ramp[::-1], rest]))
    return path


def _jpeg(image: np.ndarray[Any, np.dtype[np.uint8]], *, marked: bool = False) -> bytes:
    """Put a picture into the middle of a webcam's frame; ``marked``: with a bright corner, for the test to see."""
    frame = np.full((480, 640, 3), 120, np.uint8)
    left = (640 - image.shape[1]) // 2
    frame[:, left : left + image.shape[1]] = image[:480]
    frame[:MARK, :MARK] = 255 if marked else 0
    return cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()


WATCH = """async () => {
  window.film = document.createElement("video");  // Chromium lets the preview rest while it is scrolled out of sight
  window.film.muted = true;
  window.film.srcObject = document.getElementById("preview").srcObject;
  await window.film.play();
}"""
BRIGHT_CORNER = """(size) => {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [1, 1];
  const context = canvas.getContext("2d");
  context.drawImage(window.film, 0, 0, size, size, 0, 0, 1, 1);
  return context.getImageData(0, 0, 1, 1).data[0] > 128;
}"""


async def wait_for_calm(page: Page) -> None:
    """Wait until the film's calm part begins: who is about to begin a check sits still."""
    await page.evaluate(WATCH)
    await page.wait_for_function(f"(size) => !({BRIGHT_CORNER})(size)", arg=MARK, polling=200, timeout=FILM_TIMEOUT_MS)
    await page.wait_for_function(BRIGHT_CORNER, arg=MARK, polling=200, timeout=FILM_TIMEOUT_MS)


@pytest.fixture(scope="module")
def silence() -> Path:
    return material.browser_files(CALM)[1]


async def begin(page: Page, session: dict[str, Any]) -> None:
    """Go to where the check-in is offered."""
    await page.goto(session["candidate_url"])
    await page.click("#allow", timeout=PAGE_TIMEOUT_MS)
    await page.click("#start", timeout=PAGE_TIMEOUT_MS)
    await page.wait_for_selector("#connection[data-state=live]", timeout=PAGE_TIMEOUT_MS)
    await page.wait_for_selector("#check-in[data-step=offer]", timeout=PAGE_TIMEOUT_MS)


async def reached(page: Page, *stages: str, timeout_s: float = 80) -> str:
    """Wait until the check-in is at one of these stages; return which."""
    wanted = ", ".join(f"#check-in[data-step={stage}]" for stage in stages)
    found = await page.wait_for_selector(wanted, timeout=timeout_s * 1000)
    assert found is not None
    return str(await found.get_attribute("data-step"))


@pytest.mark.timeout(480)
async def test_who_makes_the_movements_passes_and_is_thanked(platform: Platform, mover: Path, silence: Path) -> None:
    session = await platform.start_session(
        check_in={"step_s": 60}, sampling={"frames_per_second": 4}, rules={"CHALLENGE_FAILED": {"enabled": True}}
    )
    async with chromium(*film(mover, silence)) as browser:
        page = await browser.new_page()
        await begin(page, session)
        await wait_for_calm(page)
        await page.click("#check-in-begin")
        assert await reached(page, "ready") == "ready"
        asked = []
        for number in (1, 2, 3):
            await reached(page, "step")
            assert await page.inner_text("#check-in-title") == f"Movement {number} of 3"
            asked.append(await page.inner_text("#check-in-ask"))
            answer = await reached(page, "seen", "next", "passed", "failed")
            assert answer == ("seen" if number < 3 else "passed"), (asked, await platform.read(session))
        assert len(set(asked)) == 3
        assert any("Turn your head" in each for each in asked)
        await page.click("#check-in-skip")
        assert await page.evaluate("document.activeElement.id") == "title-room"
        assert not await page.is_visible("#check-in")
        assert await page.get_attribute("#connection", "data-state") == "live"
        found = await platform.read(session)
        await page.reload()
        await page.click("#allow", timeout=PAGE_TIMEOUT_MS)
        await page.click("#start", timeout=PAGE_TIMEOUT_MS)
        await page.wait_for_selector("#connection[data-state=live]", timeout=PAGE_TIMEOUT_MS)
        assert not await page.is_visible("#check-in")  # who has passed is not asked again
    assert found["check_in"]["outcome"] == "passed"
    (only,) = found["check_in"]["tries"]
    assert [step["result"] for step in only["steps"]] == ["done"] * 3
    assert all(step["shown_at"] < step["done_at"] for step in only["steps"])
    assert {"CHALLENGE_FAILED", "HEAD_TURNED"}.isdisjoint(each["event_type"] for each in found["incidents"])


@pytest.mark.timeout(240)
async def test_who_makes_no_movement_is_not_held_up_and_a_person_hears_of_it(platform: Platform) -> None:
    session = await platform.start_session(
        check_in={"step_s": 3, "steps": 2},
        rules={"CHALLENGE_FAILED": {"enabled": True}, "VIRTUAL_CAMERA": {"enter": 0.5, "exit": 0.5}},
    )
    files = await asyncio.to_thread(material.browser_files, CALM)
    async with chromium(*film(*files)) as browser:
        page = await browser.new_page()
        await begin(page, session)
        await page.click("#check-in-begin")
        assert await reached(page, "next") == "next"
        assert await reached(page, "failed", timeout_s=60) == "failed"
        assert "does not stop your exam" in await page.inner_text("#check-in-text")
        assert await page.is_visible("#check-in-begin")  # once more, if they like
        await page.click("#check-in-skip")
        assert await page.get_attribute("#connection", "data-state") == "live"
        await platform.wait_for(session, "CHALLENGE_FAILED", "VIRTUAL_CAMERA")
        found = await platform.read(session)
    assert found["check_in"]["outcome"] == "failed"
    assert [step["result"] for step in found["check_in"]["tries"][0]["steps"]] == ["missed"] * 2


async def test_who_leaves_it_out_goes_on(platform: Platform) -> None:
    session = await platform.start_session()
    files = await asyncio.to_thread(material.browser_files, CALM)
    async with chromium(*film(*files)) as browser:
        page = await browser.new_page()
        await begin(page, session)
        await page.focus("#check-in-skip")
        await page.keyboard.press("Enter")
        assert not await page.is_visible("#check-in")
        assert await page.get_attribute("#connection", "data-state") == "live"
        found = await platform.read(session)
    assert found["check_in"] == {"outcome": "not_done", "tries": []}


async def test_an_accommodation_leaves_it_out_for_whom_it_is_not(platform: Platform) -> None:
    body = {"candidate_id": "A", "accommodations": {"check_in": {"enabled": False}}}
    session = await platform.service.call("POST", "/api/v1/session/start", json=body)
    files = await asyncio.to_thread(material.browser_files, CALM)
    async with chromium(*film(*files)) as browser:
        page = await browser.new_page()
        await page.goto(session["candidate_url"])
        await page.click("#allow", timeout=PAGE_TIMEOUT_MS)
        await page.click("#start", timeout=PAGE_TIMEOUT_MS)
        await page.wait_for_selector("#connection[data-state=live]", timeout=PAGE_TIMEOUT_MS)
        assert not await page.is_visible("#check-in")
        assert (await platform.read(session))["check_in"]["outcome"] == "off"
