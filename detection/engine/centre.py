"""Where somebody's head or gaze rests: learnt from a session's first seconds, and followed as it moves.

People look at their screen most of the time, and their measures then lie close together; where they look besides is
spread about. So the rest is the densest place among the samples kept: all of the first twenty seconds, later one every
five seconds, those of the last five minutes. It has a mild preference for what is usual: a session that begins with a
look at the notes beside the keyboard must not take that for the screen, nor may notes become the screen by being read.
Who pushes the chair or tilts the screen is measured from the new rest after some two minutes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEARNT_FROM = 40
"""So many samples are all kept: twenty seconds at two a second."""
THINNED_S = 5.0
"""After those one is kept in so many seconds, ..."""
KEPT = 60
"""... and so many in all: the last five minutes."""
CALIBRATED_FROM = 8.0
"""Weight of samples from which on the rest is trusted."""

_CLOSE_DEG = 10.0
"""Samples that close together show one place."""
_AROUND_DEG, _STEPS = 10.0, 3
"""The rest is the middle of what lies around that place: of a screen that is read all over."""
_USUAL_SPREAD_DEG = 15.0
"""How far people's rests lie from what is usual: it depends on where the camera stands."""
_USUAL_WEIGHT = 2.0
"""The usual rest counts as much as so many samples: what is seen first soon outweighs it."""
_MIN_SPREAD_DEG = 2.0
_REACH_WITHIN_DEG, _REACH_SHARE = 22.0, 90
"""What lies further from the rest is no part of the place; nine of ten of the others are how far it reaches."""
_MIN_WEIGHT = 0.01


@dataclass(frozen=True, slots=True)
class Rest:
    """What has been learnt: where the rest is, how widely samples lie about it, whether enough were seen.

    ``reach_deg``: how far from it this candidate's looks usually reach; 0 until that is known.
    """

    yaw_deg: float
    pitch_deg: float
    spread_deg: float
    calibrated: bool
    reach_deg: float = 0.0


Place = tuple[float, float]
"""Yaw and pitch in degrees."""


def learn(state: Mapping[str, Any], place: Place, at: float, *, usual: Place, weight: float = 1.0) -> Mapping[str, Any]:
    """Take in a sample captured at ``at``; return the new state, JSON-able and bounded.

    ``weight``: from 0 to 1, how likely somebody is to rest like this.
    """
    samples = state.get("samples", [])
    if len(samples) >= LEARNT_FROM and at - float(state["kept_at"]) < THINNED_S:
        return state
    samples = [*samples, [round(place[0], 1), round(place[1], 1), max(_MIN_WEIGHT, round(weight, 2))]][-KEPT:]
    return {"samples": samples, "kept_at": at, "rest": _densest(np.array(samples), usual)}


def rest_of(state: Mapping[str, Any], *, usual: Place) -> Rest:
    """Return the rest as it is known now; before enough was seen, mostly what is usual."""
    if "rest" not in state:
        return Rest(*usual, _USUAL_SPREAD_DEG, calibrated=False)
    yaw, pitch, spread, weight, reach = state["rest"]
    return Rest(yaw, pitch, spread, calibrated=weight >= CALIBRATED_FROM, reach_deg=reach)


def _densest(samples: NDArray[np.float64], usual: Place) -> list[float]:
    """Find where most samples lie close together, drawn towards the usual.

    Returns yaw, pitch, spread, the weight of all samples, and the reach.
    """
    points, weights = samples[:, 0] + 1j * samples[:, 1], samples[:, 2]  # distances of complex numbers are cheap
    density = np.exp(-0.5 * (np.abs(points[:, None] - points) / (_CLOSE_DEG / 2)) ** 2) @ weights
    unusual = np.abs(points - complex(*usual))
    middle = points[np.argmax(density * np.exp(-0.5 * (unusual / _USUAL_SPREAD_DEG) ** 2))]
    for _ in range(_STEPS):
        near = np.abs(points - middle) <= _AROUND_DEG + 1e-6
        evidence = weights[near].sum()
        middle = weights[near] @ points[near] / evidence
    rest = (evidence * middle + _USUAL_WEIGHT * complex(*usual)) / (evidence + _USUAL_WEIGHT)
    away = np.abs(points - rest)
    of_place = away[away <= _REACH_WITHIN_DEG]
    reach = np.percentile(of_place, _REACH_SHARE) if len(samples) >= LEARNT_FROM and len(of_place) else 0.0
    found = (rest.real, rest.imag, max(_MIN_SPREAD_DEG, _spread(points[near])), weights.sum(), reach)
    return [round(float(value), 2) for value in found]


def _spread(points: NDArray[np.complex128]) -> float:
    """Return the standard deviation in one direction, estimated by the median deviation from the medians."""
    off = [abs(value - median(axis)) for axis in (points.real.tolist(), points.imag.tolist()) for value in axis]
    return 1.4826 * median(off)
