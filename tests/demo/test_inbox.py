"""The demo's webhook receiver believes only what is signed."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import aiohttp
from standardwebhooks import Webhook

from demo.inbox import Inbox, Receiver, webhook_receiver

BODY = json.dumps({"event_id": "8d1f", "exam_session_id": "s", "event_type": "NO_FACE", "metadata": {}})


async def send(receiver: Receiver, *, secret: str, body: str = BODY) -> int:
    now = datetime.now(UTC)
    signature = Webhook(secret).sign("msg_1", now, BODY)
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": signature,
        "content-type": "application/json",
    }
    async with aiohttp.ClientSession() as http, http.post(receiver.url, data=body, headers=headers) as response:
        return response.status


async def test_a_signed_alert_is_taken_once() -> None:
    inbox = Inbox()
    async with webhook_receiver(inbox) as receiver:
        assert await send(receiver, secret=receiver.secret) == 204
        assert await send(receiver, secret=receiver.secret) == 204
    assert [alert["event_type"] for _, alert in inbox.webhook.values()] == ["NO_FACE"]
    assert inbox.refused == 0


async def test_a_wrong_signature_or_a_changed_body_is_refused() -> None:
    inbox = Inbox()
    async with webhook_receiver(inbox) as receiver:
        other = "whsec_" + "A" * 32
        assert await send(receiver, secret=other) == 401
        assert await send(receiver, secret=receiver.secret, body=BODY.replace("NO_FACE", "NO_FAKE")) == 401
    assert inbox.webhook == {}
    assert inbox.refused == 2
