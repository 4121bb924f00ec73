"""Find pictures that stand still or come again: a frozen camera, a recording played in a loop by a virtual camera.

A live picture drifts all the time and no stretch of it ever comes again. Kept are the means of 4 x 4 blocks of the
picture, each half second, for the last minutes: a few kilobytes, from which nobody can be recognised.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detection.engine.observations import VIDEO, Observation
from detection.engine.policy import Policy

STEP_S = 0.5
"""Distance of the moments kept; pictures between them are interpolated."""
KEPT_S = 200.0
"""A loop is found when it has come again for ``STRETCH_S``: up to 184 s long."""
STRETCH_S = 16.0
"""How long a sequence must follow one seen before. Somebody who sits down the same way twice takes shorter."""
MIN_LAG_S = 4.0
"""Shorter periods are those of fans and of rocking on a chair."""
_LOOK_EACH_S = 4.0
_BESIDE = 3
"""Moments to both sides of a lag (1.5 s) where a mere resemblance would match nearly as well."""
_MIN_MOTION = 2.5
"""Distance (grey values, over all blocks) below which nothing moves enough to be recognised."""
_MAX_GAP_S = 2.5
_UNCHANGED = 0.5
"""Grey values by which no block has changed while a picture stands. A frozen picture that is encoded anew varies by up
to 0.3, key frames apart; a sitting person's breath moves more."""
_BLOCKS = 16

Vectors = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _History:
    """Moments kept, ``STEP_S`` apart from ``begun_at`` on, and the picture that came last."""

    begun_at: float
    moments: NDArray[np.uint8]
    last_at: float
    last: Vectors

    @classmethod
    def start(cls, at: float, blocks: Vectors) -> _History:
        return cls(at, _whole(blocks)[None], at, blocks)

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> _History:
        moments = np.frombuffer(base64.b64decode(data["moments"]), np.uint8).reshape(-1, _BLOCKS)
        return cls(data["begun_at"], moments, data["last_at"], np.asarray(data["last"], np.float64))

    def to_dict(self) -> dict[str, Any]:
        moments = base64.b64encode(self.moments.tobytes()).decode()
        return {"begun_at": self.begun_at, "moments": moments, "last_at": self.last_at, "last": self.last.tolist()}

    def after(self, at: float, blocks: Vectors) -> _History:
        """Return the history with every moment up to ``at``, interpolated; after a gap it starts anew."""
        if at - self.last_at > _MAX_GAP_S:
            return _History.start(at, blocks)
        newest_at = self.begun_at + (len(self.moments) - 1) * STEP_S
        count = int((at - newest_at) / STEP_S + 1e-6)
        times = newest_at + STEP_S * np.arange(1, count + 1)
        shares = np.clip((times - self.last_at) / max(at - self.last_at, 1e-6), 0, 1)[:, None]
        moments = np.concatenate([self.moments, _whole(self.last + shares * (blocks - self.last))])
        dropped = max(0, len(moments) - round(KEPT_S / STEP_S))
        return _History(self.begun_at + dropped * STEP_S, moments[dropped:], at, blocks)


class LoopLearner:
    """Tells since when a picture has stood still, and how exactly the last stretch of it repeats one before.

    Derived: ``unchanged_s`` and ``unchanged_since`` (0 where nobody is in view: an empty room stands still as well);
    ``mismatch``: distance of the last stretch from the one ``lag_s`` before, relative to distances at other lags: about
    1 in a live picture, below 0.4 in a loop, the worse of the last two looks; None while there is too little to tell.
    """

    name = "loops"
    streams = frozenset({VIDEO})

    def learn(
        self, state: Mapping[str, Any], observation: Observation, policy: Policy
    ) -> tuple[Mapping[str, Any], Mapping[str, Any] | None]:
        """Take in a frame's block means."""
        camera = observation.measures.get("camera")
        if not isinstance(camera, Mapping) or len(camera.get("blocks", ())) != _BLOCKS:
            return state, None
        at, blocks = observation.captured_at, np.asarray(camera["blocks"], np.float64)
        new = _unchanged(state, at, blocks, seen=_is_seen(observation))
        if policy.detectors.camera.find_loops:
            new |= _repeated(state, at, blocks)
        looks = [look for look in new.get("looks", []) if look is not None]
        worse = max(looks) if len(looks) == 2 else None
        return new, {
            "unchanged_s": round(at - new["since"], 2),
            "unchanged_since": new["since"],
            "mismatch": None if worse is None else round(worse[0], 3),
            "lag_s": None if worse is None else worse[1],
        }


def _is_seen(observation: Observation) -> bool:
    faces = observation.measures.get("faces")
    return not isinstance(faces, Mapping) or bool(faces.get("possible", faces.get("count")))


def _unchanged(state: Mapping[str, Any], at: float, blocks: Vectors, *, seen: bool) -> dict[str, Any]:
    """Keep the picture that all since resemble, and since when; a single one that does not is a key frame."""
    anchor = state.get("anchor")
    if anchor is None or not seen:
        return {"anchor": blocks.tolist(), "since": at}
    differs = float(np.abs(blocks - anchor).max()) > _UNCHANGED
    if differs and state.get("differed"):
        return {"anchor": blocks.tolist(), "since": at}
    return {"anchor": anchor, "since": state["since"], "differed": differs}


def _repeated(state: Mapping[str, Any], at: float, blocks: Vectors) -> dict[str, Any]:
    """Remember a picture, and each few seconds look whether the last stretch has been there before."""
    history = _History.read(state["history"]).after(at, blocks) if "history" in state else _History.start(at, blocks)
    began_anew = history.begun_at == at
    looked_at, looks = (at, []) if began_anew else (state["looked_at"], list(state["looks"]))
    if at - looked_at >= _LOOK_EACH_S:
        match = best_match(history.moments)
        looked_at, looks = at, [*looks, None if match is None else list(match)][-2:]
    return {"history": history.to_dict(), "looked_at": looked_at, "looks": looks}


def best_match(moments: NDArray[np.uint8]) -> tuple[float, float] | None:
    """Return (mismatch, lag in s) of the earlier stretch that the last one follows best; None if too little moves.

    A loop matches at its own length and not 1.5 s beside it; somebody who sits still, or returns to a posture, matches
    at neighbouring lags about as well. Hence the distance is related to those of the lags beside, and to the usual one.
    """
    length, shortest = round(STRETCH_S / STEP_S), round(MIN_LAG_S / STEP_S)
    count = len(moments) - length - _BESIDE
    if count <= shortest:
        return None
    values = moments.astype(np.float64)
    squares, stretch = (values**2).sum(axis=1), values[-length:]
    distances = np.sqrt(np.maximum(0, squares[-length:, None] + squares[None] - 2 * stretch @ values.T))
    lags = np.arange(count + _BESIDE)
    rows = np.arange(length)
    by_lag = distances[rows, len(values) - length - lags[:, None] + rows].mean(axis=1)
    wanted = lags[shortest:count]
    beside = np.minimum(by_lag[wanted - _BESIDE], by_lag[wanted + _BESIDE])
    usual = np.minimum(beside, float(np.median(by_lag[shortest:])))
    mismatches = np.where(usual >= _MIN_MOTION, by_lag[wanted] / np.maximum(usual, 1e-6), np.inf)
    best = int(mismatches.argmin())
    return (float(mismatches[best]), float(wanted[best] * STEP_S)) if np.isfinite(mismatches[best]) else None


def _whole(blocks: Vectors) -> NDArray[np.uint8]:
    return np.rint(blocks).clip(0, 255).astype(np.uint8)
