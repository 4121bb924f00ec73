"""Voices: pairs of recordings by the voice detector's embeddings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detection.evaluation import media, metrics
from detection.evaluation.bootstrap import Owners
from detection.evaluation.layout import read_table
from detection.evaluation.product import Product
from detection.evaluation.report import NUMBER, Report, figure
from detection.evaluation.shelf import Shelf


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
    scores: list[float] = []
    same: list[bool] = []
    owners: list[tuple[str, str]] = []
    for row, first, second, is_same in labelled:
        a, b = voices[first], voices[second]
        if a is not None and b is not None:
            scores.append(float(np.dot(a, b)))
            same.append(is_same)
            owners.append(row.subjects(shelf.name(first), shelf.name(second)))
    is_genuine = np.array(same, bool)
    pairs = Owners([first for first, _ in owners], [second for _, second in owners])
    figures = {
        "eer": figure(metrics.eer(scores, is_genuine), pairs),
        "auc": figure(metrics.auc(scores, is_genuine), pairs),
        "d_prime": figure(metrics.d_prime(scores, is_genuine), pairs, NUMBER),
    }
    return Report("voices", len(scores), figures, shelf.skipped)


def _embed(product: Product, path: Path) -> NDArray[np.float32]:
    """Return the voice of a whole recording, L2-normalised."""
    embedding = product.pipeline.detector("voice").embed(media.read_sound(path))
    if embedding is None:
        raise media.MediaError("it has too little speech to know a voice by")
    return np.asarray(embedding, np.float32)
