"""Objects in still pictures: what the detector reports beyond the policy's threshold, per picture and kind."""

from __future__ import annotations

import re
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detection.engine.policy import Policy
from detection.evaluation import media, metrics
from detection.evaluation.bootstrap import Owners
from detection.evaluation.layout import Row, read_table
from detection.evaluation.product import Product
from detection.evaluation.report import Figure, Report, by_group, figure, plain
from detection.evaluation.shelf import Shelf, batches

KINDS = ("person", "phone", "book", "laptop", "screen")
_ALSO_CALLED = {
    **dict.fromkeys(("cell phone", "mobile phone", "cellphone", "smartphone", "mobile"), "phone"),
    **dict.fromkeys(("tv", "monitor", "television", "display", "second screen"), "screen"),
    "people": "person",
}
_BATCH = 16


@dataclass(frozen=True, slots=True)
class _Picture:
    owner: str
    group: str
    actual: frozenset[str]
    found: frozenset[str]


def evaluate(product: Product, directory: Path) -> Report:
    """Compare the kinds of things found with ``labels.csv``: ``image,objects`` (kinds, separated by ``;``)."""
    product.require("objects")
    rows = read_table(directory, "labels.csv", ["image", "objects"])
    labelled = [(row, row.path("image"), _kinds(row)) for row in rows]
    others = _not_looked_for([kinds for _, _, kinds in labelled])
    shelf = Shelf(directory)
    looking = product.only("faces", "objects")
    pictures: list[_Picture] = []
    readable = (
        (row.subject(shelf.name(path)), row.group(), kinds, image)
        for row, path, kinds in labelled
        if (image := shelf.open(path, media.read_image)) is not None
    )
    for batch in batches(readable, _BATCH):
        seen = looking.see([image for *_, image in batch])
        for (owner, group, kinds, _), observation in zip(batch, seen, strict=True):
            found = _found(observation.measures.get("objects"), product.policy)
            pictures.append(_Picture(owner, group, kinds, found))
    scored = _scored([picture.actual for picture in pictures])
    remarks = [f"Kinds scored: {', '.join(scored)}."]
    figures = _figures(pictures, scored)
    figures["not_looked_for"] = plain(sum(others.values()), n=len(labelled))
    groups = by_group(pictures, lambda picture: picture.group, lambda own: _figures(own, scored))
    return Report("objects", len(pictures), figures, shelf.skipped, remarks, groups=groups)


def _kinds(row: Row) -> frozenset[str]:
    """Read ``phone;book`` (also with ``|`` or commas); an empty cell is a picture with nothing in it."""
    return frozenset(_kind(cell) for cell in re.split(r"[;|,]", row.values["objects"]) if cell.strip())


def _kind(cell: str) -> str:
    word = re.sub(r"[\s_-]+", " ", cell.strip().lower())
    words = {**{kind: kind for kind in KINDS}, **_ALSO_CALLED}
    return words.get(word) or words.get(word.removesuffix("s")) or word


def _not_looked_for(labels: list[frozenset[str]]) -> dict[str, int]:
    """Count the labels that name what the product does not look for, and say so on standard error."""
    counts = Counter(kind for kinds in labels for kind in kinds if kind not in KINDS)
    if counts:
        named = ", ".join(f"{kind} ({count})" for kind, count in sorted(counts.items()))
        print(f"not looked for, and not scored: {named}; there are {', '.join(KINDS)}", file=sys.stderr)
    return dict(counts)


def _found(measure: dict[str, list[dict[str, object]]] | None, policy: Policy) -> frozenset[str]:
    min_score = float(getattr(getattr(policy.detectors, "objects", None), "min_score", 0.5))
    things = measure["found"] if measure else []
    return frozenset(str(thing["kind"]) for thing in things if float(str(thing["score"])) >= min_score)


def _scored(actual: list[frozenset[str]]) -> list[str]:
    """Return the kinds that the labels know at all: what nobody labelled may be there all the same."""
    known = frozenset().union(*actual)
    return [kind for kind in KINDS if kind in known] or [kind for kind in KINDS if kind != "person"]


def _figures(pictures: list[_Picture], scored: list[str]) -> dict[str, Figure]:
    owners = [picture.owner for picture in pictures]
    is_there = np.array([[kind in p.actual for kind in scored] for p in pictures], bool).reshape(-1, len(scored))
    is_said = np.array([[kind in p.found for kind in scored] for p in pictures], bool).reshape(-1, len(scored))
    all_owners = Owners([owner for owner in owners for _ in scored])
    figures = _three("", is_said.ravel(), is_there.ravel(), all_owners)
    for index, kind in enumerate(scored):
        figures |= _three(f"_{kind}", is_said[:, index], is_there[:, index], Owners(owners))
    return figures


def _three(suffix: str, said: metrics.Mask, there: metrics.Mask, owners: Owners) -> dict[str, Figure]:
    return {
        f"precision{suffix}": figure(metrics.precision(said, there), owners, n=int(said.sum())),
        f"recall{suffix}": figure(metrics.recall(said, there), owners, n=int(there.sum())),
        f"f1{suffix}": figure(metrics.f1(said, there), owners, n=int((said | there).sum())),
    }
