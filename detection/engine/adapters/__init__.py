"""Networks that can take the place of a detector's own: how each kind is fed and read.

A manifest entry names its ``adapter``; ``DETECTOR_MODELS`` says which entry takes whose place. What a detector
measures, and all that follows from it, stays the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from detection.engine.adapters import arcface, l2cs, pyannote, scrfd, sixdrepnet, wespeaker, whisper
from detection.engine.detectors import DetectorEntry
from detection.engine.weights import Weight, WeightsError, load_manifest


@dataclass(frozen=True, slots=True)
class Adapter:
    """Whose place it takes, and what a manifest entry with it loads and builds."""

    detector: str
    entry: Callable[[Weight], DetectorEntry]


def _of_one(build: Callable[..., Any]) -> Callable[[Weight], DetectorEntry]:
    """Return the entry of a detector of one network; ``build`` gets the loaded model, and ``weight`` by name."""
    return lambda weight: DetectorEntry((weight.name,), partial(build, weight=weight))


ADAPTERS: Mapping[str, Adapter] = {
    "arcface": Adapter("identity", _of_one(arcface.build)),
    "scrfd": Adapter("faces", _of_one(scrfd.build)),
    "l2cs": Adapter("gaze", _of_one(l2cs.build)),
    "6drepnet": Adapter("head_pose", _of_one(sixdrepnet.build)),
    "pyannote": Adapter("speakers", _of_one(pyannote.build)),
    "wespeaker": Adapter("voice", _of_one(wespeaker.build)),
    "whisper": Adapter("transcript", whisper.entry),
}


def chosen_models() -> dict[str, str]:
    """Return ``DETECTOR_MODELS`` (``identity=w600k-mbf,faces=scrfd-500m``): detector → manifest entry."""
    chosen: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in os.environ.get("DETECTOR_MODELS", "").split(","))):
        detector, equals, name = (word.strip() for word in part.partition("="))
        if not (detector and equals and name):
            raise WeightsError(f"DETECTOR_MODELS: {part!r} is not DETECTOR=MODEL")
        chosen[detector] = name
    return chosen


def with_chosen(entries: Mapping[str, DetectorEntry], chosen: Mapping[str, str]) -> dict[str, DetectorEntry]:
    """Return the detectors with the chosen networks in their places; raise ``WeightsError`` for what does not fit."""
    manifest = load_manifest() if chosen else {}
    return dict(entries) | {
        detector: _entry(detector, manifest.get(name), name, entries) for detector, name in chosen.items()
    }


def _entry(detector: str, weight: Weight | None, name: str, entries: Mapping[str, DetectorEntry]) -> DetectorEntry:
    where = f"DETECTOR_MODELS, {detector}={name}"
    if detector not in entries:
        raise WeightsError(f"{where}: there is no detector of that name; there are {', '.join(entries)}")
    if weight is None:
        raise WeightsError(f"{where}: neither weights.toml nor EXTRA_WEIGHTS has this entry")
    adapter = ADAPTERS.get(weight.adapter or "")
    if adapter is None:
        raise WeightsError(f"{where}: the entry's adapter is {weight.adapter}; there are {', '.join(ADAPTERS)}")
    if adapter.detector != detector:
        raise WeightsError(f"{where}: {weight.adapter} takes the place of {adapter.detector}")
    weight.require_accepted()
    return adapter.entry(weight)
