"""Head pose on still pictures: mean absolute error per axis."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detection.evaluation import media, metrics
from detection.evaluation.bootstrap import Owners
from detection.evaluation.layout import Row, read_table
from detection.evaluation.product import Product
from detection.evaluation.report import DEGREES, Figure, Report, by_group, figure
from detection.evaluation.shelf import Shelf, batches

AXES = ("pitch", "yaw", "roll")
_FRONTAL_YAW_DEG = 45.0
_BATCH = 16


@dataclass(frozen=True, slots=True)
class _Item:
    owner: str
    group: str
    labelled: tuple[float, float, float]
    measured: tuple[float, float, float] | None


def evaluate(product: Product, directory: Path) -> Report:
    """Compare the largest face's pose with ``labels.csv``: ``image,pitch_deg,yaw_deg,roll_deg``."""
    product.require("faces", "head_pose")
    rows = read_table(directory, "labels.csv", ["image", *(f"{axis}_deg" for axis in AXES)])
    labelled = [(row, row.path("image"), _angles(row)) for row in rows]
    shelf, items = Shelf(directory), list[_Item]()
    pose = product.only("faces", "landmarks", "head_pose")
    readable = (
        (row.subject(shelf.name(path)), row.group(), angles, image)
        for row, path, angles in labelled
        if (image := shelf.open(path, media.read_image)) is not None
    )
    for batch in batches(readable, _BATCH):
        seen = pose.see([image for *_, image in batch])
        for (owner, group, angles, _), observation in zip(batch, seen, strict=True):
            measure = observation.measures.get("head_pose")
            items.append(_Item(owner, group, angles, None if not measure else _measured(measure)))
    groups = by_group(items, lambda item: item.group, _figures)
    return Report("head-pose", len(items), _figures(items), shelf.skipped, groups=groups)


def _angles(row: Row) -> tuple[float, float, float]:
    pitch, yaw, roll = (row.number(f"{axis}_deg") for axis in AXES)
    return pitch, yaw, roll


def _measured(measure: dict[str, float]) -> tuple[float, float, float]:
    pitch, yaw, roll = (float(measure[f"{axis}_deg"]) for axis in AXES)
    return pitch, yaw, roll


def _figures(items: list[_Item]) -> dict[str, Figure]:
    found = [item for item in items if item.measured is not None]
    errors = np.array([_errors(item) for item in found]).reshape(-1, 3)
    owners = Owners([item.owner for item in found])
    figures = {"mae_mean": figure(metrics.mean(errors.mean(axis=1)), owners, DEGREES)}
    for index, axis in enumerate(AXES):
        figures[f"mae_{axis}"] = figure(metrics.mean(errors[:, index]), owners, DEGREES)
    frontal = [index for index, item in enumerate(found) if abs(item.labelled[1]) <= _FRONTAL_YAW_DEG]
    frontal_owners = Owners([found[index].owner for index in frontal])
    figures["mae_mean_45"] = figure(metrics.mean(errors[frontal].mean(axis=1)), frontal_owners, DEGREES)
    missing = [item.measured is None for item in items]
    figures["not_found"] = figure(metrics.mean(missing), Owners([item.owner for item in items]))
    return figures


def _errors(item: _Item) -> list[float]:
    """Return the absolute errors in degrees, the short way around."""
    assert item.measured is not None
    return [abs((a - b + 180) % 360 - 180) for a, b in zip(item.measured, item.labelled, strict=True)]
