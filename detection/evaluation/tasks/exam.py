"""Whole exams: clips through pipeline and rules, the incidents that open against those that a person would expect."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detection.engine import enrolling
from detection.engine.policy import TECHNICAL_EVENTS, EventType
from detection.evaluation import media, metrics
from detection.evaluation.bootstrap import Owners
from detection.evaluation.incidents import TOLERANCE_S, Matched, Span, joined, match, opened
from detection.evaluation.layout import Row, read_table
from detection.evaluation.product import Product, watch
from detection.evaluation.report import (
    COUNT,
    HOURS,
    NUMBER,
    PER_HOUR,
    SECONDS,
    Figure,
    Report,
    by_group,
    figure,
    none_in,
    plain,
)
from detection.evaluation.shelf import Shelf


@dataclass(slots=True)
class _Clip:
    """What is expected of one clip."""

    path: Path
    owner: str
    group: str
    reference: Path | None
    expected: list[Span] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What came of one clip."""

    owner: str
    group: str
    name: str
    hours: float
    matched: Matched
    technical: list[Span]
    refused: bool


def evaluate(product: Product, directory: Path) -> Report:
    """Run the clips of ``exam.csv``: ``media,reference,event_type,start_s,end_s``, one row per expected incident."""
    rows = read_table(directory, "exam.csv", ["media", "reference", "event_type", "start_s", "end_s"])
    shelf = Shelf(directory)
    clips = _clips(rows, shelf)
    product.require("faces", "identity")
    started = time.monotonic()
    outcomes = [outcome for clip in clips if (outcome := _run(product, shelf, clip)) is not None]
    return _report(outcomes, shelf, time.monotonic() - started)


def _clips(rows: list[Row], shelf: Shelf) -> list[_Clip]:
    clips: dict[Path, _Clip] = {}
    for row in rows:
        path = row.path("media")
        reference = None if row.is_empty("reference") else row.path("reference")
        clip = clips.setdefault(path, _Clip(path, row.subject(shelf.name(path)), row.group(), reference))
        if clip.reference != reference:
            raise row.wrong(f"{row.values['media']!r} has another reference on an earlier line")
        if not row.is_empty("event_type", "start_s", "end_s"):
            start_s, end_s = row.span()
            clip.expected.append(Span(start_s, end_s, EventType(row.choice("event_type", EventType))))
    for clip in clips.values():
        clip.expected = joined(clip.expected)
    return list(clips.values())


def _run(product: Product, shelf: Shelf, clip: _Clip) -> _Outcome | None:
    """Enrol and watch; None where clip or reference cannot be read."""
    template, refused = None, False
    if clip.reference is not None:
        image = shelf.open(clip.reference, media.read_image)
        if image is None:
            return None
        template, refused = _enrol(product, image)
    watched = shelf.open(clip.path, lambda path: watch(product, path, template=template))
    if watched is None:
        return None
    found = opened(watched.changes)
    wanted = {span.event for span in clip.expected}
    behaviour = [span for span in found if span.event not in TECHNICAL_EVENTS or span.event in wanted]
    technical = [span for span in found if span not in behaviour]
    hours = watched.duration_s / 3600
    matched = match(clip.expected, behaviour)
    return _Outcome(clip.owner, clip.group, shelf.name(clip.path), hours, matched, technical, refused)


def _enrol(product: Product, image: media.Image) -> tuple[NDArray[np.float32] | None, bool]:
    """Enrol with a photograph as the service does; return the template, and whether the gate would have refused it.

    The service would ask for a better photograph. Here there is none, so the largest face is enrolled all the same.
    """
    reading = enrolling.read(product.pipeline, image)
    if reading.probe is not None:
        return reading.probe.embedding, False
    faces = product.pipeline.faces.detect(image)
    return (product.pipeline.embedder.embed(image, faces[0]) if faces else None), True


def _report(outcomes: list[_Outcome], shelf: Shelf, took_s: float) -> Report:
    hours = sum(outcome.hours for outcome in outcomes)
    groups = by_group(outcomes, lambda outcome: outcome.group, _figures)
    speed = plain(hours * 3600 / max(took_s, 1e-9), NUMBER, n=len(outcomes))
    figures = {**_figures(outcomes), "times_real_time": speed}
    report = Report("exam", len(outcomes), figures, shelf.skipped, groups=groups)
    report.remarks.append(f"{hours:.2f} candidate-hours in {len(outcomes)} clips, analysed in {took_s:.0f} s.")
    report.remarks.append(f"Incidents match within {TOLERANCE_S:g} s. Rules and thresholds are the policy's.")
    if hours and not any(outcome.matched.false for outcome in outcomes):
        report.remarks.append(none_in(hours))
    for outcome in outcomes:
        report.misses += [f"missed in {outcome.name}: {span}" for span in outcome.matched.missed]
        report.misses += [f"false in {outcome.name}: {span}" for span in outcome.matched.false]
    return report


def _figures(outcomes: list[_Outcome]) -> dict[str, Figure]:
    owners = Owners([outcome.owner for outcome in outcomes])
    found = np.array([len(outcome.matched.found) for outcome in outcomes], np.float64)
    same = np.array([sum(a.event == b.event for a, b in o.matched.found) for o in outcomes], np.float64)
    missed = np.array([len(outcome.matched.missed) for outcome in outcomes], np.float64)
    false = np.array([len(outcome.matched.false) for outcome in outcomes], np.float64)
    each_hours = np.array([outcome.hours for outcome in outcomes], np.float64)
    delays = [(o.owner, hit.decided_s - wanted.start_s) for o in outcomes for wanted, hit in o.matched.found]
    expected = int((found + missed).sum())
    return {
        "found_share": figure(metrics.ratio(found, found + missed), owners, n=expected),
        "found_share_same_type": figure(metrics.ratio(same, found + missed), owners, n=expected),
        "missed": figure(metrics.total(missed), owners, COUNT, n=expected),
        "false": figure(metrics.total(false), owners, COUNT),
        "false_per_hour": figure(metrics.ratio(false, each_hours), owners, PER_HOUR),
        "delay_s": figure(metrics.median([d for _, d in delays]), Owners([name for name, _ in delays]), SECONDS),
        "again": plain(sum(len(outcome.matched.again) for outcome in outcomes), n=len(outcomes)),
        "technical": plain(sum(len(outcome.technical) for outcome in outcomes), n=len(outcomes)),
        "references_refused": plain(sum(outcome.refused for outcome in outcomes), n=len(outcomes)),
        "hours": plain(each_hours.sum(), HOURS, n=len(outcomes)),
        **_by_event(outcomes),
    }


def _by_event(outcomes: list[_Outcome]) -> dict[str, Figure]:
    """Return for each event type that was expected or false: the share found, and how many were false."""
    figures: dict[str, Figure] = {}
    found = [Counter(wanted.event for wanted, _ in outcome.matched.found) for outcome in outcomes]
    missed = [Counter(span.event for span in outcome.matched.missed) for outcome in outcomes]
    false = Counter(span.event for outcome in outcomes for span in outcome.matched.false)
    for event in EventType:
        hits = np.array([counts[event] for counts in found], np.float64)
        wanted = hits + np.array([counts[event] for counts in missed], np.float64)
        if wanted.sum():
            owners = Owners([outcome.owner for outcome in outcomes])
            figures[f"found_share_{event}"] = figure(metrics.ratio(hits, wanted), owners, n=int(wanted.sum()))
        if false[event]:
            figures[f"false_{event}"] = plain(false[event], n=len(outcomes))
    return figures
