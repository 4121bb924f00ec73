"""What a candidate's page tells of itself, as the rules read it."""

from __future__ import annotations

from typing import Any

from detection.engine.observations import BROWSER, Observation
from detection.messages import BrowserEvent, BrowserMessage


def browser_observations(message: BrowserMessage) -> list[Observation]:
    """Turn what a page told into observations, one per event."""
    return [Observation(event.event_id, BROWSER, event.at, {BROWSER: _measure(event)}) for event in message.events]


def _measure(event: BrowserEvent) -> dict[str, Any]:
    told: dict[str, Any] = {"kind": event.kind, "ended": event.ended}
    return told | ({"action": event.action} if event.action else {}) | event.details
