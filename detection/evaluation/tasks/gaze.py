"""Gaze in webcam clips: the direction per sampled frame, and the episodes that the rules made of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from detection.engine.observations import VIDEO, Observation
from detection.engine.policy import EventType
from detection.evaluation import media, metrics
from detection.evaluation.bootstrap import Owners
from detection.evaluation.incidents import TOLERANCE_S, Span, opened
from detection.evaluation.layout import Row, read_table
from detection.evaluation.product import NotInThisBuildError, Product, watch
from detection.evaluation.report import HOURS, PER_HOUR, Figure, Report, by_group, figure, none_in, plain
from detection.evaluation.shelf import Shelf

CENTER = "center"
DIRECTIONS = (CENTER, "left", "right", "up", "down")
EPISODES = ("GAZE_OFF_SCREEN", "HEAD_TURNED")
"""Looking away is one incident, by the eyes or with the head: either counts."""


@dataclass(frozen=True, slots=True)
class _Window:
    """A labelled stretch of a clip."""

    start_s: float
    end_s: float
    direction: str

    def overlaps(self, span: Span, tolerance_s: float = 0.0) -> bool:
        return span.start_s < self.end_s + tolerance_s and self.start_s - tolerance_s < span.end_s


@dataclass(slots=True)
class _Clip:
    """A clip: what was labelled, and what the product made of it."""

    owner: str
    group: str
    windows: list[_Window] = field(default_factory=list)
    said: list[str | None] = field(default_factory=list)
    """Per labelled frame the measured direction; None where the eyes could not be read."""
    actual: list[str] = field(default_factory=list)
    episodes: list[Span] = field(default_factory=list)

    @property
    def away(self) -> list[_Window]:
        return [window for window in self.windows if window.direction != CENTER]

    @property
    def found(self) -> int:
        """Count the windows of looking away that an episode overlaps."""
        return sum(any(window.overlaps(episode) for episode in self.episodes) for window in self.away)

    @property
    def false(self) -> int:
        """Count the episodes that lie in time labelled ``center`` and near no window of looking away."""
        return sum(
            any(window.overlaps(episode) for window in self.windows if window.direction == CENTER)
            and not any(window.overlaps(episode, TOLERANCE_S) for window in self.away)
            for episode in self.episodes
        )

    @property
    def clean_hours(self) -> float:
        """Return how much of the clip is labelled ``center``."""
        return sum(w.end_s - w.start_s for w in self.windows if w.direction == CENTER) / 3600


def evaluate(product: Product, directory: Path) -> Report:
    """Compare with ``clips.csv``: ``video,start_s,end_s,direction``."""
    rows = read_table(directory, "clips.csv", ["video", "start_s", "end_s", "direction"])
    shelf = Shelf(directory)
    clips = _clips(rows, shelf)
    product.require("faces", "gaze")
    events = _events()
    measured = [clip for path, clip in clips.items() if _measure(product, shelf, path, clip, events)]
    frames = sum(len(clip.said) for clip in measured)
    remarks = [f"Frames sampled at {product.policy.sampling.frames_per_second:g} per second, {len(measured)} clips."]
    hours = sum(clip.clean_hours for clip in measured)
    if hours and not any(clip.false for clip in measured):
        remarks.append(none_in(hours))
    groups = by_group(measured, lambda clip: clip.group, _figures)
    return Report("gaze", frames, _figures(measured), shelf.skipped, remarks, _misses(clips, shelf), groups)


def _events() -> list[EventType]:
    events = [EventType(name) for name in EPISODES if name in EventType.__members__]
    if not events:
        raise NotInThisBuildError(f"This build knows no event {' or '.join(EPISODES)}.")
    return events


def _clips(rows: list[Row], shelf: Shelf) -> dict[Path, _Clip]:
    clips: dict[Path, _Clip] = {}
    for row in rows:
        path = row.path("video")
        clip = clips.setdefault(path, _Clip(row.subject(shelf.name(path)), row.group()))
        clip.windows.append(_Window(*row.span(), row.choice("direction", DIRECTIONS)))
    return clips


def _measure(product: Product, shelf: Shelf, path: Path, clip: _Clip, events: list[EventType]) -> bool:
    watched = shelf.open(path, lambda each: watch(product, each))
    if watched is None:
        return False
    clip.episodes = [span for span in opened(watched.changes) if span.event in events]
    for observation in watched.observations:
        at_s = observation.captured_at - media.EPOCH
        label = next((w.direction for w in clip.windows if w.start_s <= at_s < w.end_s), None)
        if observation.stream == VIDEO and label is not None:
            clip.said.append(_direction(observation))
            clip.actual.append(label)
    return True


def _direction(observation: Observation) -> str | None:
    line = observation.measures.get("gaze_line")
    return None if not line else line.get("direction")


def _figures(clips: list[_Clip]) -> dict[str, Figure]:
    read = [(c.owner, said, actual) for c in clips for said, actual in zip(c.said, c.actual, strict=True) if said]
    owners = Owners([owner for owner, _, _ in read])
    said, actual = [said for _, said, _ in read], [actual for _, _, actual in read]
    all_owners = Owners([clip.owner for clip in clips for _ in clip.said])
    each = Owners([clip.owner for clip in clips])
    away = np.array([len(clip.away) for clip in clips], np.float64)
    found = np.array([clip.found for clip in clips], np.float64)
    false = np.array([clip.false for clip in clips], np.float64)
    hours = np.array([clip.clean_hours for clip in clips], np.float64)
    return {
        "balanced_accuracy": figure(metrics.balanced_accuracy(said, actual), owners),
        "balanced_accuracy_away": figure(metrics.balanced_accuracy(_either(said), _either(actual)), owners),
        "windows_found": figure(metrics.ratio(found, away), each, n=int(away.sum())),
        "false_per_hour": figure(metrics.ratio(false, hours), each, PER_HOUR),
        "false": plain(false.sum(), n=len(clips)),
        "clean_hours": plain(hours.sum(), HOURS, n=len(clips)),
        "undecided": figure(metrics.mean([s is None for clip in clips for s in clip.said]), all_owners),
    }


def _either(directions: list[str]) -> list[str]:
    return [CENTER if direction == CENTER else "away" for direction in directions]


def _misses(clips: dict[Path, _Clip], shelf: Shelf) -> list[str]:
    return [
        f"missed in {shelf.name(path)}: {window.direction} {window.start_s:.1f}-{window.end_s:.1f} s"
        for path, clip in clips.items()
        for window in clip.away
        if not any(window.overlaps(episode) for episode in clip.episodes)
    ]
