"""Learn where this candidate looks when looking at the screen, and tell how far off and to which side a look goes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from detection.engine import centre
from detection.engine.challenge import is_asked
from detection.engine.observations import VIDEO, Observation
from detection.engine.policy import Policy

USUAL: Final = (0.0, -6.0)
"""Yaw and pitch where most people look: at a screen whose middle lies some degrees below the camera."""
_PITCH_WEIGHT = 1.25
"""Eyes move less up and down than sideways, and lids hide part of it: a degree of pitch counts for more."""
_COMFORT_DEG = 10.0
"""Standard deviation of the eyes' turn in the head while somebody rests: for a longer look the head follows."""
_SCREEN_DEG, _SCREEN_MOST_DEG = 9.0, 18.0
"""How far looks reach on a screen for which the thresholds are made, and on the largest that is believed. Whose looks
reach further has a larger screen, or sits closer, and is granted the difference."""
_MAX_UNCERTAINTY_DEG = 8.0
"""A frame less certain than this says nothing."""
_BASE_UNCERTAINTY_DEG = 4.0
"""Error of a single iris-based look once calibrated, as webcam studies report it."""

_LIDS_USUAL = 0.15
_LIDS_MOST = 0.5
_LIDS_STEP = 0.02
_LIDS_QUANTILE = 0.3
"""How far this candidate's lids are closed while open: a low quantile of what is seen, found by small steps. Eyes
differ: what is lowered in one face is wide open in another."""
_SHUT = 0.35
"""Lids so much further closed than usual hide the iris: lowered, or shut."""
_LOWERED_DEG = 25.0
"""How far down somebody looks at least whose lids are lowered that far: at the keyboard, or at what lies before it."""


class GazeLine:
    """Derives ``off_deg``, ``direction``, ``uncertainty_deg`` and ``calibrated`` from the measures of ``gaze``.

    ``off_deg``: from the middle of where this candidate looks, less what that place is larger than usual.

    A frame in which the eyes cannot be read has neither ``off_deg`` nor ``direction``: a small or covered face, or lids
    that have just closed, which may be a blink. Nor has one while the candidate is asked to move.
    """

    name = "gaze_line"
    streams = frozenset({VIDEO})

    def learn(
        self, state: Mapping[str, Any], observation: Observation, policy: Policy
    ) -> tuple[Mapping[str, Any], Mapping[str, Any] | None]:
        """See one frame's line of sight."""
        gaze = observation.measures.get("gaze")
        if not isinstance(gaze, Mapping) or is_asked(observation):
            return {**state, "shut": False} if state else state, None
        lids, closed = float(state.get("lids", _LIDS_USUAL)), float(gaze["closed"])
        unsure_deg = float(gaze.get("uncertainty_deg", 0.0))
        shut = closed >= lids + _SHUT
        blink = shut and not state.get("shut", True)
        readable = unsure_deg <= _MAX_UNCERTAINTY_DEG and not blink
        yaw_deg, pitch_deg = float(gaze["yaw_deg"]), float(gaze["pitch_deg"])
        learnt = state.get("centre", {})
        if readable and not shut:
            comfort = _comfort(yaw_deg, observation.measures.get("head_pose"))
            learnt = centre.learn(learnt, (yaw_deg, pitch_deg), observation.captured_at, usual=USUAL, weight=comfort)
        rest = centre.rest_of(learnt, usual=USUAL)
        derived: dict[str, Any] = {
            "uncertainty_deg": round(math.hypot(_BASE_UNCERTAINTY_DEG, unsure_deg, rest.spread_deg), 1),
            "calibrated": rest.calibrated,
        }
        if readable:
            right, up = yaw_deg - rest.yaw_deg, (pitch_deg - rest.pitch_deg) * _PITCH_WEIGHT
            right, up = (0.0, min(up, -_LOWERED_DEG)) if shut else (right, up)
            granted_deg = min(max(rest.reach_deg, _SCREEN_DEG), _SCREEN_MOST_DEG) - _SCREEN_DEG
            off_deg = max(0.0, math.hypot(right, up) - (0.0 if shut else granted_deg))
            derived["off_deg"] = round(off_deg, 1)
            derived["direction"] = _direction(right, up) if off_deg >= policy.detectors.gaze.screen_deg else "center"
        return {"centre": learnt, "lids": _step(lids, closed), "shut": shut}, derived


def _step(usual: float, closed: float) -> float:
    """Move the usual closedness of the lids a little towards the quantile."""
    step = _LIDS_STEP * (_LIDS_QUANTILE if closed > usual else _LIDS_QUANTILE - 1)
    return round(min(_LIDS_MOST, max(0.0, usual + step)), 4)


def _comfort(yaw_deg: float, head_pose: Any) -> float:
    """Tell how likely somebody rests with the eyes turned so far in the head, 0 to 1."""
    if not isinstance(head_pose, Mapping):
        return 1.0
    return math.exp(-0.5 * ((yaw_deg - float(head_pose["yaw_deg"])) / _COMFORT_DEG) ** 2)


def _direction(right: float, up: float) -> str:
    """Name the side, as seen in the upright, unmirrored picture."""
    if abs(right) >= abs(up):
        return "right" if right > 0 else "left"
    return "up" if up > 0 else "down"
