"""Generated rooms in which somebody whispers, a telephone gives a signal, or neither: exams without a picture."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detection.engine.media import SAMPLE_RATE_HZ
from detection.engine.policy import DEFAULT_POLICY, EventType, merge
from detection.evaluation.generate import noises
from detection.evaluation.generate.recordings import VOICES, Sound, gain, room, say, write_sound
from detection.evaluation.generate.tables import write_table
from detection.evaluation.generate.whispers import whisper

COLUMNS = ["media", "reference", "event_type", "start_s", "end_s", "subject"]
WATCHED = (EventType.WHISPER, EventType.NOTIFICATION_SOUND)
OTHER_VOICES = ("gmw/de", "roa/fr", "gmw/en+f5", "gmw/en-US+m4", "gmw/nl+f3", "roa/es+m2")
"""Voices on which no threshold was chosen."""
_LENGTH_S = 60.0
_SHORTEST_S = 2.5
"""Shorter whispers are not expected to be noticed: the rule wants three seconds on end."""

Event = tuple[EventType, float, float]


def make(directory: Path, rng: np.random.Generator, count: int, *, held_out: bool) -> str:
    """Write ``count`` recordings of each kind, ``exam.csv`` and ``policy.json``; return what they are."""
    voices, timbres = (OTHER_VOICES, noises.HELD_OUT) if held_out else (VOICES, noises.SEEN)
    rows: list[tuple[object, ...]] = []
    for index in range(count):
        for kind in ("whisper", "signals", "voice", *noises.DISTRACTIONS):
            name = f"{kind}_{index:02}.wav"
            sound, events = _record(kind, voices[index % len(voices)], timbres, rng)
            write_sound(directory / name, sound)
            rows += [(name, "", *event, name) for event in events] or [(name, "", "", "", "", name)]
    write_table(directory / "exam.csv", COLUMNS, rows)
    write_policy(directory)
    seen = "on none of which" if held_out else "on which"
    return (
        f"{count} recordings of {_LENGTH_S:g} s each of whispering, of signals of telephones, of ordinary speech, "
        "typing, breathing, paper and coughing, -45 to -25 dBFS, in a room with echo and noise of -65 to -55 "
        "dBFS. Whispers are synthetic voices whose vocal cords a program replaced by breath, all else is arithmetic; "
        f"voices and timbres {seen} thresholds were chosen. policy.json watches for whispers and signals alone."
    )


def write_policy(directory: Path) -> None:
    """Write a policy that watches for whispers and signals, and nothing else."""
    rules = {event.value: {"enabled": event in WATCHED} for event in EventType}
    policy = merge(DEFAULT_POLICY.to_dict(), {"rules": rules})
    (directory / "policy.json").write_text(json.dumps(policy, indent=1))


def _record(
    kind: str, voice: str, timbres: Mapping[str, Sequence[tuple[float, float]]], rng: np.random.Generator
) -> tuple[Sound, list[Event]]:
    line = room(_LENGTH_S, float(rng.uniform(-65, -55)), rng)
    events: list[Event] = []
    if kind in noises.DISTRACTIONS:
        sounds = noises.scatter(*noises.DISTRACTIONS[kind], _LENGTH_S, rng)
        loudness = gain(float(rng.uniform(-45, -30))) / np.sqrt(np.mean(sounds**2))
        return np.asarray(line + noises.in_a_room(sounds, rng) * loudness, np.float32), events
    at_s = float(rng.uniform(3, 6))
    while at_s < _LENGTH_S - 12:
        sound, event = _one(kind, voice, timbres, rng)
        start = round(at_s * SAMPLE_RATE_HZ)
        sound = sound[: len(line) - start]
        line[start : start + len(sound)] += sound
        end_s = at_s + len(sound) / SAMPLE_RATE_HZ
        if event is not None and (event != EventType.WHISPER or end_s - at_s >= _SHORTEST_S):
            events.append((event, at_s, end_s))
        at_s = end_s + float(rng.uniform(4, 8))
    return line, events


def _one(
    kind: str, voice: str, timbres: Mapping[str, Sequence[tuple[float, float]]], rng: np.random.Generator
) -> tuple[Sound, EventType | None]:
    """Return one sound of a kind in the room, and the incident that it is."""
    dry: NDArray[Any]
    event: EventType | None
    if kind == "signals":
        dry, event = noises.signal(rng, timbres), EventType.NOTIFICATION_SOUND
    else:
        said = say(rng, voice)
        dry, event = (whisper(said, rng), EventType.WHISPER) if kind == "whisper" else (said, None)
    wet = noises.in_a_room(np.asarray(dry, np.float64), rng)
    return np.asarray(wet * gain(float(rng.uniform(-45, -25))), np.float32), event
