"""Faces: pairs of photographs, the first enrolled, the second judged as a frame of a session is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detection.engine.detectors import identity
from detection.engine.detectors.identity import Probe
from detection.engine.observations import Face, IdentityMeasure
from detection.engine.policy import EventType, Policy
from detection.evaluation import media, metrics
from detection.evaluation.bootstrap import Owners
from detection.evaluation.layout import read_table
from detection.evaluation.product import Product
from detection.evaluation.report import NUMBER, Figure, Report, by_group, figure
from detection.evaluation.shelf import Shelf, batches

OPERATING_POINTS = {"1e2": 1e-2, "1e3": 1e-3, "1e4": 1e-4}
"""Suffix of ``fnmr_at_fmr_…`` → false match rate. One is resolvable where there are at least its inverse of impostor
pairs."""
_BATCH = 16


@dataclass(frozen=True, slots=True)
class _Photo:
    """One photograph's faces as the identity detector sees them, largest first; empty where none is found."""

    owner: str
    probes: tuple[Probe, ...]


@dataclass(frozen=True, slots=True)
class _Pair:
    """A comparison. ``score``: the raw one; None where a face was not found, and then nothing is decided either."""

    owners: tuple[str, str]
    group: str
    photos: tuple[_Photo, _Photo]
    same: bool
    score: float | None
    decided: bool = False
    matches: bool = False


def evaluate(product: Product, directory: Path) -> Report:
    """Compare the pairs of ``pairs.csv``: ``first,second,same``."""
    product.require("faces", "identity")
    rows = read_table(directory, "pairs.csv", ["first", "second", "same"])
    labelled = [(row, row.path("first"), row.path("second"), row.flag("same")) for row in rows]
    shelf = Shelf(directory)
    photos = _read_all(product, shelf, (path for _, first, second, _ in labelled for path in (first, second)))
    pairs = []
    for row, first, second, same in labelled:
        if first in photos and second in photos:
            owners = row.subjects(shelf.name(first), shelf.name(second))
            both = photos[first], photos[second]
            measure = _compare(*both, product)
            pairs.append(_pair(owners, row.common_group(), both, same, measure, product))
    groups = by_group(pairs, lambda pair: pair.group, lambda own: _figures(own, _photos(own)))
    return Report("faces", len(pairs), _figures(pairs, list(photos.values())), shelf.skipped, groups=groups)


def _read_all(product: Product, shelf: Shelf, paths: Iterable[Path]) -> dict[Path, _Photo]:
    """Find and embed the faces of each photograph once; those that cannot be read are left out."""
    photos: dict[Path, _Photo] = {}
    readable = (
        (path, image) for path in dict.fromkeys(paths) if (image := shelf.open(path, media.read_image)) is not None
    )
    for batch in batches(readable, _BATCH):
        found = product.pipeline.faces.detect_many([image for _, image in batch], thorough=True)
        for (path, image), faces in zip(batch, found, strict=True):
            chosen = _possible(faces, product.policy)[: identity.MAX_FACES]
            probes = product.pipeline.embedder.probe([(image, face) for face in chosen])
            photos[path] = _Photo(f"file:{shelf.name(path)}", tuple(probes))
    return photos


def _possible(faces: list[Face], policy: Policy) -> list[Face]:
    return [face for face in faces if face.score >= policy.detectors.faces.min_score]


def _compare(first: _Photo, second: _Photo, product: Product) -> IdentityMeasure | None:
    """Enrol the largest face of the first photograph and judge the second by it; None where one has no face.

    Enrolment's gate would have refused a poor first photograph. Here nobody can give another: its clarity is taken into
    account, and where it is too poor the pair stays undecided, as with a poor probe.
    """
    if not first.probes or not second.probes:
        return None
    enrolled = first.probes[0]
    embedder = product.pipeline.embedder
    return embedder.judge(second.probes, enrolled.embedding, product.policy, template_clarity=enrolled.clarity)


def _pair(
    owners: tuple[str, str],
    group: str,
    photos: tuple[_Photo, _Photo],
    same: bool,
    measure: IdentityMeasure | None,
    product: Product,
) -> _Pair:
    if measure is None:
        return _Pair(owners, group, photos, same, None)
    matches = measure.similarity >= product.policy.rules[EventType.FACE_MISMATCH].enter
    return _Pair(owners, group, photos, same, measure.comparison_score, measure.decided, matches)


def _photos(pairs: list[_Pair]) -> list[_Photo]:
    """Return each photograph of these pairs once."""
    return list({photo.owner: photo for pair in pairs for photo in pair.photos}.values())


def _figures(pairs: list[_Pair], photos: list[_Photo]) -> dict[str, Figure]:
    scored = [pair for pair in pairs if pair.score is not None]
    decided = [pair for pair in pairs if pair.decided]
    genuine = [pair for pair in decided if pair.same]
    impostor = [pair for pair in decided if not pair.same]
    return {
        **_of_scores(scored),
        "fnmr": figure(metrics.mean([not pair.matches for pair in genuine]), _owners(genuine)),
        "fmr": figure(metrics.mean([pair.matches for pair in impostor]), _owners(impostor)),
        "undecided": figure(metrics.mean([not pair.decided for pair in scored]), _owners(scored)),
        "not_found": figure(metrics.mean([not p.probes for p in photos]), Owners([p.owner for p in photos])),
    }


def _of_scores(pairs: list[_Pair]) -> dict[str, Figure]:
    """Form the figures that need raw scores only: of all pairs with two faces, the undecided ones too."""
    scores = np.array([pair.score for pair in pairs], np.float64)
    same = np.array([pair.same for pair in pairs], bool)
    owners = _owners(pairs)
    impostors = int((~same).sum())
    figures = {
        "auc": figure(metrics.auc(scores, same), owners),
        "eer": figure(metrics.eer(scores, same), owners),
        "d_prime": figure(metrics.d_prime(scores, same), owners, NUMBER),
    }
    for suffix, fmr in OPERATING_POINTS.items():
        if impostors * fmr >= 1:
            figures[f"fnmr_at_fmr_{suffix}"] = figure(metrics.fnmr_at_fmr(scores, same, fmr), owners)
    return figures


def _owners(pairs: list[_Pair]) -> Owners:
    """Return the owners of pairs: a pair belongs to two photographs, or to its subject twice."""
    return Owners([pair.owners[0] for pair in pairs], [pair.owners[1] for pair in pairs])
