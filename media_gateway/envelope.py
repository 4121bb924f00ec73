"""Write a Celery task message as kombu's Redis transport does, so that it can be sent together with what it names.

``Celery.send_task`` would need a thread of its own and a round trip per message, at twice the processor time; and bytes
and message could not arrive in one transaction. The form is Celery's message protocol 2 in kombu's Redis envelope; a
test has a real Celery consumer read it.
"""

from __future__ import annotations

import base64
import json
import uuid
from typing import Any

_EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


def task_message(task: str, kwargs: dict[str, Any], *, queue: str, origin: str) -> bytes:
    """Return what is pushed to the Redis list ``queue`` to have ``task`` run with ``kwargs``, its result ignored."""
    task_id = str(uuid.uuid4())
    body = json.dumps([[], kwargs, _EMBED]).encode()
    return json.dumps(
        {
            "body": base64.b64encode(body).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {
                "lang": "py",
                "task": task,
                "id": task_id,
                "root_id": task_id,
                "parent_id": None,
                "group": None,
                "shadow": None,
                "eta": None,
                "expires": None,
                "retries": 0,
                "timelimit": [None, None],
                "argsrepr": "()",
                "kwargsrepr": "{}",
                "origin": origin,
                "ignore_result": True,
            },
            "properties": {
                "correlation_id": task_id,
                "reply_to": "",
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": queue},
                "priority": 0,
                "body_encoding": "base64",
                "delivery_tag": str(uuid.uuid4()),
            },
        }
    ).encode()
