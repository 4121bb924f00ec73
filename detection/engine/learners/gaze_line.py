"""Learn where this candidate looks when looking at the screen, and tell how far off and to which side a look goes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from detection.engine import centre
from detection.engine.observations import VIDEO, Observation
from detection.engine.policy import Policy

USUAL: Final = (0.0, 5.0)
"""Yaw and pitch measured of people who look at a screen below a camera: eyes that look slightly down measure some
degrees up, since the landmarks' irises lie above the corners' middle."""
_PITCH_WEIGHT = 1.25
"""Eyes move less up and down than sideways, and lids hide part of it: a degree of pitch counts for more."""
_SHUT = 0.5
_OPEN = 0.35
"""A frame with lids shut after one with lids open is a blink until the next frame shows otherwise."""
_BASE_UNCERTAINTY_DEG = 4.0
"""Error of a single iris-based look once calibrated, as webcam studies report it."""


class GazeLine:
    """Derives ``off_deg``, ``direction``, ``uncertainty_deg`` and ``calibrated`` from the measures of ``gaze``."""

    name = "gaze_line"
    streams = frozenset({VIDEO})

    def learn(
        self, state: Mapping[str, Any], observation: Observation, policy: Policy
    ) -> tuple[Mapping[str, Any], Mapping[str, Any] | None]:
        """See one frame's line of sight."""
        gaze = observation.measures.get("gaze")
        if not isinstance(gaze, Mapping):
            return state, None
        yaw_deg, pitch_deg, closed = float(gaze["yaw_deg"]), float(gaze["pitch_deg"]), float(gaze["closed"])
        if closed >= _SHUT and float(state.get("closed", closed)) < _OPEN:
            return {**state, "closed": closed}, state.get("last")
        learnt = state.get("centre", {})
        if closed < _SHUT:  # nobody rests with lowered lids: who sits down with eyes on the desk is not on the screen
            learnt = centre.learn(learnt, (yaw_deg, pitch_deg), usual=USUAL)
        rest = centre.rest_of(learnt, usual=USUAL)
        right, up = yaw_deg - rest.yaw_deg, (pitch_deg - rest.pitch_deg) * _PITCH_WEIGHT
        off_deg = math.hypot(right, up)
        derived = {
            "off_deg": round(off_deg, 1),
            "direction": _direction(right, up, policy.detectors.gaze.screen_deg),
            "uncertainty_deg": round(math.hypot(_BASE_UNCERTAINTY_DEG, rest.spread_deg), 1),
            "calibrated": rest.calibrated,
        }
        return {"centre": learnt, "closed": closed, "last": derived}, derived


def _direction(right: float, up: float, screen_deg: float) -> str:
    """Name the side, as seen in the upright, unmirrored picture."""
    if math.hypot(right, up) < screen_deg:
        return "center"
    if abs(right) >= abs(up):
        return "right" if right > 0 else "left"
    return "up" if up > 0 else "down"
