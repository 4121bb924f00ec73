"""Where the demo finds the service, and under which policy it is examined."""

from __future__ import annotations

import os
from typing import Any

from detection.engine.policy import EventType

LEFT_OUT = (
    "PRESENTATION_ATTACK",
    "GAZE_OFF_SCREEN",
    "HEAD_TURNED",
    "LIPS_MOVING",
    "SPEECH_OFF_CAMERA",
    "CAMERA_STATIC",
)
"""What photographs that move and a voice from nowhere would rightly trigger, in so far as this version knows it."""

POLICY = "Demo"
"""The scripted exam's own policy, by name."""
EXAM_ID = "demo"
VISITOR_EXAM_ID = "webcam"
"""The visitor is no photograph, and is watched under the default policy."""
CANDIDATE_ID = "A"
CONSENT = {"version": "demo", "given_at": "2026-01-01T00:00:00Z", "locale": "en"}


def public_url() -> str:
    """Return the address of the web process."""
    return os.environ.get("PUBLIC_URL", f"http://localhost:{os.environ.get('WEB_PORT', '8000')}").rstrip("/")


def metrics_url() -> str:
    """Return the address of the metrics server."""
    return f"http://localhost:{os.environ.get('METRICS_PORT', '9090')}/metrics"


def left_out() -> list[str]:
    """Return the event types of this version that the demo's policy switches off."""
    known = {event.value for event in EventType}
    return [name for name in LEFT_OUT if name in known]


def policy_overrides() -> dict[str, Any]:
    """Return what the demo's policy changes in the default one: rules off, thresholds and times as they are."""
    return {"rules": {name: {"enabled": False} for name in left_out()}}
