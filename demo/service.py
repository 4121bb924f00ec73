"""The product's REST interface, as an exam platform would use it."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

HEALTH_TIMEOUT_S = 120.0


class ServiceError(RuntimeError):
    """The service answered with a problem, or not at all."""


@dataclass(slots=True)
class Service:
    """A client with an API key. ``http`` is shared and closed by the caller."""

    http: aiohttp.ClientSession
    base_url: str
    api_key: str

    async def enrol(self, candidate_id: str, photographs: list[Path], consent: dict[str, Any]) -> dict[str, Any]:
        """Enrol a candidate with photographs as they are."""
        form = aiohttp.FormData()
        form.add_field("candidate_id", candidate_id)
        form.add_field("consent", json.dumps(consent), content_type="application/json")
        for path in photographs:
            form.add_field("images", path.read_bytes(), filename=path.name, content_type="image/jpeg")
        return await self.call("POST", "/api/v1/enroll", data=form)

    async def call(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        """Send a request; return the JSON answer or raise ``ServiceError`` with the problem's words."""
        headers = {"Authorization": f"Bearer {self.api_key}"}
        try:
            async with self.http.request(method, self.base_url + path, headers=headers, **request) as response:
                text = await response.text()
        except aiohttp.ClientError as error:
            raise ServiceError(f"{method} {path}: {error}") from error
        if not response.ok:
            raise ServiceError(f"{method} {path} answered {response.status}: {text[:500]}")
        answer: dict[str, Any] = json.loads(text) if text else {}
        return answer


async def wait_until_healthy(http: aiohttp.ClientSession, base_url: str) -> dict[str, Any]:
    """Wait until every part says it is well; return the health document, or raise with the parts that do not.

    The parts are asked only when the web process answers at all, and then once a second.
    """
    deadline = time.monotonic() + HEALTH_TIMEOUT_S
    await _until_well(http, base_url, "live", every_s=0.3, deadline=deadline)
    return await _until_well(http, base_url, "health", every_s=1.0, deadline=deadline)


async def _until_well(
    http: aiohttp.ClientSession, base_url: str, path: str, *, every_s: float, deadline: float
) -> dict[str, Any]:
    while True:
        answer, ill = await _ask(http, f"{base_url}/.well-known/{path}")
        if not ill:
            return answer
        if time.monotonic() > deadline:
            raise ServiceError(f"{base_url} is not well after {HEALTH_TIMEOUT_S:.0f} s: {ill}")
        await asyncio.sleep(every_s)


async def _ask(http: aiohttp.ClientSession, url: str) -> tuple[dict[str, Any], str]:
    """Return what ``url`` answers, and what is ill: nothing when all is well."""
    try:
        async with http.get(url) as response:
            answer: dict[str, Any] = await response.json(content_type=None)
    except (aiohttp.ClientError, TimeoutError, json.JSONDecodeError) as error:
        return {}, str(error) or type(error).__name__
    if response.ok:
        return answer, ""
    down = {name: part for name, part in answer.get("parts", {}).items() if part["status"] == "down"}
    return answer, str(down or f"{url} answered {response.status}")
