"""What is around a face, coarsely and without the face: from it ``learners.rigidity`` tells a print from a person."""

from __future__ import annotations

import base64

import cv2
import numpy as np
from numpy.typing import NDArray

from detection.engine.observations import Face

SHAPE = (7, 16)
COLUMN_WIDTHS = 4.4 / (SHAPE[1] - 1)
"""Distance of columns in widths of the face's box: they reach 2.2 to both sides of its middle."""
ROW_WIDTHS = 2.25 / (SHAPE[0] - 1)
"""Distance of rows, likewise: from above the head down to the shoulders, which move with it."""
HIDDEN = 0
"""A cell outside the picture, or where face and hair are; grey values begin at 1."""
_CELL_WIDTHS = 0.29
_TOP_WIDTHS = -1.625
_HEAD_WIDTHS = 0.85
_ABOVE_HEAD_WIDTHS = -1.06

_ACROSS = np.arange(SHAPE[1]) * COLUMN_WIDTHS - 2.2
_DOWN = np.arange(SHAPE[0]) * ROW_WIDTHS + _TOP_WIDTHS
_HEAD = (np.abs(_ACROSS)[None] < _HEAD_WIDTHS) & (_DOWN[:, None] > _ABOVE_HEAD_WIDTHS)


def place(face: Face) -> tuple[float, float, float]:
    """Return where a face is: the point between eyes and mouth, x and y, and its box's width, in pixels."""
    eyes, mouth = face.landmarks[:2].mean(axis=0), face.landmarks[3:].mean(axis=0)
    x, y = (eyes + mouth) / 2
    return float(x), float(y), max(face.width_px, 1.0)


def surroundings(image: NDArray[np.uint8], face: Face) -> NDArray[np.uint8]:
    """Return mean grey values of cells around a face, in ``SHAPE``, ``HIDDEN`` where there are none."""
    x, y, width = place(face)
    cell = max(1, round(width * _CELL_WIDTHS))
    columns, rows = np.rint(x + _ACROSS * width).astype(int), np.rint(y + _DOWN * width).astype(int)
    top, left = (
        int(np.clip(at[0] - cell, 0, size - 1)) for at, size in zip((rows, columns), image.shape, strict=False)
    )
    part = np.ascontiguousarray(image[top : max(0, rows[-1]) + cell + 1, left : max(0, columns[-1]) + cell + 1])
    grey = cv2.blur(cv2.cvtColor(part, cv2.COLOR_BGR2GRAY), (cell, cell))
    values = grey[(rows - top).clip(0, grey.shape[0] - 1)][:, (columns - left).clip(0, grey.shape[1] - 1)]
    outside = _outside(rows, cell, image.shape[0])[:, None] | _outside(columns, cell, image.shape[1])[None]
    return np.where(_HEAD | outside, HIDDEN, np.maximum(values, HIDDEN + 1)).astype(np.uint8)


def to_text(cells: NDArray[np.uint8]) -> str:
    """Return ``surroundings`` as they travel and are remembered: base64, a fourth of what JSON takes for numbers."""
    return base64.b64encode(cells.tobytes()).decode()


def from_text(text: str) -> NDArray[np.float64]:
    """Return the grey values of ``to_text`` in ``SHAPE``, NaN where a cell is hidden."""
    cells = np.frombuffer(base64.b64decode(text), np.uint8).reshape(SHAPE)
    return np.where(cells == HIDDEN, np.nan, cells)


def _outside(positions: NDArray[np.int_], cell: int, size: int) -> NDArray[np.bool_]:
    return (positions < cell / 2) | (positions > size - 1 - cell / 2)
