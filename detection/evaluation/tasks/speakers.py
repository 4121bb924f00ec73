"""Speakers: who talks over whom, per second, and whether a recording has more than one voice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detection.engine.media import SAMPLE_RATE_HZ
from detection.evaluation import media, metrics
from detection.evaluation.bootstrap import Owners
from detection.evaluation.layout import LayoutError
from detection.evaluation.product import Product
from detection.evaluation.report import Report, figure
from detection.evaluation.rttm import Turn, overlap_per_second, read_rttm
from detection.evaluation.shelf import Shelf

MIN_OVERLAP_S = 0.1
"""A second has overlap if two people talk at once for this much of it, in the labels as in what is measured."""


@dataclass(frozen=True, slots=True)
class _Heard:
    """What the product made of a recording: how much of each second two people fill, and how many voices there are."""

    overlap: NDArray[np.float64]
    speakers: int


def evaluate(product: Product, directory: Path) -> Report:
    """Compare each ``*.wav`` with the ``.rttm`` of the same stem."""
    recordings = _recordings(directory)
    product.require("speakers")
    shelf = Shelf(directory)
    said: list[NDArray[np.bool_]] = []
    actual: list[NDArray[np.bool_]] = []
    seconds_of: list[str] = []
    names: list[str] = []
    several: list[tuple[bool, bool]] = []
    for path, turns in recordings:
        heard = shelf.open(path, lambda each: _listen(product, each))
        if heard is None:
            continue
        name = shelf.name(path)
        overlap = np.array(overlap_per_second(turns, len(heard.overlap)))
        said.append(heard.overlap >= MIN_OVERLAP_S)
        actual.append(overlap >= MIN_OVERLAP_S)
        seconds_of += [name] * len(overlap)
        names.append(name)
        several.append((heard.speakers >= 2, len({turn.speaker for turn in turns}) >= 2))
    predicted, true = (np.concatenate([np.zeros(0, bool), *each]) for each in (said, actual))
    said_several, are_several = (np.array([each[side] for each in several], bool) for side in (0, 1))
    seconds, clips = Owners(seconds_of), Owners(names)
    figures = {
        "overlap_f1": figure(metrics.f1(predicted, true), seconds),
        "overlap_precision": figure(metrics.precision(predicted, true), seconds, n=int(predicted.sum())),
        "overlap_recall": figure(metrics.recall(predicted, true), seconds, n=int(true.sum())),
        "two_speakers_f1": figure(metrics.f1(said_several, are_several), clips),
        "two_speakers_precision": figure(metrics.precision(said_several, are_several), clips),
        "two_speakers_recall": figure(metrics.recall(said_several, are_several), clips),
    }
    return Report("speakers", len(names), figures, shelf.skipped)


def _recordings(directory: Path) -> list[tuple[Path, list[Turn]]]:
    """Return each recording with its turns. A wav without labels, or labels without a wav, is a bad layout."""
    if not directory.is_dir():
        raise LayoutError(str(directory), 0, "is no directory")
    waves = sorted(directory.glob("*.wav"))
    labels = {path.stem: path for path in sorted(directory.glob("*.rttm"))}
    if not waves:
        raise LayoutError(str(directory), 0, "has no *.wav")
    if unlabelled := [path.name for path in waves if path.stem not in labels]:
        raise LayoutError(unlabelled[0], 0, "has no .rttm of the same name beside it")
    if silent := sorted(set(labels) - {path.stem for path in waves}):
        raise LayoutError(labels[silent[0]].name, 0, "has no .wav of the same name beside it")
    return [(path, read_rttm(labels[path.stem])) for path in waves]


def _listen(product: Product, path: Path) -> _Heard:
    sound = media.read_sound(path)
    if len(sound) < SAMPLE_RATE_HZ:
        raise media.MediaError("it has less than a second of sound")
    pipeline = product.pipeline
    compare = pipeline.detector("voice").compare if pipeline.has("voice") else None
    timeline = pipeline.detector("speakers").timeline(sound, compare)
    return _Heard(timeline.overlap_per_second, timeline.speakers)
