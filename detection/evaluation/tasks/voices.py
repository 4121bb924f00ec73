"""Voices: pairs of recordings by the voice detector's embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detection.evaluation import media, metrics
from detection.evaluation.bootstrap import Owners
from detection.evaluation.layout import read_table
from detection.evaluation.product import Product
from detection.evaluation.report import NUMBER, Figure, Report, by_group, figure
from detection.evaluation.shelf import Shelf


@dataclass(frozen=True, slots=True)
class _Pair:
    owners: tuple[str, str]
    group: str
    same: bool
    score: float


def evaluate(product: Product, directory: Path) -> Report:
    """Compare the pairs of ``pairs.csv``: ``first,second,same``."""
    rows = read_table(directory, "pairs.csv", ["first", "second", "same"])
    labelled = [(row, row.path("first"), row.path("second"), row.flag("same")) for row in rows]
    product.require("voice")
    shelf = Shelf(directory)
    voices = {
        path: shelf.open(path, lambda each: _embed(product, each))
        for path in dict.fromkeys(path for _, first, second, _ in labelled for path in (first, second))
    }
    pairs: list[_Pair] = []
    for row, first, second, is_same in labelled:
        a, b = voices[first], voices[second]
        if a is not None and b is not None:
            owners = row.subjects(shelf.name(first), shelf.name(second))
            pairs.append(_Pair(owners, row.common_group(), is_same, float(np.dot(a, b))))
    groups = by_group(pairs, lambda pair: pair.group, _figures)
    return Report("voices", len(pairs), _figures(pairs), shelf.skipped, groups=groups)


def _figures(pairs: list[_Pair]) -> dict[str, Figure]:
    scores, same = np.array([pair.score for pair in pairs]), np.array([pair.same for pair in pairs], bool)
    owners = Owners([pair.owners[0] for pair in pairs], [pair.owners[1] for pair in pairs])
    return {
        "eer": figure(metrics.eer(scores, same), owners),
        "auc": figure(metrics.auc(scores, same), owners),
        "d_prime": figure(metrics.d_prime(scores, same), owners, NUMBER),
    }


def _embed(product: Product, path: Path) -> NDArray[np.float32]:
    """Return the voice of a whole recording, L2-normalised."""
    embedding = product.pipeline.detector("voice").embed(media.read_sound(path))
    if embedding is None:
        raise media.MediaError("it has too little speech to know a voice by")
    return np.asarray(embedding, np.float32)
