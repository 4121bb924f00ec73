"""The empty room: a generated wall with shelf, books, lamp and plant, a little out of focus. No photograph is in it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

ROOM_WH = (800, 600)
"""Larger than the frame, so that the camera can sway."""
_SEED = 7


def paint_room() -> NDArray[np.uint8]:
    """Paint the room, BGR uint8 of ``ROOM_WH``."""
    rng = np.random.default_rng(_SEED)
    room = _wall(rng)
    _skirting(room)
    _window(room)
    _shelf(room, rng, x=520, y=210)
    _shelf(room, rng, x=520, y=330)
    _plant(room, rng)
    _lamp(room)
    soft = cv2.GaussianBlur(room, (0, 0), 1.6)
    grain = rng.normal(0.0, 2.0, soft.shape)
    return np.asarray(np.clip(soft + grain, 0, 255), dtype=np.uint8)


def _wall(rng: np.random.Generator) -> NDArray[np.float32]:
    width, height = ROOM_WH
    shade = np.linspace(1.0, 0.72, width)[None, :] * np.linspace(1.02, 0.9, height)[:, None]
    blotches = cv2.resize(rng.normal(0, 1, (10, 14)), ROOM_WH, interpolation=cv2.INTER_CUBIC)
    wall = np.array([176.0, 188.0, 196.0])[None, None, :] * shade[..., None] + 3.0 * blotches[..., None]
    return wall.astype(np.float32)


def _skirting(room: NDArray[np.float32]) -> None:
    width, height = ROOM_WH
    cv2.rectangle(room, (0, height - 110), (width, height), (78, 96, 118), -1)
    cv2.rectangle(room, (0, height - 128), (width, height - 110), (206, 212, 214), -1)


def _window(room: NDArray[np.float32]) -> None:
    cv2.rectangle(room, (70, 90), (250, 350), (225, 228, 226), -1)
    for left in (82, 166):
        for top in (102, 226):
            sky = np.linspace(0, 1, 112)[:, None, None] * np.array([[[-18.0, -10.0, 4.0]]]) + [236.0, 218.0, 196.0]
            room[top : top + 112, left : left + 72] = sky
    cv2.rectangle(room, (58, 350), (262, 364), (198, 204, 206), -1)


def _shelf(room: NDArray[np.float32], rng: np.random.Generator, *, x: int, y: int) -> None:
    cv2.rectangle(room, (x, y), (x + 230, y + 9), (52, 78, 108), -1)
    left = x + 8
    while left < x + 190:
        width, height = int(rng.integers(11, 26)), int(rng.integers(52, 88))
        colour = tuple(float(v) for v in rng.integers(40, 170, 3))
        cv2.rectangle(room, (left, y - height), (left + width, y - 1), colour, -1)
        cv2.line(room, (left, y - height), (left, y - 1), (30, 30, 30), 1)
        left += width + 1


def _plant(room: NDArray[np.float32], rng: np.random.Generator) -> None:
    for _ in range(26):
        angle, length = float(rng.uniform(-150, -30)), float(rng.uniform(50, 105))
        tip = (int(345 + length * np.cos(np.radians(angle))), int(430 + length * np.sin(np.radians(angle))))
        green = (float(rng.uniform(40, 70)), float(rng.uniform(95, 140)), float(rng.uniform(50, 80)))
        cv2.line(room, (345, 430), tip, green, 7, cv2.LINE_AA)
    pot = np.array([(312, 430), (378, 430), (366, 500), (324, 500)], dtype=np.int32)
    cv2.fillPoly(room, [pot], (74, 104, 158))


def _lamp(room: NDArray[np.float32]) -> None:
    cv2.line(room, (455, 250), (455, 490), (70, 74, 80), 6)
    shade = np.array([(420, 262), (490, 262), (475, 200), (435, 200)], dtype=np.int32)
    cv2.fillPoly(room, [shade], (170, 214, 240))
    glow = np.zeros((ROOM_WH[1], ROOM_WH[0]), np.float32)
    cv2.circle(glow, (455, 240), 60, 1.0, -1)
    warm = np.array([14.0, 30.0, 42.0], dtype=np.float32)
    room += np.asarray(cv2.GaussianBlur(glow, (0, 0), 55), dtype=np.float32)[..., None] * warm
