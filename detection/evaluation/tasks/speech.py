"""Speech in recordings: the detector's probabilities over the whole time line, in frames of 30 ms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detection.engine.media import SAMPLE_RATE_HZ
from detection.engine.samples import AudioSample
from detection.engine.silero import CHUNK_S
from detection.evaluation import media, metrics
from detection.evaluation.bootstrap import Owners
from detection.evaluation.layout import Row, read_table
from detection.evaluation.product import Product, audio_jobs
from detection.evaluation.report import HOURS, Figure, Report, by_group, figure, plain
from detection.evaluation.shelf import Shelf, batches

FRAME_S = 0.03
_BATCH = 64

Span = tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False)
class _Recording:
    """What was heard in a recording, and whether anybody speaks, per frame."""

    owner: str
    group: str
    probabilities: NDArray[np.float64]
    spoken: NDArray[np.bool_]


def evaluate(product: Product, directory: Path) -> Report:
    """Compare with ``segments.csv``: ``audio,start_s,end_s`` (a recording without speech: one row, both empty)."""
    product.require("speech")
    rows = read_table(directory, "segments.csv", ["audio", "start_s", "end_s"])
    spoken: dict[Path, list[Span]] = {}
    about: dict[Path, tuple[str, str]] = {}
    shelf = Shelf(directory)
    for row in rows:
        path = row.path("audio")
        about.setdefault(path, (row.subject(shelf.name(path)), row.group()))
        spoken.setdefault(path, []).extend(_spans(row))
    recordings: list[_Recording] = []
    for path, spans in spoken.items():
        sound = shelf.open(path, _read_sound)
        if sound is None:
            continue
        probabilities = _frames(product, sound)
        recordings.append(_Recording(*about[path], probabilities, mark(spans, len(probabilities), FRAME_S)))
    said_from = product.policy.detectors.speech.min_probability
    figures = _figures(recordings, said_from)
    groups = by_group(recordings, lambda each: each.group, lambda own: _figures(own, said_from))
    remarks = [f"Frames of {FRAME_S * 1000:.0f} ms out of {len(recordings)} recordings."]
    frames = sum(len(recording.probabilities) for recording in recordings)
    return Report("speech", frames, figures, shelf.skipped, remarks, groups=groups)


def _read_sound(path: Path) -> media.Sound:
    sound = media.read_sound(path)
    if len(sound) < FRAME_S * SAMPLE_RATE_HZ:
        raise media.MediaError("there is no sound in it")
    return sound


def _spans(row: Row) -> list[Span]:
    return [] if row.is_empty("start_s", "end_s") else [row.span()]


def _frames(product: Product, sound: media.Sound) -> NDArray[np.float64]:
    """Return the probability of speech in the middle of each 30 ms, heard window by window as in a session."""
    window_s = product.policy.sampling.audio_window_s
    detector = product.pipeline.detector("speech")
    chunks: list[tuple[float, ...]] = []
    for batch in batches(audio_jobs(sound, product.policy), _BATCH):
        chunks += [measure.chunks for measure in detector.measure([AudioSample(job) for job in batch])]
    count = int(len(sound) / SAMPLE_RATE_HZ / FRAME_S)
    middles = (np.arange(count) + 0.5) * FRAME_S
    windows = np.minimum((middles / window_s).astype(int), len(chunks) - 1)
    return np.array(
        [_at(chunks[window], at - window * window_s) for window, at in zip(windows, middles, strict=True)],
        np.float64,
    )


def _at(chunks: Sequence[float], second: float) -> float:
    """Return the value of the chunk in which a second of its window lies; what the last leaves over is the last's."""
    return chunks[min(int(second / CHUNK_S), len(chunks) - 1)] if chunks else 0.0


def mark(spans: Sequence[Span], count: int, frame_s: float) -> NDArray[np.bool_]:
    """Return for each of ``count`` frames whether its middle lies in one of the spans."""
    middles = (np.arange(count) + 0.5) * frame_s
    inside = np.zeros(count, bool)
    for start_s, end_s in spans:
        inside |= (middles >= start_s) & (middles < end_s)
    return inside


def _figures(recordings: list[_Recording], said_from: float) -> dict[str, Figure]:
    scores = np.concatenate([np.zeros(0), *(each.probabilities for each in recordings)])
    actual = np.concatenate([np.zeros(0, bool), *(each.spoken for each in recordings)])
    said = scores >= said_from
    owners = Owners([each.owner for each in recordings for _ in each.spoken])
    return {
        "auc": figure(metrics.auc(scores, actual), owners),
        "f1": figure(metrics.f1(said, actual), owners),
        "precision": figure(metrics.precision(said, actual), owners, n=int(said.sum())),
        "recall": figure(metrics.recall(said, actual), owners, n=int(actual.sum())),
        "speech_share": figure(metrics.mean(actual), owners),
        "hours": plain(len(scores) * FRAME_S / 3600, HOURS, n=len(recordings)),
    }
