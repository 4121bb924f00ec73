"""The average face that comes with the landmarks' networks, and how it lies under the points of a picture."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detection.engine.model import FACE_LANDMARKER

CANONICAL_FACE = f"{FACE_LANDMARKER}!geometry_pipeline_metadata_landmarks.binarypb"

_VERTEX_FLOATS = 5  # x, y, z, and two coordinates of a texture
_MESH_FIELD, _VERTEX_FIELD = 1, 3


@dataclass(frozen=True, slots=True, eq=False)
class FaceFit:
    """How the average face lies in a picture.

    ``rotation``: ``(3, 3)``, axes x right, y up, z towards the camera. ``pixels_per_cm``: its scale.
    """

    rotation: NDArray[np.float64]
    pixels_per_cm: float


class CanonicalFace:
    """Lays the average face over landmarks.

    The linear map that takes it to where they lie, by least squares, and of that the nearest rotation. The camera is
    taken to be far away (scaled orthographic projection), as in the face models whose angles AFLW2000 and 300W-LP
    list. The depth that the network gives is not used: it is compressed, and makes turned heads look a tenth less
    turned.
    """

    def __init__(self, geometry: bytes) -> None:
        """Take the bundle's description of the average face."""
        vertices = read_vertices(geometry)
        self._count = len(vertices)
        # Of [x y z 1] per vertex: the least-squares map to any picture is this times its points.
        self._solve = np.linalg.pinv(np.hstack([vertices, np.ones((self._count, 1))]))[:3]

    def fit(self, points: NDArray[np.float64]) -> FaceFit:
        """Lay the face over points ``(468 or more, 2 or more)`` in pixels, in the canonical order."""
        across = points[: self._count, :2] * [1.0, -1.0]  # the average face's y points up
        first, scales, second = np.linalg.svd((self._solve @ across).T, full_matrices=False)
        right, up = first @ second
        return FaceFit(np.vstack([right, up, np.cross(right, up)]), max(float(scales.mean()), 1e-6))


def read_vertices(geometry: bytes) -> NDArray[np.float64]:
    """Return the average face's points, float64 ``(468, 3)`` in centimetres, y up, z towards the viewer."""
    mesh = next(value for number, value in _fields(geometry) if number == _MESH_FIELD)
    assert isinstance(mesh, bytes)
    floats = [value for number, value in _fields(mesh) if number == _VERTEX_FIELD]
    return np.array(floats, np.float64).reshape(-1, _VERTEX_FLOATS)[:, :3]


def _fields(message: bytes) -> Iterator[tuple[int, bytes | float | int]]:
    """Yield number and value of a protocol buffer's fields: bytes, 32-bit floats and varints are all that it has."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        number, kind = key >> 3, key & 7
        if kind == 2:
            length, position = _varint(message, position)
            yield number, message[position : position + length]
            position += length
        elif kind == 5:
            yield number, struct.unpack_from("<f", message, position)[0]
            position += 4
        elif kind == 0:
            value, position = _varint(message, position)
            yield number, value
        else:
            raise ValueError(f"a field of wire type {kind} at {position}")


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, position
