"""Decide whose face it is from several frames together: no single one accuses, and not knowing has its own state."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from detection.engine import quality
from detection.engine.observations import VIDEO, Observation
from detection.engine.policy import EventType, Policy

MATCH: Final = "match"
MISMATCH: Final = "mismatch"
UNSURE: Final = "unsure"

_DOUBT = 2.0
"""An unclear face's similarity must lie this many times as far below the threshold to count against the candidate as it
must to decide a single comparison: one camera's blur and noise are the same in every frame, so their errors add up."""
_SMEARED = 0.45
"""Evenness below which a face that is not sharp may have moved: motion takes more of its likeness than clarity shows,
and such a frame does not count unless it is a match. Of 560 pictures of a person made worse in every way, 31 were
mismatches by themselves, 28 of these smeared; 6 are left that count here."""
_WINDOW_S = 16.0
"""Frames older than this say nothing about who sits there now; three of the usual comparisons each five seconds."""
_MAX_FRAMES = 8
_MIN_FRAMES = 2
_BURST = 4
"""So many frames are compared one after the other where it cannot be told; from then on at the usual interval."""


class IdentityPool:
    """Derives from the measures of ``identity`` what the recent frames say together.

    ``verdict``: ``match``, ``mismatch`` or ``unsure``; ``similarity``: the mean of the frames' on the logistic scale,
    weighted by the square of their clarity, since separation grows with clarity; ``frames`` and ``clarity``: how many
    count, and the sum of their clarities; ``since``: capture time of the first that was sure. On every frame, while it
    cannot be told whose face is seen: ``cannot_tell_s``, for how long.

    A frame that is surely a match, or surely none, begins anew if the frames before said the contrary; so does a frame
    after one without any face, since somebody else may have sat down.
    """

    name = "identity_pool"
    streams = frozenset({VIDEO})

    def learn(
        self, state: Mapping[str, Any], observation: Observation, policy: Policy
    ) -> tuple[Mapping[str, Any], Mapping[str, Any] | None]:
        """See one frame, compared or not."""
        if _is_empty(observation):
            return {}, None
        at = observation.captured_at
        identity = observation.measures.get("identity")
        if not isinstance(identity, Mapping):
            return state, _waiting(state, at)
        frames = _kept(state.get("frames", ()), identity, at, policy)
        verdict, derived = _judge(frames, policy)
        unsure_since = None if verdict != UNSURE else state.get("unsure_since") or (frames[0]["at"] if frames else at)
        known = {"frames": frames, "verdict": verdict, "compared_at": at, "unsure_since": unsure_since}
        return known, derived | (_waiting(known, at) or {})


def wants_more(state: Mapping[str, Any]) -> bool:
    """Return whether the next frame should be compared too: somebody else may be there, or it could not be told yet."""
    frames = state.get("frames", ())
    if state.get("verdict") == MATCH or not state:
        return False
    return any(frame["decided"] for frame in frames) or 0 < len(frames) < _BURST


def _is_empty(observation: Observation) -> bool:
    faces = observation.measures.get("faces")
    return isinstance(faces, Mapping) and not faces.get("possible", faces.get("count", 1))


def _waiting(state: Mapping[str, Any], at: float) -> dict[str, Any] | None:
    """Return for how long nothing could be told; None where something is known or nobody compares any more."""
    since = state.get("unsure_since")
    if since is None or at - state["compared_at"] > _WINDOW_S:
        return None
    return {"cannot_tell_s": round(max(0.0, at - since), 3)}


def _kept(
    before: Sequence[Mapping[str, Any]], identity: Mapping[str, Any], at: float, policy: Policy
) -> list[Mapping[str, Any]]:
    """Return the frames that count now, the new one last where it says anything."""
    frames = [frame for frame in before if at - frame["at"] <= _WINDOW_S]
    frame = _frame(identity, at, policy)
    if frame is None:
        return frames
    if frame["decided"]:
        contrary = [other for other in frames if other["decided"] and other["matches"] != frame["matches"]]
        frames = [] if contrary or frame["matches"] else frames
    return [*frames, frame][-_MAX_FRAMES:]


def _frame(identity: Mapping[str, Any], at: float, policy: Policy) -> Mapping[str, Any] | None:
    """Take what a frame says about the person; None where it is too poor for that."""
    clarity, decided = float(identity.get("clarity", 1.0)), bool(identity.get("decided"))
    if not decided and (identity.get("reason") != "blurred" or clarity < policy.detectors.identity.least_clarity):
        return None
    threshold = policy.rules[EventType.FACE_MISMATCH].enter
    similarity = float(identity["similarity"])
    if similarity < threshold and _is_smeared(identity.get("quality") or {}):
        return None
    below = identity.get("mismatch_below")
    doubt = 0.0 if below is None else _logit(threshold) - _logit(float(below))
    return {
        "at": at,
        "logit": round(_logit(similarity), 4),
        "below": round(_logit(threshold) - _DOUBT * doubt, 4),
        "clarity": clarity,
        "decided": decided,
        "matches": similarity >= threshold,
    }


def _is_smeared(seen: Mapping[str, Any]) -> bool:
    evenness, sharpness = float(seen.get("evenness", 1.0)), float(seen.get("sharpness", 1.0))
    return evenness < _SMEARED and sharpness < quality.MIN_SHARPNESS


def _judge(frames: Sequence[Mapping[str, Any]], policy: Policy) -> tuple[str, dict[str, Any]]:
    if not frames:
        return UNSURE, {"verdict": UNSURE, "frames": 0}
    weights = [frame["clarity"] ** 2 + 1e-6 for frame in frames]
    logit, below = (sum(w * frame[key] for w, frame in zip(weights, frames, strict=True)) for key in ("logit", "below"))
    logit, below = logit / sum(weights), below / sum(weights)
    clarity = sum(frame["clarity"] for frame in frames)
    verdict = UNSURE
    if logit >= _logit(policy.rules[EventType.FACE_MISMATCH].enter):
        verdict = MATCH
    elif logit < below and len(frames) >= _MIN_FRAMES and clarity >= policy.detectors.identity.pooled_clarity:
        verdict = MISMATCH
    return verdict, {
        "verdict": verdict,
        "similarity": round(1 / (1 + math.exp(-logit)), 4),
        "frames": len(frames),
        "clarity": round(clarity, 3),
        "since": next((frame["at"] for frame in frames if frame["decided"]), frames[-1]["at"]),
    }


def _logit(share: float) -> float:
    inside = min(1 - 1e-6, max(1e-6, share))
    return math.log(inside / (1 - inside))
