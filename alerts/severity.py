"""How serious an incident is: the policy's weight, scaled by how clearly the rule's threshold was passed."""

from __future__ import annotations

from detection.engine.policy import SCALES, EventType

GRADED = frozenset({EventType.FACE_MISMATCH, EventType.SPEECH_DETECTED, EventType.PRESENTATION_ATTACK})
"""Events whose measure has degrees. A face is there or not, a connection up or not, a second person one too many."""


def excess(event_type: str, *, peak_value: float, enter: float) -> float:
    """Return how far a measure went beyond its threshold on the way to its limit, from 0 (just) to 1 (all the way)."""
    if event_type not in GRADED:
        return 1.0
    scale = SCALES[EventType(event_type)]
    limit = scale.low if scale.below else scale.high
    if limit == enter:
        return 1.0
    return min(1.0, max(0.0, (peak_value - enter) / (limit - enter)))


def severity(weight: float, excess: float) -> float:
    """Return ``weight x (1/2 + 1/2 x excess)``, 0 to 1, to three decimals. The weight is the rule's ``severity``."""
    return round(min(1.0, max(0.0, weight)) * (0.5 + 0.5 * excess), 3)
