"""Stages the scripted exam: enrols A, publishes the clip in real time, and gathers what the product says of it."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiohttp

from demo import material, settings
from demo.inbox import Alert, Inbox, listening
from demo.people import PEOPLE
from demo.publisher import WhipPublisher, load_clip
from demo.report import clock
from demo.script import Script
from demo.service import Service, ServiceError
from demo.verdict import Verdict, judge
from detection.engine.weights import weights_path

CLOSE_TIMEOUT_S = 15.0


@dataclass(slots=True)
class ScriptedExam:
    """One run of a script against the running product. ``say`` prints a line."""

    script: Script
    service: Service
    http: aiohttp.ClientSession
    inbox: Inbox
    say: Callable[[str], None]
    session_id: str = ""
    started_at: float = 0.0

    async def run(self) -> Verdict:
        """Sit the exam from enrolment to the last closing alert; return the verdict."""
        clip = load_clip(await asyncio.to_thread(material.clip, self.script))
        photograph = weights_path(PEOPLE["A"].enrolled or "")
        await self.service.enrol(settings.CANDIDATE_ID, [photograph], settings.CONSENT)
        self.say("A is enrolled, with a photograph that is not the one in the clip.")
        session = await self._start()
        self.session_id = session["session_id"]
        token = self.service.api_key
        async with listening(self.inbox, http=self.http, ws_url=session["ws_url"], token=token):
            publisher = WhipPublisher(session["whip_url"], session["join_token"], clip, loop=True)
            async with publisher:
                self.started_at = publisher.started_at
                await self._play(publisher)
                await self.service.call("POST", f"/api/v1/session/{self.session_id}/end", json={})
            await self._wait_until_closed()
        return judge(self.script, self.inbox, started_at=self.started_at, session_id=self.session_id)

    async def _start(self) -> dict[str, Any]:
        body = {
            "candidate_id": settings.CANDIDATE_ID,
            "exam_id": settings.EXAM_ID,
            "session_id": f"demo-{secrets.token_hex(4)}",
        }
        session = await self.service.call("POST", "/api/v1/session/start", json=body)
        policy = session["policy"]
        self.say(
            f"Session {session['session_id']} runs under the policy {policy['name']}, version {policy['version']}."
        )
        return session

    async def _play(self, publisher: WhipPublisher) -> None:
        for at_s, what in self.script.cues():
            await publisher.play_until(at_s)
            self.say(f"{clock(at_s)}  {what}")
        await publisher.play_until(self.script.duration_s)

    async def _wait_until_closed(self) -> None:
        """Wait until the session is closed and each alert has come by both transports, or the time for it is over."""
        deadline = time.monotonic() + CLOSE_TIMEOUT_S
        while time.monotonic() < deadline:
            session = await self.service.call("GET", f"/api/v1/session/{self.session_id}")
            if session["closed_at"] is not None and self._all_told():
                return
            await asyncio.sleep(0.25)
        if session["closed_at"] is None:
            raise ServiceError(f"Session {self.session_id} was not closed within {CLOSE_TIMEOUT_S:.0f} s of its end")

    def _all_told(self) -> bool:
        """Return whether every opened incident has closed, and the webhook has brought what the socket brought."""
        phases: dict[str, set[str]] = {}
        for _, alert in self.inbox.socket.values():
            phases.setdefault(alert["metadata"]["incident_id"], set()).add(alert["metadata"]["phase"])
        closed = all("closed" in seen for seen in phases.values())
        return closed and self.inbox.socket.keys() <= self.inbox.webhook.keys()

    def tell(self, transport: str, alert: Alert) -> None:
        """Print an alert of the scripted session as it comes by the socket."""
        if transport == "socket" and alert["exam_session_id"] == self.session_id:
            at = clock(time.time() - self.started_at)
            self.say(f"{at}  alert: {alert['event_type']} {alert['metadata']['phase']}")
