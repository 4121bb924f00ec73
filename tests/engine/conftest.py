"""The loaded engine, and photographs of A, B, C and D."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from detection.engine.media import Frame, decode_image
from detection.engine.pipeline import FrameJob, Pipeline
from detection.engine.policy import Policy
from detection.engine.weights import weights_path

Image = NDArray[np.uint8]


@pytest.fixture(scope="session")
def pipeline(weights_dir: Path) -> Pipeline:
    """Return a pipeline with every detector loaded, on the CPU."""
    loaded = Pipeline.load(device="cpu")
    assert loaded.unavailable == {}
    return loaded


@pytest.fixture(scope="session")
def photo(weights_dir: Path) -> Callable[[str], Image]:
    """Return a function from ``a_1``, ``a_2``, ``b_1``, ``b_2``, ``c_1``, ``d_1`` to that photograph, BGR."""
    return lambda name: decode_image(weights_path(f"photo_{name}").read_bytes())


@pytest.fixture(scope="session")
def frame_job() -> Callable[..., FrameJob]:
    """Return a function that makes a job of a picture: frame id, capture time and the rest as given."""

    def job(
        image: Image, *, at: float = 10.0, previous: float | None = 9.5, frame_id: str = "f", **more: Any
    ) -> FrameJob:
        values: dict[str, Any] = {"template": None, "policy": Policy()} | more
        return FrameJob(frame=Frame(frame_id, image, at), previous_captured_at=previous, **values)

    return job
