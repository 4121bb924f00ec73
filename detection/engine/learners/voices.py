"""Learn the voice that speaks in a session, and tell how far the present one is from it.

Nobody enrols a voice: the first one that speaks alone and is heard twice is taken for the candidate's. It is kept in
the session's state, quantised, and forgotten with it. A voice is judged by two comparisons that agree.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from detection.engine.observations import AUDIO, Observation
from detection.engine.policy import EventType, Policy

MIN_S = 1.5
"""Of a voice alone, to learn from it or to judge it."""
AGREES = 0.45
"""Cosine from which a voice is that learnt so far, and refines it; of two people three in a thousand reach it."""
_REFINED = 5
"""Times a voice is refined; after that it stands."""
_SURE = 2
"""Times it must have been heard before anybody is judged by it."""
_FRESH_S = 60.0
"""A comparison older than this says nothing about who speaks now."""
_SCALE = 127

State = Mapping[str, Any]
Vector = Sequence[float]


class Voices:
    """Derives ``score``: the better cosine of the last two comparisons with the voice learnt; -1 to 1."""

    name = "voices"
    streams = frozenset({AUDIO})

    def learn(self, state: State, observation: Observation, policy: Policy) -> tuple[State, Mapping[str, Any] | None]:
        """Learn from a voice that speaks alone, or compare with what was learnt; derive while a judgement is fresh."""
        if not policy.rules[EventType.UNKNOWN_VOICE].enabled:
            return {}, None  # whom nobody will judge by the voice has none learnt
        known = dict(state)
        now = observation.captured_at
        voice = observation.measures.get("voice") or {}
        if known.get("learnt") and voice.get("embedding") and not _is_of_one_network(known, voice):
            known = {}
        if voice.get("embedding") and voice["seconds"] >= MIN_S and voice["same"] is None:
            known = _heard(known, voice["embedding"], now) | _network(voice)
        recent = [score for score in known.get("scores", []) if score[0] > now - _FRESH_S]
        if "scores" in known:
            known["scores"] = recent
        return known, _derived(known, recent)


def _network(voice: Mapping[str, Any]) -> dict[str, Any]:
    """Return which network described a voice, where it is not the detector's own."""
    return {"model": voice["model"]} if "model" in voice else {}


def _is_of_one_network(known: State, voice: Mapping[str, Any]) -> bool:
    """Return whether a voice can be compared: workers with another network may take over in mid-session."""
    return known.get("model") == voice.get("model") and len(known["learnt"]) == len(voice["embedding"])


def _heard(known: dict[str, Any], embedding: Vector, now: float) -> dict[str, Any]:
    """Return the state after one more voice: learnt, refined, or compared."""
    learnt, count = known.get("learnt"), known.get("count", 0)
    score = cosine(embedding, learnt) if learnt else 1.0
    if learnt is None or (count < _SURE and score < AGREES):
        return {"learnt": list(embedding), "count": 1}  # the first, or one heard but once before
    if score >= AGREES and count < _REFINED:
        known = {**known, "learnt": _mean(learnt, count, embedding), "count": count + 1}
    if count >= _SURE:
        known = {**known, "scores": [*known.get("scores", []), [round(now, 3), round(score, 3)]][-2:]}
    return known


def _derived(known: State, recent: list[list[float]]) -> dict[str, Any] | None:
    if len(recent) < 2:
        return None
    return {
        "score": max(score for _, score in recent),
        "count": known["count"],
        "first_at": recent[0][0],
        "last_at": recent[-1][0],
    }


def _mean(learnt: Vector, count: int, embedding: Vector) -> list[int]:
    """Return the direction between, the one learnt counting as often as it was heard, in whole numbers up to 127."""
    one, other = _length(learnt), _length(embedding)
    mixed = [count * a / one + b / other for a, b in zip(learnt, embedding, strict=True)]
    scale = _SCALE / max(abs(value) for value in mixed)
    return [round(value * scale) for value in mixed]


def cosine(first: Vector, second: Vector) -> float:
    """Return the cosine of two vectors of one length."""
    return sum(a * b for a, b in zip(first, second, strict=True)) / (_length(first) * _length(second))


def _length(vector: Vector) -> float:
    return math.sqrt(sum(value * value for value in vector)) or 1.0
