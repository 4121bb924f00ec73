"""The movements that a challenge at check-in may ask for, and how large each must be to count as done.

Sides are the candidate's own; the picture is unmirrored, so their left is its right and ``yaw_deg > 0``.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from detection.engine.observations import Observation

CHALLENGE: Final = "challenge"
"""Key of what the learner of that name derives."""


class Prompt(enum.StrEnum):
    """One movement."""

    TURN_LEFT = "turn_left"
    TURN_RIGHT = "turn_right"
    LOOK_UP = "look_up"
    COME_CLOSER = "come_closer"
    OPEN_MOUTH = "open_mouth"


TURNS: Final = frozenset({Prompt.TURN_LEFT, Prompt.TURN_RIGHT})
"""Those that show depth: the nose moves before the ears. Every challenge has one."""

TURN_DEG: Final = 18.0
"""Off the rest. Six photographs, flat, turned by up to 50 degrees, are measured to have turned by up to 15; drawn with
depth and turned by 30, by 22 and more. Who looks at the edge of a laptop's screen turns the head by 8."""
UP_DEG: Final = 10.0
"""Heads go up less far than aside. The same photographs, flat and tilted by up to 50 degrees, are measured at up to 7;
with depth and lifted by 22, at 13 and more."""
CLOSER: Final = 1.15
"""Times the face's width before: from 60 cm to 52."""
MOUTH_OPEN: Final = 0.25
"""Gap between the lips over the mouth's width, above the rest: vowels reach 0.2."""


@dataclass(frozen=True, slots=True)
class Posture:
    """What of a face the movements are read from: angles in degrees, ``width_px``, ``mouth`` as in ``MouthMeasure``."""

    yaw_deg: float
    pitch_deg: float
    width_px: float
    mouth: float

    def to_list(self) -> list[float]:
        """Return the JSON-able form, rounded."""
        return [
            round(self.yaw_deg, 1),
            round(self.pitch_deg, 1),
            round(self.width_px, 1),
            round(self.mouth, 3),
        ]

    @classmethod
    def from_list(cls, values: list[float]) -> Self:
        """Build from ``to_list``'s result."""
        return cls(*values)


def share_of(prompt: Prompt, posture: Posture, rest: Posture) -> float:
    """Return how much of a movement is done: 0 at rest, 1 and more where it counts; below 0 to the other side."""
    if prompt is Prompt.TURN_LEFT:
        return (posture.yaw_deg - rest.yaw_deg) / TURN_DEG
    if prompt is Prompt.TURN_RIGHT:
        return (rest.yaw_deg - posture.yaw_deg) / TURN_DEG
    if prompt is Prompt.LOOK_UP:
        return (posture.pitch_deg - rest.pitch_deg) / UP_DEG
    if prompt is Prompt.COME_CLOSER:
        return (posture.width_px / max(rest.width_px, 1.0) - 1) / (CLOSER - 1)
    return (posture.mouth - rest.mouth) / MOUTH_OPEN


def is_asked(observation: Observation) -> bool:
    """Return whether the candidate is asked to move: such frames say nothing about how they usually sit and look."""
    derived = observation.measures.get(CHALLENGE)
    return isinstance(derived, Mapping) and bool(derived.get("asked"))
