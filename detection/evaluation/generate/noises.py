"""Sounds of a room in an exam, made by arithmetic: signals of telephones, and what must not be taken for one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from detection.engine.media import SAMPLE_RATE_HZ

Line = NDArray[np.float64]
Make = Callable[[np.random.Generator], Line]

SEEN: Mapping[str, Sequence[tuple[float, float]]] = {
    "sine": ((1, 1),),
    "bell": ((1, 1), (2.0, 0.6), (2.76, 0.4), (5.4, 0.2)),
    "marimba": ((1, 1), (3.93, 0.25)),
    "square": ((1, 1), (3, 0.33), (5, 0.2), (7, 0.14)),
    "glass": ((1, 1), (2.32, 0.5), (4.25, 0.25)),
}
HELD_OUT: Mapping[str, Sequence[tuple[float, float]]] = {
    "celesta": ((1, 1), (2, 0.3), (4, 0.35), (6.2, 0.08)),
    "chime": ((1, 1), (2.57, 0.7), (4.95, 0.45), (8.1, 0.2)),
    "reed": ((1, 1), (2, 0.7), (3, 0.5), (4, 0.3), (5, 0.25), (6, 0.15)),
    "hollow": ((1, 1), (1.5, 0.5), (3, 0.15)),
    "fifth": ((1, 1), (1.498, 0.8), (2, 0.4)),
}
"""Timbres as partials (ratio, amplitude): those on which thresholds were chosen, and those that nobody looked at."""
_STEPS = (0.75, 1.0, 1.25, 1.335, 1.5, 2.0)
_HIGHEST_HZ = 7800.0


def signal(rng: np.random.Generator, timbres: Mapping[str, Sequence[tuple[float, float]]]) -> Line:
    """Return a notification: one to three notes that ring for 0.1 to 0.5 s, at a root mean square of about one."""
    partials = timbres[str(rng.choice(list(timbres)))]
    notes, apart_s, decay_s = int(rng.integers(1, 4)), float(rng.uniform(0.08, 0.22)), float(rng.uniform(0.08, 0.5))
    base_hz = float(rng.uniform(450, 1600))
    line = np.zeros(_count(apart_s * notes + 1.2))
    for index in range(notes):
        start = _count(index * apart_s)
        t = np.arange(len(line) - start) / SAMPLE_RATE_HZ
        hz = base_hz * float(rng.choice(_STEPS))
        for ratio, amplitude in partials:
            if hz * ratio < _HIGHEST_HZ:
                ringing = np.exp(-t / (decay_s / np.sqrt(ratio))) * np.minimum(1, t / 0.004)
                line[start:] += amplitude * np.sin(2 * np.pi * hz * ratio * t + rng.uniform(0, 6)) * ringing
    return np.asarray(line / np.sqrt(np.mean(np.square(line[: _count(0.3)]))), np.float64)


def key(rng: np.random.Generator) -> Line:
    """Return one stroke of a keyboard."""
    ringing = np.exp(-np.arange(_count(0.05)) / SAMPLE_RATE_HZ / rng.uniform(0.003, 0.012))
    stroke = _noise(0.05, rng.uniform(300, 1500), rng.uniform(3000, 7000), rng) * ringing * rng.uniform(0.3, 1)
    return np.asarray(stroke, np.float64)


def breath(rng: np.random.Generator) -> Line:
    """Return one breath into the microphone."""
    length_s = float(rng.uniform(0.8, 1.8))
    swell = np.sin(np.pi * np.linspace(0, 1, _count(length_s))) ** 2
    air = _noise(length_s, rng.uniform(200, 500), rng.uniform(1500, 4000), rng) * swell * rng.uniform(0.3, 1)
    return np.asarray(air, np.float64)


def rustle(rng: np.random.Generator) -> Line:
    """Return paper that is turned or folded."""
    count = _count(float(rng.uniform(0.3, 2)))
    crackle = np.repeat(rng.exponential(1, count // 160 + 1), 160)[:count]
    return _noise(count / SAMPLE_RATE_HZ, 800, 7500, rng) * crackle * np.hanning(count) * rng.uniform(0.3, 1)


def cough(rng: np.random.Generator) -> Line:
    """Return a cough; half of them end with a voice."""
    length_s = float(rng.uniform(0.25, 0.45))
    t = np.arange(_count(length_s)) / SAMPLE_RATE_HZ
    line = _noise(length_s, 300, rng.uniform(2500, 5000), rng) * np.exp(-t / rng.uniform(0.05, 0.12))
    if rng.random() < 0.5:
        rest = t[: len(t) - len(t) // 2]
        voice = sum(np.sin(2 * np.pi * rng.uniform(110, 260) * k * rest) / k for k in range(1, 12))
        line[len(t) // 2 :] += 0.4 * voice * np.hanning(len(rest))
    return line * rng.uniform(0.6, 1.5)


DISTRACTIONS: Mapping[str, tuple[Make, float]] = {
    "typing": (key, 6.0),
    "breathing": (breath, 0.35),
    "paper": (rustle, 0.7),
    "coughing": (cough, 0.5),
}
"""Kind → what makes one, and how many there are a second."""


def scatter(make: Make, per_second: float, length_s: float, rng: np.random.Generator) -> Line:
    """Return a stretch with such sounds in it at times that chance chooses."""
    line = np.zeros(_count(length_s))
    at_s = float(rng.exponential(1 / per_second))
    while _count(at_s) < len(line):
        sound = make(rng)[: len(line) - _count(at_s)]
        line[_count(at_s) : _count(at_s) + len(sound)] += sound
        at_s += 0.3 * len(sound) / SAMPLE_RATE_HZ + float(rng.exponential(1 / per_second))
    return line


def in_a_room(line: Line, rng: np.random.Generator) -> Line:
    """Return the sound with the echo of a small furnished room."""
    tail = rng.standard_normal(_count(0.3)) * np.exp(-np.linspace(0, 9, _count(0.3))) * 0.03
    tail[0] = 1
    size = len(line) + len(tail)
    return np.fft.irfft(np.fft.rfft(line, size) * np.fft.rfft(tail, size), size)[: len(line)]


def _noise(length_s: float, low_hz: float, high_hz: float, rng: np.random.Generator) -> Line:
    count = _count(length_s)
    hz = np.fft.rfftfreq(count, 1 / SAMPLE_RATE_HZ)
    shape = 1 / (1 + (low_hz / np.maximum(hz, 1)) ** 4) / (1 + (hz / high_hz) ** 4)
    line = np.fft.irfft(np.fft.rfft(rng.standard_normal(count)) * shape, count)
    return np.asarray(line / np.sqrt(np.mean(line**2)), np.float64)


def _count(length_s: float) -> int:
    return round(length_s * SAMPLE_RATE_HZ)
