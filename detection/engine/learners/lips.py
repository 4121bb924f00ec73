"""Relate the lips to the sound: do they move, and is speech heard meanwhile?

At two frames a second no word can be read off lips, but who speaks for seconds on end has them open at different widths
from frame to frame, and who listens has not. Chewing and silent reading look like speaking, so moving lips alone mean
little; and where the network's points tremble, still lips look as if they moved, which speaks for the candidate.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from detection.engine.observations import AUDIO, VIDEO, Observation
from detection.engine.policy import Policy

SPAN_S = 3.0
"""How far back lips and sound are compared."""
_MIN_FRAMES = 4
_STILL, _MOVING = 0.012, 0.05
"""Standard deviation of the mouth's opening (share of its width) up to which lips are still, from which they move.

Lips in one photograph, shaken, noisy and compressed, have 0.006 (nine of ten under 0.018) in a face 120 pixels wide,
0.018 (0.036) at 45 pixels; lips that smile and laugh without a word have 0.02 to 0.1.
"""
_SHUT = 0.06
"""An opening that a mouth at rest does not pass."""


class Lips:
    """Derives ``moving`` (0 to 1) and ``speech`` (mean share of speech), both over the last seconds; and their
    mismatch.

    ``off_camera``: how much speech is heard while the lips are still, in the last window or, through its pauses, on
    the mean. ``silent``: how much they move while none is heard.
    """

    name = "lips"
    streams = frozenset({VIDEO, AUDIO})

    def learn(
        self, state: Mapping[str, Any], observation: Observation, policy: Policy
    ) -> tuple[Mapping[str, Any], Mapping[str, Any] | None]:
        """See a frame's mouth or a window's speech; derive from both."""
        since = observation.captured_at - SPAN_S
        frames = [entry for entry in state.get("frames", []) if entry[0] >= since]
        sounds = [entry for entry in state.get("sounds", []) if entry[0] >= since]
        mouth, speech = observation.measures.get("mouth"), observation.measures.get("speech")
        if observation.stream == VIDEO and isinstance(mouth, Mapping):
            frames.append([observation.captured_at, mouth["open"]])
        if observation.stream == AUDIO and isinstance(speech, Mapping):
            sounds.append([observation.captured_at, speech["share"]])
        known = {"frames": frames, "sounds": sounds}
        if observation.stream != AUDIO or len(frames) < _MIN_FRAMES or not sounds:
            return known, None
        openings = [opening for _, opening in frames]
        moving = _share(statistics.pstdev(openings), _STILL, _MOVING) if max(openings) > _SHUT else 0.0
        heard = statistics.fmean(share for _, share in sounds)
        return known, {
            "moving": round(moving, 3),
            "speech": round(heard, 3),
            "off_camera": round(max(heard, sounds[-1][1]) * (1 - moving), 3),
            "silent": round(moving * (1 - min(1.0, heard * 4)), 3),
        }


def _share(value: float, low: float, high: float) -> float:
    return min(1.0, max(0.0, (value - low) / (high - low)))
