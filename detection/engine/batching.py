"""Batches of few sizes: for a shape that a GPU has not seen, its first run takes a second or more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np

from detection.engine.model import Array, Model

SIZES = (1, 8)
"""Runs of a network on a GPU take so many samples: one, or eight, as many as a worker has in a batch."""


def run_each(model: Model, name: str, inputs: Sequence[Array]) -> list[list[Array]]:
    """Run inputs ``(1, …)``, fed under ``name``; return each one's outputs, as if it had been run alone.

    On a GPU, neighbours of one shape go in together.
    """
    results: list[list[Array]] = []
    for _, alike in groupby(inputs, key=lambda each: each.shape):
        for stack, count in stacks([each[0] for each in alike], batched=model.batches):
            outputs = model.run({name: stack})
            alone = len(stack) == 1
            results += [outputs] if alone else [[output[i : i + 1] for output in outputs] for i in range(count)]
    return results


def stacks(samples: Sequence[Array], *, batched: bool) -> Iterator[tuple[Array, int]]:
    """Stack arrays of one shape in order; yield stacks of one of ``SIZES`` and how many of each are samples.

    The rest of a stack repeats its last sample. Not ``batched``: each alone, as a CPU likes it best.
    """
    most = SIZES[-1] if batched else 1
    for start in range(0, len(samples), most):
        part = list(samples[start : start + most])
        size = next(size for size in SIZES if size >= len(part))
        yield np.stack(part + part[-1:] * (size - len(part))), len(part)
