"""How serious an incident is: the policy's weight, scaled by how clearly the rule's threshold was passed."""

from __future__ import annotations

from detection.engine.policy import EventType, RulePolicy

LIMITS: dict[EventType, float] = {
    EventType.FACE_MISMATCH: 0.0,  # a similarity of 0
    EventType.SPEECH_DETECTED: 1.0,  # speech all the time
}
"""The most extreme value of a measure that has degrees; where ``enter`` is at the limit, passing it is all there is.

What is not listed (a face is there or not, a connection is up or not, two people are two too many) has no degrees.
"""


def excess(event_type: str, *, peak_value: float, enter: float) -> float:
    """Return how far a measure went beyond its threshold on the way to its limit, from 0 (just) to 1 (all the way)."""
    limit = LIMITS.get(EventType(event_type)) if event_type in EventType else None
    if limit is None or limit == enter:
        return 1.0
    return min(1.0, max(0.0, (peak_value - enter) / (limit - enter)))


def severity(event_type: str, *, peak_value: float, rule: RulePolicy) -> float:
    """Return ``weight x (1/2 + 1/2 x excess)``, 0 to 1, to three decimals. The weight is the rule's ``severity``."""
    share = excess(event_type, peak_value=peak_value, enter=rule.enter)
    return round(min(1.0, max(0.0, rule.severity)) * (0.5 + 0.5 * share), 3)
