"""Compares what the script wanted with what was found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from demo.inbox import Inbox
from demo.script import Expected, Script


@dataclass(slots=True)
class Found:
    """An incident as its alerts tell of it. Times are seconds of the clip."""

    incident_id: str
    event_type: str
    onset_s: float
    end_s: float | None = None
    alerts: dict[str, str] = field(default_factory=dict)
    """Event id by phase."""
    delay_s: float | None = None
    """From the moment the rule's hold time was over to the opening alert at the socket."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table: what was wanted, what was found, and what is wrong with it (empty: nothing)."""

    expected: Expected | None
    found: Found | None
    by_webhook: bool
    wrong: str


@dataclass(frozen=True, slots=True)
class Verdict:
    lines: list[Line]

    @property
    def passed(self) -> bool:
        """Everything scripted was found in its window by both transports, and nothing else was found."""
        return all(not line.wrong for line in self.lines)


def incidents(inbox: Inbox, *, started_at: float, session_id: str) -> list[Found]:
    """Gather the session's incidents out of the socket's alerts, by onset. ``started_at``: Unix time of second zero."""
    found: dict[str, Found] = {}
    for arrived_at, alert in inbox.socket.values():
        if alert["exam_session_id"] != session_id:
            continue
        metadata: Mapping[str, Any] = alert["metadata"]
        onset_s = _unix(alert["timestamp"]) - started_at
        each = found.setdefault(metadata["incident_id"], Found(metadata["incident_id"], alert["event_type"], onset_s))
        each.alerts[metadata["phase"]] = alert["event_id"]
        if metadata["phase"] == "opened":
            each.delay_s = arrived_at - _unix(metadata["decided_at"])
        if metadata["ended_at"] is not None:
            each.end_s = _unix(metadata["ended_at"]) - started_at
    return sorted(found.values(), key=lambda each: each.onset_s)


def judge(script: Script, inbox: Inbox, *, started_at: float, session_id: str) -> Verdict:
    """Match each expected incident with the earliest found one of its type that lies in its window."""
    left = incidents(inbox, started_at=started_at, session_id=session_id)
    lines = []
    for expected in script.expected:
        found = _take_match(expected, left)
        by_webhook = found is not None and set(found.alerts.values()) <= inbox.webhook.keys()
        lines.append(Line(expected, found, by_webhook, _wrong(found, by_webhook=by_webhook)))
    for found in left:
        by_webhook = set(found.alerts.values()) <= inbox.webhook.keys()
        lines.append(Line(None, found, by_webhook, "not scripted, or outside its window"))
    return Verdict(lines)


def _take_match(expected: Expected, left: list[Found]) -> Found | None:
    for index, found in enumerate(left):
        if found.event_type == expected.event_type and _within(found, expected):
            return left.pop(index)
    return None


def _within(found: Found, expected: Expected) -> bool:
    if found.end_s is None:
        return False
    opens, closes = expected.opens_s, expected.closes_s
    return opens[0] <= found.onset_s <= opens[1] and closes[0] <= found.end_s <= closes[1]


def _wrong(found: Found | None, *, by_webhook: bool) -> str:
    if found is None:
        return "not found in its window"
    missing = [phase for phase in ("opened", "closed") if phase not in found.alerts]
    if missing:
        return f"no alert told that it {missing[0]}"
    return "" if by_webhook else "the webhook did not bring it"


def _unix(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def delays_ms(lines: Iterable[Line]) -> list[float]:
    """Return the alert delays beyond the hold time that are known, in milliseconds."""
    return [line.found.delay_s * 1000 for line in lines if line.found and line.found.delay_s is not None]
