"""The policy document: which rules run, with which thresholds, times and weights, as plain data.

A policy is stored as JSON, edited by people and overridden per session, so ``Policy.from_dict`` checks every field and
says what is wrong with it by path (``rules.NO_FACE.hold_s: must be a number from 0 to 600``).
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


class PolicyError(ValueError):
    """A policy document that cannot be used. ``errors`` maps the path of each bad field to what is wrong with it."""

    def __init__(self, errors: dict[str, str]) -> None:
        super().__init__("; ".join(f"{path}: {message}" for path, message in errors.items()))
        self.errors = errors


class EventType(enum.StrEnum):
    """What an incident can be about."""

    NO_FACE = "NO_FACE"
    MULTIPLE_PERSONS = "MULTIPLE_PERSONS"
    FACE_MISMATCH = "FACE_MISMATCH"
    SPEECH_DETECTED = "SPEECH_DETECTED"
    CONNECTION_LOST = "CONNECTION_LOST"
    CAMERA_LOST = "CAMERA_LOST"
    MICROPHONE_SILENT = "MICROPHONE_SILENT"


TECHNICAL_EVENTS = frozenset({EventType.CONNECTION_LOST, EventType.CAMERA_LOST, EventType.MICROPHONE_SILENT})
"""About connection and equipment: never part of a behaviour score."""


@dataclass(frozen=True, slots=True)
class RulePolicy:
    """When one kind of incident opens and closes.

    The measure must reach ``enter`` and stay beyond ``exit`` for ``hold_s`` before an incident opens, and stay on the
    calm side of ``exit`` for ``release_s`` before it closes. Which side is beyond depends on the event type, see
    ``detection.engine.rules``. After closing, nothing of the kind opens for ``cooldown_s``.
    """

    enabled: bool
    enter: float
    exit: float
    hold_s: float
    release_s: float
    cooldown_s: float
    severity: float


@dataclass(frozen=True, slots=True)
class Sampling:
    """What the gateway takes from the media."""

    frames_per_second: float = 2.0
    audio_window_s: float = 1.0


@dataclass(frozen=True, slots=True)
class Identity:
    """When the face is compared with the template; a doubt makes the worker compare every frame."""

    interval_s: float = 5.0
    min_face_px: float = 60.0
    """Narrower faces are not compared: a blurred, small or dark probe never accuses."""


# Sources of the defaults: docs/events.md.
DEFAULT_RULES: Mapping[EventType, RulePolicy] = {
    EventType.NO_FACE: RulePolicy(True, enter=1.0, exit=1.0, hold_s=3.0, release_s=1.5, cooldown_s=0.0, severity=0.6),
    EventType.MULTIPLE_PERSONS: RulePolicy(
        True, enter=2.0, exit=2.0, hold_s=1.5, release_s=2.0, cooldown_s=0.0, severity=0.8
    ),
    EventType.FACE_MISMATCH: RulePolicy(
        True, enter=0.75, exit=0.75, hold_s=2.0, release_s=2.0, cooldown_s=0.0, severity=0.9
    ),
    EventType.SPEECH_DETECTED: RulePolicy(
        True, enter=0.5, exit=0.35, hold_s=1.0, release_s=2.0, cooldown_s=0.0, severity=0.4
    ),
    EventType.CONNECTION_LOST: RulePolicy(
        True, enter=1.0, exit=1.0, hold_s=2.0, release_s=0.0, cooldown_s=0.0, severity=0.3
    ),
    EventType.CAMERA_LOST: RulePolicy(
        True, enter=1.0, exit=1.0, hold_s=2.0, release_s=0.0, cooldown_s=0.0, severity=0.3
    ),
    EventType.MICROPHONE_SILENT: RulePolicy(
        True, enter=-80.0, exit=-75.0, hold_s=10.0, release_s=1.0, cooldown_s=0.0, severity=0.2
    ),
}


@dataclass(frozen=True, slots=True)
class Policy:
    """A whole, checked policy."""

    rules: Mapping[EventType, RulePolicy] = field(default_factory=lambda: dict(DEFAULT_RULES))
    sampling: Sampling = field(default_factory=Sampling)
    identity: Identity = field(default_factory=Identity)
    lateness_s: float = 0.5
    """How far behind the newest sample the rules follow, so that what arrives out of order still counts."""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-able document that ``from_dict`` reads."""
        return {
            "rules": {event.value: dataclasses.asdict(rule) for event, rule in self.rules.items()},
            "sampling": dataclasses.asdict(self.sampling),
            "identity": dataclasses.asdict(self.identity),
            "lateness_s": self.lateness_s,
        }


DEFAULT_POLICY = Policy()
