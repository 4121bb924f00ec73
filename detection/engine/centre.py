"""Where somebody's head or gaze rests: learnt from a session's first seconds, and followed as it drifts.

People look at their screen most of the time, and their measures then lie close together; where they look besides is
spread about. So the rest is the densest place among the first samples, with a mild preference for what is usual: a
session that begins with a look at the notes beside the keyboard must not take that for the screen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEARNT_FROM = 40
"""Samples from which the rest is learnt: twenty seconds at two a second. After that it is followed."""
CALIBRATED_FROM = 8
"""Samples from which on it is trusted."""

_CLOSE_DEG = 6.0
"""Samples that close together show one place."""
_USUAL_SPREAD_DEG = 15.0
"""How far people's rests lie from what is usual: it depends on where the camera stands."""
_USUAL_WEIGHT = 2.0
"""The usual rest counts as much as so many samples: what is seen first soon outweighs it."""
_FOLLOW = 1 / 60
_FOLLOW_WITHIN_DEG = 8.0
"""The rest drifts as somebody shifts on the chair; what lies further away is a look elsewhere."""
_MIN_SPREAD_DEG = 2.0


@dataclass(frozen=True, slots=True)
class Rest:
    """What has been learnt: where the rest is, how widely samples lie about it, whether enough were seen."""

    yaw_deg: float
    pitch_deg: float
    spread_deg: float
    calibrated: bool


Place = tuple[float, float]
"""Yaw and pitch in degrees."""


def learn(state: Mapping[str, Any], place: Place, *, usual: Place) -> dict[str, Any]:
    """Take in a sample; return the new state, JSON-able and bounded."""
    if "rest" in state:
        return {"rest": _followed(state["rest"], place)}
    samples = [*state.get("samples", []), [round(angle, 1) for angle in place]]
    if len(samples) < LEARNT_FROM:
        return {"samples": samples}
    found = _densest(np.array(samples), usual)
    return {"rest": [found.yaw_deg, found.pitch_deg, found.spread_deg]}


def rest_of(state: Mapping[str, Any], *, usual: Place) -> Rest:
    """Return the rest as it is known now; before the first sample it is what is usual."""
    if "rest" in state:
        yaw, pitch, spread = state["rest"]
        return Rest(yaw, pitch, spread, calibrated=True)
    samples = state.get("samples", [])
    return _densest(np.array(samples), usual) if samples else Rest(*usual, _USUAL_SPREAD_DEG, calibrated=False)


def _followed(rest: list[float], place: Place) -> list[float]:
    yaw, pitch, spread = rest
    if np.hypot(place[0] - yaw, place[1] - pitch) > _FOLLOW_WITHIN_DEG:
        return rest
    return [round(yaw + (place[0] - yaw) * _FOLLOW, 3), round(pitch + (place[1] - pitch) * _FOLLOW, 3), spread]


def _densest(samples: NDArray[np.float64], usual: Place) -> Rest:
    """Find where most samples lie close together, drawn towards the usual."""
    apart = np.linalg.norm(samples[:, None] - samples[None], axis=2)
    density = np.exp(-0.5 * (apart / (_CLOSE_DEG / 2)) ** 2).sum(axis=1)
    unusual = np.linalg.norm(samples - usual, axis=1)
    best = int(np.argmax(density * np.exp(-0.5 * (unusual / _USUAL_SPREAD_DEG) ** 2)))
    members = samples[apart[best] <= _CLOSE_DEG]
    yaw, pitch = (members.sum(axis=0) + _USUAL_WEIGHT * np.array(usual)) / (len(members) + _USUAL_WEIGHT)
    spread = 1.4826 * float(np.median(np.abs(members - members.mean(axis=0))))
    return Rest(
        round(float(yaw), 2),
        round(float(pitch), 2),
        round(max(_MIN_SPREAD_DEG, spread), 2),
        calibrated=len(samples) >= CALIBRATED_FROM,
    )
