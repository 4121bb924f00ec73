"""A real headless Chromium with a film for a camera and a recording for a microphone."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import BrowserContext, async_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--allow-loopback-in-peer-connection",
    "--use-fake-device-for-media-stream",
)
ALLOWED = "--use-fake-ui-for-media-stream"
DENIED = "--deny-permission-prompts"


def chromium_path() -> str:
    """Return the browser's path. Without one the test is skipped, but where ``CI`` is set it fails."""
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        reason = "This test drives a real browser and found none: install Chromium (Debian: apt install chromium)."
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return path


@asynccontextmanager
async def chromium(*flags: str) -> AsyncIterator[BrowserContext]:
    """Run Chromium with a fresh profile while the block runs."""
    path = chromium_path()
    with tempfile.TemporaryDirectory(prefix="sd-proctor-chromium-", ignore_cleanup_errors=True) as profile:
        async with async_playwright() as playwright:
            context = await playwright.chromium.launch_persistent_context(
                profile, executable_path=path, headless=True, args=[*FLAGS, *flags]
            )
            try:
                yield context
            finally:
                await context.close()


def film(video: Path, sound: Path) -> tuple[str, ...]:
    """Return the flags that play files as camera (over and over) and microphone (once)."""
    return (
        ALLOWED,
        f"--use-file-for-fake-video-capture={video}",
        f"--use-file-for-fake-audio-capture={sound}%noloop",
    )
