"""Tell whether what is around a face moves with it, as the background of a print or on a telephone does.

A live head moves before a background that stays. Two looks at a face that has moved are compared twice: as if the
surroundings had moved with it, and as if they had stayed. No look is stored with the detections.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detection.engine.observations import VIDEO, Observation
from detection.engine.policy import Policy
from detection.engine.surroundings import COLUMN_WIDTHS, ROW_WIDTHS, from_text

_KEPT_LOOKS = 16
_WINDOW_S = 30.0
_MIN_LOOKS = 4
"""Looks with a comparison that it takes to tell anything."""
_MIN_SHIFT = 0.2
"""Widths of the face by which it must have moved between two looks."""
_MIN_CELLS = 12
_MIN_CONTRAST = 6.0
"""Grey values by which the surroundings differ from themselves when shifted; of a bare wall nothing can be told."""

Grid = NDArray[np.float64]


class RigidityLearner:
    """Derives ``rigidity``: how much better "moved with the face" fits than "stayed behind it", a logarithm.

    Photographs held before the camera come to 0.5 and more, live people to -0.2 and less. ``comparisons``: how many
    looks it is the median of.
    """

    name = "rigidity"
    streams = frozenset({VIDEO})

    def learn(
        self, state: Mapping[str, Any], observation: Observation, policy: Policy
    ) -> tuple[Mapping[str, Any], Mapping[str, Any] | None]:
        """Compare a look with those before."""
        found, at = observation.measures.get("liveness"), observation.captured_at
        if not isinstance(found, Mapping) or not found.get("surroundings"):
            return state, None
        look = [at, *found["place"], found["surroundings"]]
        looks = [known for known in state.get("looks", []) if at - known[0] < _WINDOW_S]
        values = [value for known in looks if (value := _compare(known, look)) is not None]
        medians = [known for known in state.get("medians", []) if at - known[0] < _WINDOW_S]
        if values:
            medians = [*medians, [at, round(float(np.median(values)), 3)]]
        derived = None
        if len(medians) >= _MIN_LOOKS:
            rigidity = float(np.median([value for _, value in medians]))
            derived = {"rigidity": round(rigidity, 3), "comparisons": len(medians)}
        return {"looks": [*looks, look][-_KEPT_LOOKS:], "medians": medians[-128:]}, derived


def _compare(first: list[Any], second: list[Any]) -> float | None:
    """Return the logarithm of the misfit as if stayed over that as if moved along; None where nothing can be told."""
    _, x, y, width, cells = first
    _, other_x, other_y, other_width, other_cells = second
    mean_width = (width + other_width) / 2
    across, down = (other_x - x) / mean_width, (other_y - y) / mean_width
    if math.hypot(across, down) < _MIN_SHIFT:
        return None
    before, after = from_text(cells), from_text(other_cells)
    stayed = _shifted(before, across / COLUMN_WIDTHS, down / ROW_WIDTHS)
    seen = np.isfinite(before) & np.isfinite(after) & np.isfinite(stayed)
    if np.count_nonzero(seen) < _MIN_CELLS or _misfit(before, stayed, seen) < _MIN_CONTRAST:
        return None
    return math.log((_misfit(after, stayed, seen) + 1) / (_misfit(after, before, seen) + 1))


def _shifted(grid: Grid, columns: float, rows: float) -> Grid:
    """Return the grid read ``columns`` further right and ``rows`` further down; NaN where it knows nothing."""
    for axis, distance in ((1, columns), (0, rows)):
        whole = math.floor(distance)
        share = distance - whole
        grid = (1 - share) * _moved(grid, whole, axis) + share * _moved(grid, whole + 1, axis)
    return grid


def _moved(grid: Grid, by: int, axis: int) -> Grid:
    indices = np.arange(grid.shape[axis]) + by
    known = (indices >= 0) & (indices < grid.shape[axis])
    taken = np.take(grid, indices.clip(0, grid.shape[axis] - 1), axis=axis)
    return np.where(known if axis == 1 else known[:, None], taken, np.nan)


def _misfit(first: Grid, second: Grid, seen: NDArray[np.bool_]) -> float:
    """Return the mean difference, that of the light left out."""
    difference = (first - second)[seen]
    return float(np.abs(difference - np.median(difference)).mean())
