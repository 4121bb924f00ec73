"""Tell since when neither lids nor lips have moved: nobody stares and keeps silent like a photograph for minutes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from detection.engine.observations import VIDEO, Observation
from detection.engine.policy import Policy

_LIDS = 0.2
_LIPS = 0.06
"""By how much the lids' closing and the lips' opening may differ within a still face. Those of photographs moved by
hand differ by up to 0.1 and 0.03, a person's by 0.8 and 0.3 within twenty seconds."""
_MAX_GAP_S = 5.0


class StillnessLearner:
    """Derives ``still_s``: for how many seconds the measures of ``gaze`` and ``mouth`` have kept within their noise."""

    name = "stillness"
    streams = frozenset({VIDEO})

    def learn(
        self, state: Mapping[str, Any], observation: Observation, policy: Policy
    ) -> tuple[Mapping[str, Any], Mapping[str, Any] | None]:
        """See one frame's lids and lips."""
        gaze, mouth = observation.measures.get("gaze"), observation.measures.get("mouth")
        if not isinstance(gaze, Mapping) or not isinstance(mouth, Mapping):
            return state, None
        at, lids, lips = observation.captured_at, float(gaze["closed"]), float(mouth["open"])
        lids_range, lips_range = _widened(state.get("lids"), lids), _widened(state.get("lips"), lips)
        moved = lids_range[1] - lids_range[0] > _LIDS or lips_range[1] - lips_range[0] > _LIPS
        if moved or at - state.get("seen_at", at) > _MAX_GAP_S:
            lids_range, lips_range = [lids, lids], [lips, lips]
            since = at
        else:
            since = state.get("since", at)
        new = {"since": since, "seen_at": at, "lids": lids_range, "lips": lips_range}
        return new, {"still_s": round(at - since, 2)}


def _widened(known: list[float] | None, value: float) -> list[float]:
    low, high = known or (value, value)
    return [min(low, value), max(high, value)]
