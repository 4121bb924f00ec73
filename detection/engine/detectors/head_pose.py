"""Measure which way the head points, from the landmarks.

An average face in three dimensions is laid over the points: the linear map that takes it to where they lie in the
picture, by least squares, and of that the nearest rotation. The camera is taken to be far away (scaled orthographic
projection), as in the face models whose angles AFLW2000 and 300W-LP list. The depth that the network gives is not used:
it is compressed, and makes turned heads look a tenth less turned.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detection.engine.model import FACE_LANDMARKER
from detection.engine.observations import VIDEO, LandmarksMeasure
from detection.engine.samples import VideoSample

CANONICAL_FACE = f"{FACE_LANDMARKER}!geometry_pipeline_metadata_landmarks.binarypb"
_MIN_PRESENCE = 0.5
"""Below this the network itself takes what it sees for no face: its points mean nothing."""

_VERTEX_FLOATS = 5  # x, y, z, and two coordinates of a texture
_MESH_FIELD, _VERTEX_FIELD = 1, 3

Angles = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class HeadPoseMeasure:
    """Where the head points, signs of the glossary: zero into the lens, nose to image right, up, clockwise."""

    pitch_deg: float
    yaw_deg: float
    roll_deg: float

    def to_dict(self) -> dict[str, float]:
        """Return the JSON-able form."""
        return {
            "pitch_deg": round(self.pitch_deg, 2),
            "yaw_deg": round(self.yaw_deg, 2),
            "roll_deg": round(self.roll_deg, 2),
        }


class HeadPoseDetector:
    """Measures the head's angles on the landmarks of the largest face."""

    name = "head_pose"
    stream = VIDEO
    models = ()

    def __init__(self, canonical_face: bytes) -> None:
        """Take the bundle's description of the average face."""
        vertices = read_vertices(canonical_face)
        self._count = len(vertices)
        # Of [x y z 1] per vertex: the least-squares map to any picture is this times its points.
        self._solve = np.linalg.pinv(np.hstack([vertices, np.ones((self._count, 1))]))[:3]

    def due(self, sample: VideoSample) -> bool:
        """Measure wherever there are landmarks."""
        landmarks = sample.found.get("landmarks")
        return (
            sample.job.policy.detectors.head_pose.enabled
            and isinstance(landmarks, LandmarksMeasure)
            and landmarks.presence >= _MIN_PRESENCE
        )

    def measure(self, samples: Sequence[VideoSample]) -> list[HeadPoseMeasure]:
        """Measure each frame; where there was a look in the mirror, the mean of both."""
        return [self.of_landmarks(sample.found["landmarks"]) for sample in samples]  # type: ignore[arg-type]

    def of_landmarks(self, landmarks: LandmarksMeasure) -> HeadPoseMeasure:
        """Measure the head's angles on its landmarks."""
        pitch, yaw, roll = self.angles(landmarks.points)
        if landmarks.mirrored is not None:
            other_pitch, other_yaw, other_roll = self.angles(landmarks.mirrored)
            pitch, yaw, roll = (pitch + other_pitch) / 2, (yaw - other_yaw) / 2, _half_way(roll, -other_roll)
        return HeadPoseMeasure(pitch, yaw, roll)

    def angles(self, points: NDArray[np.float64]) -> Angles:
        """Return pitch, yaw and roll in degrees for points ``(N, 2 or more)`` in pixels, in the canonical order."""
        across = points[: self._count, :2] * [1.0, -1.0]  # the average face's y points up
        first, _, second = np.linalg.svd((self._solve @ across).T, full_matrices=False)
        right, up = first @ second
        return euler(np.vstack([right, up, np.cross(right, up)]))


def euler(rotation: NDArray[np.float64]) -> Angles:
    """Return pitch, yaw and roll in degrees, signs of the glossary, of a rotation of the face before the camera.

    ``rotation``: ``(3, 3)``, axes x right, y up, z towards the camera; it turns the face first about x, then y, then z,
    as AFLW2000's labels do.
    """
    pitch = -math.degrees(math.atan2(rotation[2, 1], rotation[2, 2]))
    yaw = math.degrees(math.asin(max(-1.0, min(1.0, -rotation[2, 0]))))
    roll = -math.degrees(math.atan2(rotation[1, 0], rotation[0, 0]))
    return pitch, yaw, roll


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


def _half_way(a: float, b: float) -> float:
    """Return the angle half way between two, in degrees."""
    return a + (((b - a) + 180) % 360 - 180) / 2
