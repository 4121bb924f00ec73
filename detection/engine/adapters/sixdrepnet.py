"""Head pose networks of the 6DRepNet kind: 224 by 224 pixels, ImageNet's normalisation, a rotation matrix as output."""

from __future__ import annotations

import numpy as np

from detection.engine.model import Array

SIZE = 224


def angles_deg(rotations: Array) -> tuple[Array, Array, Array]:
    """Return yaw, pitch and roll in degrees, ``(N,)`` each, in the glossary's signs, of ``(N, 3, 3)`` matrices.

    Euler angles about x, y, z in the order of 300W-LP. There yaw grows to image left, pitch upwards, roll clockwise;
    the glossary's yaw grows to image right.
    """
    if rotations.ndim != 3 or rotations.shape[1:] != (3, 3):
        raise ValueError(f"The network gives {rotations.shape}, not (N, 3, 3)")
    across = np.hypot(rotations[:, 0, 0], rotations[:, 1, 0])
    pitch = np.arctan2(rotations[:, 2, 1], rotations[:, 2, 2])
    yaw = np.arctan2(-rotations[:, 2, 0], across)
    roll = np.arctan2(rotations[:, 1, 0], rotations[:, 0, 0])
    return -np.degrees(yaw), np.degrees(pitch), np.degrees(roll)
