"""Learn how this candidate holds the head when looking at the screen, and tell how far it is turned away."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from detection.engine import centre
from detection.engine.challenge import is_asked
from detection.engine.observations import VIDEO, Observation
from detection.engine.policy import Policy

USUAL: Final = (0.0, -3.0)
"""Most cameras stand above what people look at."""


class HeadLine:
    """Derives ``off_deg`` and ``calibrated`` from the measures of ``head_pose``, unless the head is to be turned."""

    name = "head_line"
    streams = frozenset({VIDEO})

    def learn(
        self, state: Mapping[str, Any], observation: Observation, policy: Policy
    ) -> tuple[Mapping[str, Any], Mapping[str, Any] | None]:
        """See one frame's head pose."""
        pose = observation.measures.get("head_pose")
        if not isinstance(pose, Mapping) or is_asked(observation):
            return state, None
        yaw_deg, pitch_deg = float(pose["yaw_deg"]), float(pose["pitch_deg"])
        learnt = centre.learn(state, (yaw_deg, pitch_deg), observation.captured_at, usual=USUAL)
        rest = centre.rest_of(learnt, usual=USUAL)
        off_deg = math.hypot(yaw_deg - rest.yaw_deg, pitch_deg - rest.pitch_deg)
        return learnt, {"off_deg": round(off_deg, 1), "calibrated": rest.calibrated}
