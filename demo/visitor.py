"""The visitor's own exam: a candidate page for the webcam at hand, and its alerts as lines on the screen."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

import aiohttp

from demo import settings
from demo.inbox import Alert, Inbox, listening
from demo.service import Service, ServiceError


@dataclass(slots=True)
class VisitorExam:
    """Sessions one after the other, each with a link of its own. ``say`` prints a line."""

    service: Service
    http: aiohttp.ClientSession
    say: Callable[[str], None]

    async def run(self) -> None:
        """Offer a link, follow its session, and offer a new one when it has ended; until cancelled."""
        while True:
            session = await self._start()
            self.say(f"  you, by your own webcam   {session['candidate_url']}")
            try:
                await self._follow(session)
            except asyncio.CancelledError:
                with suppress(ServiceError):  # the web process may have stopped before us; the sweep ends it then
                    await self.service.call("POST", f"/api/v1/session/{session['id']}/end")
                raise
            self.say("That session has ended. Here is a new link:")

    async def _follow(self, session: dict[str, str]) -> None:
        inbox = Inbox(on_alert=self._tell)
        async with listening(inbox, http=self.http, ws_url=session["ws_url"], token=self.service.api_key):
            await inbox.ended.wait()

    async def _start(self) -> dict[str, str]:
        body = {
            "candidate_id": f"visitor-{secrets.token_hex(3)}",
            "exam_id": settings.VISITOR_EXAM_ID,
            "enroll_on_join": True,
        }
        return await self.service.call("POST", "/api/v1/session/start", json=body)

    def _tell(self, _transport: str, alert: Alert) -> None:
        at = datetime.now().astimezone()
        self.say(f"  {at:%H:%M:%S}  alert: {alert['event_type']} {alert['metadata']['phase']}")
