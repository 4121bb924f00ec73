"""Run networks: the one place that knows ONNX Runtime and LiteRT.

ONNX graphs run in ONNX Runtime, on the CPU or on CUDA; the parts of MediaPipe and EfficientDet, which are published as
``.tflite`` only, in LiteRT on the CPU: for them it is as fast, and nothing has to be converted. For a GPU they are
converted to ONNX (``conversion``).

Every model gets one thread: N workers on N cores must not fight, and on a CPU two threads cost more than they save. On
a GPU, the work of many candidates is batched instead.
"""

from __future__ import annotations

import logging
import time
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime as ort
from ai_edge_litert.interpreter import Interpreter

from detection.engine.model import Array, Model

__all__ = [
    "CPU",
    "CUDA",
    "DEVICES",
    "LITERT",
    "LiteRtModel",
    "Model",
    "OnnxModel",
    "RuntimeModelError",
    "TimedModel",
    "load_model",
    "read_part",
    "session_options",
]

logger = logging.getLogger(__name__)

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
LITERT = "LiteRT"
"""Its CPU kernels; the other two are ONNX Runtime's own names."""
_PROVIDERS: Mapping[str, tuple[str, ...]] = {"cpu": (CPU,), "cuda": (CUDA, CPU)}
DEVICES = tuple(_PROVIDERS)
"""What ``MODEL_DEVICE`` may be."""
_OPTIONS: Mapping[str, Mapping[str, str]] = {
    CUDA: {
        # The default tries every algorithm for each new shape: seconds on each change of the batch's size.
        "cudnn_conv_algo_search": "HEURISTIC",
        # Doubling at each growth would take memory that other workers on the same GPU need.
        "arena_extend_strategy": "kSameAsRequested",
    }
}

_SMOOTHING = 0.05
"""Weight of the newest run in ``mean_ms``: the mean follows about the last twenty runs."""


class RuntimeModelError(RuntimeError):
    """A network that cannot be loaded; the message names the file."""


class TimedModel(ABC):
    """A network that keeps a running mean of its milliseconds."""

    def __init__(self, name: str, provider: str) -> None:
        self.name = name
        self.provider = provider
        self.batches = provider == CUDA
        self.mean_ms = 0.0

    def run(self, feeds: Mapping[str, Array]) -> list[Array]:
        """Run once: input name → array in, outputs out, in the graph's order."""
        started = time.perf_counter()
        outputs = self._run(feeds)
        elapsed_ms = (time.perf_counter() - started) * 1000
        self.mean_ms += (elapsed_ms - self.mean_ms) * (_SMOOTHING if self.mean_ms else 1.0)
        return outputs

    @abstractmethod
    def _run(self, feeds: Mapping[str, Array]) -> list[Array]: ...


class OnnxModel(TimedModel):
    """An ONNX graph in ONNX Runtime, one thread."""

    def __init__(self, path: Path, *, device: str, name: str) -> None:
        self._session = _open_session(path, device, name)
        super().__init__(name, str(self._session.get_providers()[0]))
        self.input_names: list[str] = [node.name for node in self._session.get_inputs()]

    def _run(self, feeds: Mapping[str, Array]) -> list[Array]:
        return list(self._session.run(None, dict(feeds)))


class LiteRtModel(TimedModel):
    """A ``.tflite`` graph in LiteRT, one thread, inputs in the graph's own fixed shapes and types."""

    def __init__(self, content: bytes, *, label: str, name: str) -> None:
        super().__init__(name, LITERT)
        try:
            self._interpreter = Interpreter(model_content=content, num_threads=1)
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise RuntimeModelError(f"{label} cannot be loaded as a LiteRT model: {error}") from error
        self._inputs = {str(detail["name"]): int(detail["index"]) for detail in self._interpreter.get_input_details()}
        self._outputs = [int(detail["index"]) for detail in self._interpreter.get_output_details()]
        self.input_names = list(self._inputs)
        self.run({})  # once on nothing, so that the first candidate need not wait

    def _run(self, feeds: Mapping[str, Array]) -> list[Array]:
        for name, value in feeds.items():
            self._interpreter.set_tensor(self._inputs[name], value)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]


def load_model(path: Path, *, device: str = "cpu", name: str = "", part: str = "") -> OnnxModel | LiteRtModel:
    """Load a network on ``device`` (``cpu`` or ``cuda``); ``name`` is what health and metrics call it.

    ``part``: the member of a MediaPipe bundle (``.task``, a zip archive) to load. Where CUDA cannot be had, and where a
    graph is LiteRT's, it runs on the CPU and says so in the log; ``provider`` tells what it came to. A file that is no
    network raises ``RuntimeModelError``, an unknown device ``ValueError``.
    """
    if device not in _PROVIDERS:
        raise ValueError(f"MODEL_DEVICE must be one of {', '.join(_PROVIDERS)}, not {device!r}")
    name = name or path.stem
    if part or path.suffix == ".tflite":
        if device == "cuda":
            logger.warning("MODEL_DEVICE=cuda, but %s runs on the CPU, in LiteRT: run `make gpu-weights`", name)
        return LiteRtModel(
            read_part(path, part) if part else path.read_bytes(), label=f"{path} {part}".strip(), name=name
        )
    return OnnxModel(path, device=device, name=name)


def read_part(path: Path, part: str) -> bytes:
    """Return the content of one member of a MediaPipe bundle; raise ``RuntimeModelError`` if there is none."""
    try:
        with zipfile.ZipFile(path) as bundle:
            return bundle.read(part)
    except (zipfile.BadZipFile, KeyError) as error:
        raise RuntimeModelError(f"{path} has no part {part}: {error}") from error


def session_options(device: str) -> tuple[ort.SessionOptions, list[tuple[str, dict[str, str]]]]:
    """Return the options of every session, and the providers to try on ``device`` in this order, with theirs."""
    wanted = [provider for provider in _PROVIDERS[device] if provider in ort.get_available_providers()]
    if CUDA in wanted:
        ort.preload_dlls()  # CUDA's and cuDNN's libraries come as wheels, where the loader does not look by itself
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors; a fallback to the CPU is reported in our own words
    return options, [(provider, dict(_OPTIONS.get(provider, {}))) for provider in wanted]


def _open_session(path: Path, device: str, name: str) -> Any:
    options, wanted = session_options(device)
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
