"""Add up a second voice over the last half minute, each second once however often it was heard again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from detection.engine.observations import AUDIO, Observation
from detection.engine.policy import Policy
from detection.engine.segmentation import SAME_VOICE

MEMORY_S = 30.0
_TOLERANCE_S = 0.5
"""Windows follow one another without gaps; what begins earlier than this before the last end has been counted."""

State = Mapping[str, Any]


class Conversation:
    """Derives ``second_s``: for how many of the last thirty seconds a second voice spoke, alone or at once.

    ``overlap_s`` is the part at once; ``first_at`` and ``last_at`` say when it was first and last heard.
    """

    name = "conversation"
    streams = frozenset({AUDIO})

    def learn(self, state: State, observation: Observation, policy: Policy) -> tuple[State, Mapping[str, Any] | None]:
        """Take in what ``speakers`` counted; where ``voice`` found both voices alike, only talk at once counts."""
        now = observation.captured_at
        heard = [second for second in state.get("heard", []) if second[0] > now - MEMORY_S]
        until = state.get("until", 0.0)
        speakers = observation.measures.get("speakers")
        if speakers is not None:
            heard += _new(speakers["seconds"], now, until, alike=_is_one_person(observation))
            until = now
        if not until:
            return {}, None
        return {"heard": heard, "until": until}, _derived(heard)


def _is_one_person(observation: Observation) -> bool:
    same = observation.measures.get("voice", {}).get("same")
    return same is not None and same >= SAME_VOICE


def _new(seconds: list[list[float]], now: float, until: float, *, alike: bool) -> list[list[float]]:
    """Return the seconds not counted before in which a second voice was heard: ``[end, at once, alone]``."""
    count = len(seconds)
    timed = [(now - (count - 1 - index), talk, 0.0 if alike else other) for index, (talk, other) in enumerate(seconds)]
    return [
        [round(end, 3), talk, other]
        for end, talk, other in timed
        if end - 1 >= until - _TOLERANCE_S and talk + other > 0
    ]


def _derived(heard: list[list[float]]) -> dict[str, Any]:
    return {
        "second_s": round(sum(talk + other for _, talk, other in heard), 2),
        "overlap_s": round(sum(talk for _, talk, _ in heard), 2),
        "first_at": heard[0][0] - 1 if heard else None,
        "last_at": heard[-1][0] if heard else None,
    }
