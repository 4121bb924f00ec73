"""Batches of few sizes: for a shape that a GPU has not seen, its first run takes a second or more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from detection.engine.model import Array

SIZES = (1, 8)
"""Runs of a network on a GPU take so many samples: one, or eight, as many as a worker has in a batch."""


def stacks(samples: Sequence[Array], *, batched: bool) -> Iterator[tuple[Array, int]]:
    """Stack arrays of one shape in order; yield stacks of one of ``SIZES`` and how many of each are samples.

    The rest of a stack repeats its last sample. Not ``batched``: each alone, as a CPU likes it best.
    """
    most = SIZES[-1] if batched else 1
    for start in range(0, len(samples), most):
        part = list(samples[start : start + most])
        size = next(size for size in SIZES if size >= len(part))
        yield np.stack(part + part[-1:] * (size - len(part))), len(part)
