"""Relate boxes to one another: plain sequences of left, top, right and bottom."""

from __future__ import annotations

import math
from collections.abc import Sequence

Box = Sequence[float]


def area(box: Box) -> float:
    """Return a box's area; 0 where it is empty."""
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def middle(box: Box) -> tuple[float, float]:
    """Return a box's middle, x and y."""
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def contains(box: Box, point: tuple[float, float]) -> bool:
    """Return whether a point lies in a box."""
    return box[0] <= point[0] <= box[2] and box[1] <= point[1] <= box[3]


def shared(first: Box, second: Box) -> float:
    """Return how much of the smaller box lies in the other one, 0 to 1."""
    across = min(first[2], second[2]) - max(first[0], second[0])
    down = min(first[3], second[3]) - max(first[1], second[1])
    return max(0.0, across) * max(0.0, down) / max(min(area(first), area(second)), 1e-9)


def same_place(first: Box, second: Box, *, reach: float = 1.0) -> bool:
    """Return whether two boxes may show one thing: their middles less than ``reach`` times the mean diagonal apart."""
    (ax, ay), (bx, by) = middle(first), middle(second)
    diagonal = (math.hypot(first[2] - first[0], first[3] - first[1]) + math.hypot(*_sides(second))) / 2
    return math.hypot(ax - bx, ay - by) < reach * diagonal


def _sides(box: Box) -> tuple[float, float]:
    return box[2] - box[0], box[3] - box[1]
