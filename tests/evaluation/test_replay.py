"""A film that is played again and again into the camera, from its encoded file to the incident. Generated."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from demo import material
from demo.camera import FRAME_WH, FRAMES_PER_SECOND
from demo.script import A_ALONE, Scene, Script
from detection.evaluation.incidents import opened
from detection.evaluation.product import Product, Watched, watch

Image = NDArray[np.uint8]
LOOP_S, LENGTH_S = 14, 66


def write(path: Path, pictures: Iterable[Image]) -> Path:
    """Encode pictures as a browser does, in one go: nothing of the encoding repeats."""
    with av.open(str(path), "w", format="webm") as container:
        quick = {"deadline": "realtime", "cpu-used": "6"}
        video = container.add_stream("libvpx", rate=FRAMES_PER_SECOND, options=quick)
        video.width, video.height = FRAME_WH
        video.pix_fmt = "yuv420p"
        video.bit_rate = 900_000
        for index, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24").reformat(format="yuv420p")
            frame.pts, frame.time_base = index, Fraction(1, FRAMES_PER_SECOND)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    return path


@pytest.fixture(scope="module")
def product(weights_dir: Path) -> Product:
    return Product.load().only("faces", "camera")


@pytest.fixture(scope="module")
def film(weights_dir: Path) -> list[Image]:
    """Return a film of somebody who sways before a camera that moves a little: no moment comes again."""
    return list(material.film(Script("replay", LENGTH_S, (Scene(0.0, A_ALONE),))))


def reasons(watched: Watched) -> set[Any]:
    pools = (observation.measures.get("liveness_pool", {}) for observation in watched.observations)
    return {pool["reason"] for pool in pools if pool.get("attack", 0) >= 0.65}


def test_a_film_in_a_loop_is_a_presentation_attack_and_names_the_loop(
    film: list[Image], product: Product, tmp_path: Path
) -> None:
    loop = itertools.islice(itertools.cycle(film[: LOOP_S * FRAMES_PER_SECOND]), len(film))
    watched = watch(product, write(tmp_path / "loop.webm", loop))
    assert [span.event for span in opened(watched.changes)] == ["PRESENTATION_ATTACK"]
    assert reasons(watched) == {"replayed_loop"}
    (change,) = [change for change in watched.changes if change.phase == "opened"]
    assert change.measures["decision"]["liveness_pool"]["lag_s"] % LOOP_S == pytest.approx(0, abs=0.5)


def test_the_same_film_once_is_none(film: list[Image], product: Product, tmp_path: Path) -> None:
    watched = watch(product, write(tmp_path / "once.webm", film))
    assert len(watched.observations) > 100
    assert opened(watched.changes) == []
