"""Run networks: the one place that knows ONNX Runtime.

Every model gets one thread: N workers on N cores must not fight, and on a CPU two threads cost more than they save. On
a GPU, the work of many candidates is batched instead.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime as ort

from detection.engine.model import Array, Model

__all__ = ["CPU", "CUDA", "Model", "OnnxModel", "RuntimeModelError", "load_model"]

logger = logging.getLogger(__name__)

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
_PROVIDERS: Mapping[str, tuple[str, ...]] = {"cpu": (CPU,), "cuda": (CUDA, CPU)}

_SMOOTHING = 0.05
"""Weight of the newest run in ``mean_ms``: the mean follows about the last twenty runs."""


class RuntimeModelError(RuntimeError):
    """A network that cannot be loaded; the message names the file."""


class OnnxModel:
    """An ONNX graph in ONNX Runtime, one thread."""

    def __init__(self, path: Path, *, device: str = "cpu", name: str = "") -> None:
        self.name = name or path.stem
        self.mean_ms = 0.0
        self._session = _open_session(path, device, self.name)
        self.provider = str(self._session.get_providers()[0])
        self.batches = self.provider != CPU
        self.input_names: list[str] = [node.name for node in self._session.get_inputs()]

    def run(self, feeds: Mapping[str, Array]) -> list[Array]:
        """Run once: input name → array in, outputs out, in the graph's order."""
        started = time.perf_counter()
        outputs: list[Array] = self._session.run(None, dict(feeds))
        elapsed_ms = (time.perf_counter() - started) * 1000
        self.mean_ms += (elapsed_ms - self.mean_ms) * (_SMOOTHING if self.mean_ms else 1.0)
        return outputs


def load_model(path: Path, *, device: str = "cpu", name: str = "") -> OnnxModel:
    """Load a network on ``device`` (``cpu`` or ``cuda``); ``name`` is what health and metrics call it.

    Where CUDA cannot be had it runs on the CPU and says so in the log; ``provider`` tells what it came to. A file that
    is no ONNX graph raises ``RuntimeModelError``, an unknown device ``ValueError``.
    """
    return OnnxModel(path, device=device, name=name)


def _open_session(path: Path, device: str, name: str) -> Any:
    if device not in _PROVIDERS:
        raise ValueError(f"MODEL_DEVICE must be one of {', '.join(_PROVIDERS)}, not {device!r}")
    wanted = [provider for provider in _PROVIDERS[device] if provider in ort.get_available_providers()]
    if CUDA in wanted:
        ort.preload_dlls()  # CUDA's and cuDNN's libraries come as wheels, where the loader does not look by itself
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors; the fallback below is reported in our own words
    try:
        session = ort.InferenceSession(str(path), sess_options=options, providers=wanted)
    except Exception as error:  # ONNX Runtime has a class per cause, all of them mean the same here
        raise RuntimeModelError(f"{path} cannot be loaded as an ONNX model: {error}") from error
    if device == "cuda" and session.get_providers()[0] != CUDA:
        logger.warning("MODEL_DEVICE=cuda, but %s runs on the CPU: %s", name, _why_not_cuda())
    return session


def _why_not_cuda() -> str:
    if CUDA not in ort.get_available_providers():
        return "this onnxruntime has no CUDA support; install requirements-gpu.txt (onnxruntime-gpu)"
    return "ONNX Runtime could not start CUDA; are the driver, CUDA and cuDNN there, and the GPU visible?"
