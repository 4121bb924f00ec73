"""The product with real models, and media written for a test."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from detection.engine.media import decode_image
from detection.engine.pipeline import Pipeline
from detection.engine.weights import weights_path
from detection.evaluation.product import Product


@pytest.fixture(scope="session")
def product(weights_dir: Path) -> Product:
    """Return the product as the command loads it, on the CPU."""
    return Product(Pipeline.load(device="cpu"))


@pytest.fixture(scope="session")
def photo(weights_dir: Path) -> Callable[[str], np.ndarray]:
    """Return a function from ``a_1``, ``a_2``, ``b_1``, ``b_2``, ``c_1``, ``d_1`` to that photograph, BGR."""
    return lambda name: decode_image(weights_path(f"photo_{name}").read_bytes())


@pytest.fixture
def write_clip(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes pictures (BGR, 10 a second) and sound (float32, mono) as a Matroska file."""

    def write(
        name: str,
        pictures: list[np.ndarray],
        sound: np.ndarray | None = None,
        *,
        rate: int = 16_000,
        codec: tuple[str, str] = ("mjpeg", "yuvj420p"),
    ) -> Path:
        with av.open(str(tmp_path / name), "w", format="matroska") as container:
            video = audio = None
            if pictures:
                video = container.add_stream(codec[0], rate=10)
                video.height, video.width = pictures[0].shape[:2]
                video.pix_fmt = codec[1]
            if sound is not None:
                audio = container.add_stream("pcm_s16le", rate=rate, layout="mono")
            for index, picture in enumerate(pictures):
                frame = av.VideoFrame.from_ndarray(picture, format="bgr24").reformat(format=codec[1])
                frame.pts, frame.time_base = index, Fraction(1, 10)
                container.mux(video.encode(frame))
            if sound is not None:
                pcm = (sound * 32767).astype(np.int16)
                for start in range(0, len(pcm), rate // 10):
                    frame = av.AudioFrame.from_ndarray(
                        pcm[None, start : start + rate // 10], format="s16", layout="mono"
                    )
                    frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
                    container.mux(audio.encode(frame))
            for stream in filter(None, (video, audio)):
                container.mux(stream.encode(None))
        return tmp_path / name

    return write
