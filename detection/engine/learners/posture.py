"""Learn where this candidate sits and how much they usually move, and tell how far a look is from it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from detection.engine.observations import VIDEO, Observation
from detection.engine.policy import Policy

State = Mapping[str, Any]

SEAT_LOOKS: Final = 10
"""Looks from which the seat is learnt, their median: twenty seconds at one each two seconds."""
_FOLLOW = 1 / 60
_FOLLOW_WITHIN = 0.5
"""The seat drifts as somebody shifts on the chair; half a shoulder width or more is no drift."""
NEW_SEAT_LOOKS: Final = 60
"""After so many looks away from it, two minutes, the place is taken for the new seat: the chair or the camera moved."""
_AWAY = 0.7
_MIN_CERTAINTY = 0.5
RECENT_MOVES: Final = 5
USUAL_MOVES: Final = 30
"""Movements from which the usual one is learnt, a minute; it then follows slowly, but not through restlessness."""
_FOLLOW_MOVES = 1 / 150
_RESTLESS = 2.5
_LEAST_MOVE = 0.04
"""Shoulder widths from look to look: the network's own trembling, so nobody's usual is taken as less."""
_HAND_LOOKS = 3
_HAND_VOTES = 2


class Posture:
    """Derives ``shift`` (shoulder widths from the seat), ``movement`` (times the usual) and ``hand_distance``.

    ``shift`` is missing until the seat is known, ``movement`` until a minute was seen. ``hand_distance``: face widths
    between hand and face, the lesser ones of two of the last three looks.
    """

    name = "posture"
    streams = frozenset({VIDEO})

    def learn(self, state: State, observation: Observation, policy: Policy) -> tuple[State, Mapping[str, Any] | None]:
        """See one frame; only those that ``body`` was due on say anything."""
        body = observation.measures.get("body")
        if not isinstance(body, Mapping):
            return state, None
        hands = [*state.get("hands", []), float(body["hand_distance"])][-_HAND_LOOKS:]
        known = {**state, "hands": hands}
        derived: dict[str, Any] = {"hand_side": body["hand_side"]}
        if len(hands) >= _HAND_VOTES:
            derived["hand_distance"] = sorted(hands)[_HAND_VOTES - 1]
        if min(float(body["score"]), float(body["visible"])) >= _MIN_CERTAINTY and body["shoulder_width"] > 0:
            place = [*(float(value) for value in body["shoulders_xy"]), float(body["shoulder_width"])]
            known, more = _sit(known, place, observation.captured_at, policy)
            derived |= more
        return known, derived


def _sit(state: State, place: list[float], at: float, policy: Policy) -> tuple[dict[str, Any], dict[str, Any]]:
    """Take in where the shoulders are: x, y and width, as shares of the picture's width."""
    known, derived = dict(state), dict[str, Any]()
    if "seat" in known:
        shift = _shift(known["seat"], place)
        known |= _follow_seat(known, place, shift)
        derived["shift"] = round(shift, 3)
    else:
        first = [*known.pop("first", []), place]
        known |= {"first": first} if len(first) < SEAT_LOOKS else {"seat": _median(first)}
    before = known.get("before")
    known["before"] = [*place, at]
    if before is not None and at - before[3] <= 2 * policy.detectors.body.interval_s + 1:
        known |= _move(known, math.hypot(place[0] - before[0], place[1] - before[1]) / before[2])
    if "usual" in known and len(known["moves"]) == RECENT_MOVES:
        derived["movement"] = round(_mean(known["moves"]) / max(known["usual"], _LEAST_MOVE), 2)
    return known, derived


def _shift(seat: Sequence[float], place: Sequence[float]) -> float:
    """Return how far from the seat somebody is: sideways, up and down, or back (twice as far off is one)."""
    aside = math.hypot(place[0] - seat[0], place[1] - seat[1]) / seat[2]
    return max(aside, seat[2] / place[2] - 1)


def _follow_seat(state: State, place: Sequence[float], shift: float) -> dict[str, Any]:
    seat, away = state["seat"], state.get("away", 0)
    if shift >= _AWAY:
        return {"away": away + 1} if away + 1 < NEW_SEAT_LOOKS else {"away": 0, "seat": list(place)}
    if shift >= _FOLLOW_WITHIN:
        return {"away": 0}
    return {"away": 0, "seat": [old + (new - old) * _FOLLOW for old, new in zip(seat, place, strict=True)]}


def _move(state: State, move: float) -> dict[str, Any]:
    """Take in how far the shoulders went since the look before, in shoulder widths."""
    moves = [*state.get("moves", []), round(move, 4)][-RECENT_MOVES:]
    if "usual" not in state:
        count, total = state.get("moved", 0) + 1, state.get("total", 0.0) + move
        if count < USUAL_MOVES:
            return {"moves": moves, "moved": count, "total": total}
        return {"moves": moves, "moved": count, "total": total, "usual": total / count}
    usual = float(state["usual"])
    if _mean(moves) < _RESTLESS * max(usual, _LEAST_MOVE):
        usual += (move - usual) * _FOLLOW_MOVES
    return {"moves": moves, "usual": usual}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _median(places: Sequence[Sequence[float]]) -> list[float]:
    return [float(value) for value in np.median(np.asarray(places), axis=0)]
