"""Generated recordings: synthetic voices (eSpeak NG) in rooms with noise."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

from demo.voices import speak
from detection.engine.media import SAMPLE_RATE_HZ
from detection.evaluation.generate.tables import write_table

VOICES = ("gmw/en", "gmw/en-US+f2", "gmw/en-GB-scotland", "gmw/en-US+m3", "gmw/en-US+f4", "gmw/en-029", "gmw/en+m7")
TEXTS = (
    "The second answer is the one about photosynthesis. Write down that light becomes sugar.",
    "Then look at the next question, and read me what it says about water.",
    "Number nine is false. Number ten is true, because the sum of the angles is one hundred and eighty degrees.",
    "I will tell you in a moment. First give me the dates, then the names of the three rivers.",
    "No, that is not right. Take the square root before you divide by seven.",
)
_FRAME = SAMPLE_RATE_HZ // 100
_BRIDGED = 30
"""Pauses of up to 0.3 s inside an utterance are speech, as annotators have it."""
_FLOOR = 0.02
"""Share of an utterance's peak below which a frame of 10 ms is a pause."""

Sound = NDArray[np.float32]


def make_speech(directory: Path, rng: np.random.Generator, count: int) -> str:
    """Write ``count`` recordings and ``segments.csv``; return what they are."""
    rows: list[tuple[object, ...]] = []
    for index in range(count):
        sound, name = room(30.0, float(rng.uniform(-65, -45)), rng), f"speech_{index:02}.wav"
        at_s, found = float(rng.uniform(1, 4)), False
        while at_s < 26 and index % 6 != 5:  # each sixth has no speech at all
            said = say(rng) * gain(float(rng.uniform(-45, -20)))
            start = round(at_s * SAMPLE_RATE_HZ)
            said = said[: len(sound) - start]
            sound[start : start + len(said)] += said
            rows += [(name, at_s + a, at_s + b, f"recording {index}") for a, b in _active(said)]
            found, at_s = True, at_s + len(said) / SAMPLE_RATE_HZ + float(rng.uniform(0.8, 4))
        if not found:
            rows.append((name, "", "", f"recording {index}"))
        write_sound(directory / name, sound)
    write_table(directory / "segments.csv", ["audio", "start_s", "end_s", "subject"], rows)
    return f"{count} recordings of 30 s: eSpeak NG voices between -45 and -20 dBFS over noise between -65 and -45 dBFS."


def make_speakers(directory: Path, rng: np.random.Generator, count: int) -> str:
    """Write ``count`` recordings with their RTTM; a quarter has one voice only. Return what they are."""
    for index in range(count):
        name, lines = f"meeting_{index:02}", []
        sound = room(20.0, -60.0, rng)
        voices = list(rng.permutation(VOICES)[: 1 if index % 4 == 0 else 2])
        at_s, turn = 0.5, 0
        while at_s < 16:
            voice = str(voices[turn % len(voices)])
            said = say(rng, voice) * gain(float(rng.uniform(-32, -22)))
            start = round(at_s * SAMPLE_RATE_HZ)
            said = said[: len(sound) - start]
            sound[start : start + len(said)] += said
            length_s = len(said) / SAMPLE_RATE_HZ
            lines.append(f"SPEAKER {name} 1 {at_s:.3f} {length_s:.3f} <NA> <NA> {voice} <NA> <NA>")
            early = rng.uniform(0.5, 2.5) if len(voices) > 1 and rng.random() < 0.5 else -rng.uniform(0.3, 1.0)
            at_s, turn = at_s + max(0.5, length_s - float(early)), turn + 1
        write_sound(directory / f"{name}.wav", sound)
        (directory / f"{name}.rttm").write_text("\n".join(lines) + "\n")
    return (
        f"{count} recordings of 20 s: one or two eSpeak NG voices that fall into one another's words half of the time."
    )


def make_voices(directory: Path, rng: np.random.Generator, count: int) -> str:
    """Write two recordings of each of (at most) seven voices in ``count`` levels of noise, and ``pairs.csv``."""
    names: list[tuple[str, str]] = []
    for index in range(count):
        voice = VOICES[index % len(VOICES)]
        name = f"voice_{index:02}.wav"
        said = say(rng, voice) * gain(-25.0)
        write_sound(directory / name, said + room(len(said) / SAMPLE_RATE_HZ, float(rng.uniform(-65, -50)), rng))
        names.append((name, voice))
    rows = [
        (first, second, int(one == other))
        for index, (first, one) in enumerate(names)
        for second, other in names[index + 1 :]
    ]
    write_table(directory / "pairs.csv", ["first", "second", "same"], rows)
    return f"{count} recordings of eSpeak NG's {len(VOICES)} voices. They differ less than people do."


def say(rng: np.random.Generator, voice: str = "") -> Sound:
    """Return an utterance by a voice, or by any, at a root mean square of one while it is spoken."""
    spoken, rate = speak(str(rng.choice(TEXTS)), voice=voice or str(rng.choice(VOICES)))
    sound = np.asarray(soxr.resample(spoken, rate, SAMPLE_RATE_HZ), np.float32)
    loud = np.flatnonzero(np.abs(sound) > _FLOOR * np.abs(sound).max())
    sound = sound[loud[0] : loud[-1] + 1]
    return np.asarray(sound / np.sqrt(np.mean(np.square(sound))), np.float32)


def _active(said: Sound) -> list[tuple[float, float]]:
    """Return the stretches of an utterance, in seconds, that are speech and not a pause between sentences."""
    count = len(said) // _FRAME
    peaks = np.abs(said[: count * _FRAME]).reshape(count, _FRAME).max(axis=1)
    loud = np.flatnonzero(peaks > _FLOOR * np.abs(said).max()) if count else np.zeros(0, int)
    groups = np.split(loud, np.flatnonzero(np.diff(loud) > _BRIDGED) + 1)
    return [(int(group[0]) / 100, int(group[-1] + 1) / 100) for group in groups if len(group)]


def gain(dbfs: float) -> np.float32:
    return np.float32(10 ** (dbfs / 20))


def room(length_s: float, dbfs: float, rng: np.random.Generator) -> Sound:
    """Return noise that falls by 3 dB an octave."""
    count = round(length_s * SAMPLE_RATE_HZ)
    spectrum = np.fft.rfft(rng.standard_normal(count))
    frequencies = np.fft.rfftfreq(count, 1 / SAMPLE_RATE_HZ)
    noise = np.fft.irfft(spectrum / np.sqrt(np.maximum(frequencies, 40.0)), count)
    return np.asarray(noise / np.sqrt(np.mean(np.square(noise))) * gain(dbfs), np.float32)


def write_sound(path: Path, sound: Sound) -> None:
    pcm = (np.clip(sound, -1, 1) * 32767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes(pcm.tobytes())
