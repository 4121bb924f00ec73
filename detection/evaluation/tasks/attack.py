"""Presentation attacks: stills by the detector's measure, videos by the rules, against the label."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from detection.engine.observations import Observation
from detection.engine.policy import EventType
from detection.evaluation import media, metrics
from detection.evaluation.bootstrap import Owners
from detection.evaluation.incidents import opened
from detection.evaluation.layout import read_table
from detection.evaluation.product import NotInThisBuildError, Product, watch
from detection.evaluation.report import Figure, Report, by_group, figure
from detection.evaluation.shelf import Shelf

EVENT = "PRESENTATION_ATTACK"
LIVE_FROM = 0.5
"""The detector's own line between a live face and an attack."""


@dataclass(frozen=True, slots=True)
class _Item:
    """One presentation. ``attacked``: what the product says; None where it found no face that it could judge."""

    owner: str
    group: str
    live: bool
    attacked: bool | None


def evaluate(product: Product, directory: Path) -> Report:
    """Compare with ``labels.csv``: ``image_or_video,live``."""
    rows = read_table(directory, "labels.csv", ["image_or_video", "live"])
    labelled = [(row, row.path("image_or_video"), row.flag("live")) for row in rows]
    product.require("faces", "liveness")
    if EVENT not in EventType.__members__:
        raise NotInThisBuildError(f"This build knows no event {EVENT}.")
    shelf = Shelf(directory)
    items: list[_Item] = []
    for row, path, live in labelled:
        said = shelf.open(path, lambda each: _judge(product, each))
        if said is not None:
            items.append(_Item(row.subject(shelf.name(path)), row.group(), live, said[0]))
    groups = by_group(items, lambda item: item.group, _figures)
    return Report("attack", len(items), _figures(items), shelf.skipped, groups=groups)


def _judge(product: Product, path: Path) -> tuple[bool | None]:
    """Return what the product says about a file, in a tuple so that "nothing" differs from "not readable".

    A video is an attack if the incident opens, and live if the evidence was pooled and it does not. One too short to
    pool is judged as stills are: by the mean of its looks.
    """
    if media.is_still(path):
        return (_by_looks(product.only("faces", "liveness").see([media.read_image(path)])),)
    watched = watch(product, path)
    if any(span.event == EVENT for span in opened(watched.changes)):
        return (True,)
    if any("attack" in observation.measures.get("liveness_pool", {}) for observation in watched.observations):
        return (False,)
    return (_by_looks(watched.observations),)


def _by_looks(observations: list[Observation]) -> bool | None:
    """Return whether the looks at a face speak against a live one on the whole; None where none could be judged."""
    looks = [observation.measures.get("liveness") or {} for observation in observations]
    live = [float(look["live"]) for look in looks if look.get("decided")]
    return sum(live) / len(live) < LIVE_FROM if live else None


def _figures(items: list[_Item]) -> dict[str, Figure]:
    attacks = [item for item in items if not item.live and item.attacked is not None]
    genuine = [item for item in items if item.live and item.attacked is not None]
    return {
        "apcer": figure(metrics.mean([not item.attacked for item in attacks]), _owners(attacks)),
        "bpcer": figure(metrics.mean([bool(item.attacked) for item in genuine]), _owners(genuine)),
        "undecided": figure(metrics.mean([item.attacked is None for item in items]), _owners(items)),
    }


def _owners(items: list[_Item]) -> Owners:
    return Owners([item.owner for item in items])
