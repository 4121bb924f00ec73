"""Notice that the sound repeats itself: a recording played in a loop in the microphone's place.

A live room never makes the same noise twice. Four fingerprints a second of the last two minutes are kept; each window
is laid against all of them at every distance in time. Where it is alike at one distance for many seconds on end, the
sound is a loop of that length.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detection.engine.observations import AUDIO, Observation
from detection.engine.policy import Policy

FRAMES_PER_SECOND = 64
BITS = 24
"""Of the fingerprints: see ``detectors.sounds``."""
MEMORY_S = 120
_EVERY = 16
"""Of so many fingerprints one is kept."""
SHORTEST_S = 3.0
"""Shorter loops are hums, fans and clocks."""
ALIKE = 0.34
"""Share of bits that differ, up to which two windows are alike. Loops coded anew by Opus differ in 0.02 to 0.25, rooms
in 0.5 with a standard deviation of 0.05."""
_OCTETS = 5
"""Of a kept fingerprint with its time: three, and two for two minutes in 1/64 s."""
_CANDIDATES = 6
"""Distances followed at a time: a loop heard five times is alike at five."""
LONGEST_S = 600.0
_SLACK = 1
"""Frames by which the distance may wander from window to window."""

State = Mapping[str, Any]


class SoundLoops:
    """Derives ``loop_s``: for how many seconds on end the sound has repeated what it was ``period_s`` before."""

    name = "sound_loops"
    streams = frozenset({AUDIO})

    def learn(self, state: State, observation: Observation, policy: Policy) -> tuple[State, Mapping[str, Any] | None]:
        """Compare a window with the minutes before, and keep its fingerprints. Silence breaks a loop off."""
        sounds = observation.measures.get("sounds")
        if sounds is None or observation.started_at is None:
            return state, None
        words = np.array(sounds["fingerprint"], np.int64)
        start = round(observation.started_at * FRAMES_PER_SECOND)
        length_s = observation.captured_at - observation.started_at
        at, kept = _unpack(state.get("kept", ""), state.get("start", start))
        recent = at >= start - MEMORY_S * FRAMES_PER_SECOND
        at, kept = at[recent], kept[recent]
        runs = _go_on(state.get("runs", []), _alike(words, start, at, kept), length_s)
        at = np.concatenate([at, start + np.arange(0, len(words), _EVERY)])
        kept = np.concatenate([kept, words[::_EVERY]])
        known = {"runs": runs, **_pack(at, kept)}
        period, seconds = max(runs, key=lambda run: run[1], default=[0, 0.0])
        return known, {"loop_s": round(seconds, 1), "period_s": round(period / FRAMES_PER_SECOND, 2)}


def _alike(words: NDArray[np.int64], start: int, at: NDArray[np.int64], kept: NDArray[np.int64]) -> list[int]:
    """Return the distances in frames at which these fingerprints are those kept, the most alike first."""
    if not len(words) or not len(kept):
        return []
    distance = (start + np.arange(len(words)))[:, None] - at
    differing = np.bitwise_count(words[:, None] ^ kept)
    least = round(SHORTEST_S * FRAMES_PER_SECOND)
    flat, wanted = distance.reshape(-1), (distance >= least).reshape(-1)
    total = np.bincount(flat[wanted], weights=differing.reshape(-1)[wanted])
    count = np.bincount(flat[wanted])
    share = np.where(count >= max(2, len(words) // _EVERY - 1), total / np.maximum(count, 1) / BITS, 1.0)
    order = np.argsort(share)[:_CANDIDATES]
    return [int(each) for each in order if share[each] <= ALIKE]


def _go_on(runs: Sequence[Sequence[float]], distances: Sequence[int], length_s: float) -> list[list[float]]:
    """Return for each distance for how long it has held: longer by a window where it held before, else anew."""
    grown: dict[int, float] = {}
    for distance in distances:
        before = max((seconds for period, seconds in runs if abs(period - distance) <= _SLACK), default=0.0)
        grown[distance] = min(before + length_s, LONGEST_S)
    return [[distance, round(seconds, 2)] for distance, seconds in grown.items()]


def _pack(at: NDArray[np.int64], kept: NDArray[np.int64]) -> dict[str, Any]:
    """Return times and fingerprints as one string, base64 of five bytes for each: it is kept as JSON."""
    if not len(at):
        return {}
    together = ((at - at[0]) << BITS | kept).astype(">u8")
    octets = together.view(np.uint8).reshape(-1, 8)[:, 8 - _OCTETS :]
    return {"start": int(at[0]), "kept": base64.b64encode(octets.tobytes()).decode()}


def _unpack(text: str, first: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    octets = np.frombuffer(base64.b64decode(text), np.uint8).reshape(-1, _OCTETS)
    together = np.pad(octets, ((0, 0), (8 - _OCTETS, 0))).reshape(-1).view(">u8").astype(np.int64)
    return (together >> BITS) + first, together & ((1 << BITS) - 1)
