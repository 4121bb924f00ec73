"""Read who speaks when from an RTTM file (NIST Rich Transcription Time Marks)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from detection.evaluation.layout import LayoutError

_FIELDS = 8
"""SPEAKER file channel onset duration <NA> <NA> name, and what may follow."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Somebody speaks from ``start_s`` to ``end_s``."""

    start_s: float
    end_s: float
    speaker: str


def read_rttm(path: Path) -> list[Turn]:
    """Return the ``SPEAKER`` lines; others and comments are passed over. Bad ones raise ``LayoutError``."""
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise LayoutError(path.name, 1, "is not UTF-8 text") from None
    return [
        _turn(path.name, number, line)
        for number, line in enumerate(lines, start=1)
        if line.strip() and not line.lstrip().startswith(";") and line.split()[0] == "SPEAKER"
    ]


def _turn(file: str, number: int, line: str) -> Turn:
    cells = line.split()
    if len(cells) < _FIELDS:
        raise LayoutError(file, number, f"a SPEAKER line has at least {_FIELDS} fields, this one {len(cells)}", line)
    try:
        start_s, duration_s = float(cells[3]), float(cells[4])
    except ValueError:
        start_s = duration_s = math.nan
    if not (math.isfinite(start_s) and math.isfinite(duration_s) and start_s >= 0 and duration_s >= 0):
        raise LayoutError(file, number, "onset and duration must be numbers from 0 on", line)
    return Turn(start_s, start_s + duration_s, cells[7])


def overlap_per_second(turns: list[Turn], seconds: int) -> list[float]:
    """Return for each second of a recording how much of it two or more speakers fill, 0 to 1."""
    edges = sorted(
        [(turn.start_s, 1, turn.speaker) for turn in turns] + [(turn.end_s, -1, turn.speaker) for turn in turns]
    )
    shares = [0.0] * seconds
    open_turns: dict[str, int] = {}
    before = 0.0
    for at_s, step, speaker in edges:
        if sum(count > 0 for count in open_turns.values()) >= 2:
            _add(shares, before, at_s)
        open_turns[speaker] = open_turns.get(speaker, 0) + step
        before = at_s
    return shares


def _add(shares: list[float], start_s: float, end_s: float) -> None:
    for second in range(int(start_s), min(len(shares), math.ceil(end_s))):
        shares[second] += max(0.0, min(end_s, second + 1) - max(start_s, second))
