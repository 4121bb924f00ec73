"""Convert the networks one by one: ``tf2onnx``, the rewrite, the comparison with LiteRT, into the store."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from detection.engine.batching import SIZES
from detection.engine.conversion import graphs
from detection.engine.conversion.comparison import (
    Feeds,
    Image,
    greatest_difference,
    greatest_miss,
    milliseconds,
    recorded,
)
from detection.engine.detectors import DETECTORS, body, faces, landmarks, liveness, objects
from detection.engine.model import Model
from detection.engine.runtime import load_model, read_part
from detection.engine.weights import weights_path
from detection.engine.weights.converted import converted_file, note_converted

OPSET = "17"
_VERSIONS = "import importlib.metadata as m; print(*(f'{p} {m.version(p)}' for p in ('tf2onnx', 'tensorflow_cpu')))"


class ConversionError(Exception):
    """A network cannot be converted, or what became of it is not what it was; the message names it."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """How one network is converted.

    ``outputs``: how many of the first ones the product reads. ``tolerance``: the greatest difference to LiteRT's values
    on real photographs, in the outputs' own unit; of things found, in score and in shares of the picture.
    """

    reference: str
    outputs: int
    tolerance: float
    batches: bool = True
    is_quantised: bool = False


CONVERSIONS = (
    Conversion(landmarks.MODEL_NAMES[0], outputs=2, tolerance=0.01),  # pixels of 256
    Conversion(landmarks.MODEL_NAMES[1], outputs=1, tolerance=1e-4),
    Conversion(body.MODEL_NAMES[0], outputs=2, tolerance=0.05),  # pixels of 256
    Conversion(liveness.MODEL_NAME, outputs=1, tolerance=1e-3),
    # Picks its boxes inside the graph, for one picture. Not rounded between layers, scores differ by some hundredths.
    Conversion(objects.MODEL_NAME, outputs=4, tolerance=0.08, batches=False, is_quantised=True),
)


@dataclass(frozen=True, slots=True)
class Converted:
    """What became of a network: its file, and how it compares with LiteRT on this machine's CPU, one thread."""

    reference: str
    path: Path
    inputs: int
    difference: float
    litert_ms: float
    onnx_ms: float


def convert(
    conversions: Sequence[Conversion], *, converter: Path, directory: Path, images: Sequence[Image]
) -> Iterator[Converted]:
    """Convert networks into ``directory``/converted and yield each when it is there.

    ``converter``: a Python interpreter that has ``requirements-convert.txt``. ``images``: BGR, with faces, compared on.
    Raises ``ConversionError`` at the first that cannot be converted or differs too much: it is not written.
    """
    versions = _run([str(converter), "-c", _VERSIONS], "the converter").strip()
    originals = {each.reference: _original(each.reference, directory) for each in conversions}
    compared = [entry.weights for entry in DETECTORS.values() if originals.keys() & entry.weights]
    others = {name: _original(name, directory) for weights in compared for name in weights if name not in originals}
    feeds = recorded({faces.MODEL_NAME: _original(faces.MODEL_NAME, directory), **others, **originals}, images)
    if unfed := [each.reference for each in conversions if not feeds[each.reference]]:
        raise ConversionError(f"there is nothing in the photographs to compare {', '.join(unfed)} on")
    for each in conversions:
        target = converted_file(each.reference, directory)
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            made = _make(each, converter, directory, Path(scratch))
            found = _compare(each, originals[each.reference], made, feeds[each.reference], target)
            made.replace(target)
        facts: dict[str, str | float] = {
            "converter": versions,
            "difference": found.difference,
            "tolerance": each.tolerance,
        }
        note_converted(each.reference, target, facts)
        yield found


def _original(reference: str, directory: Path) -> Model:
    name, _, part = reference.partition("!")
    return load_model(weights_path(name, directory=directory), name=reference, part=part)


def _make(conversion: Conversion, converter: Path, directory: Path, scratch: Path) -> Path:
    name, _, part = conversion.reference.partition("!")
    source, raw, made = scratch / "in.tflite", scratch / "raw.onnx", scratch / "made.onnx"
    original = weights_path(name, directory=directory)
    source.write_bytes(read_part(original, part) if part else original.read_bytes())
    command = [str(converter), "-m", "tf2onnx.convert", "--tflite", str(source), "--output", str(raw), "--opset", OPSET]
    _run(command, conversion.reference)
    model = onnx.load(raw)
    graphs.keep_outputs(model.graph, conversion.outputs)
    if conversion.is_quantised:
        graphs.drop_quantization(model.graph)
    if conversion.batches:
        graphs.free_batch(model.graph)
    onnx.checker.check_model(model)
    onnx.save(model, made)
    return made


def _compare(conversion: Conversion, original: Model, made: Path, feeds: Sequence[Feeds], target: Path) -> Converted:
    reference, tolerance = conversion.reference, conversion.tolerance
    model = load_model(made, name=reference)
    expected, found = [original.run(each) for each in feeds], [model.run(each) for each in feeds]
    if conversion.is_quantised:
        difference = greatest_miss(expected, found, tolerance=tolerance)
    else:
        difference = greatest_difference(expected, found)
    if conversion.batches:
        difference = max(difference, greatest_difference(found, _together(model, feeds)))
    if not difference <= tolerance:
        raise ConversionError(f"{reference} differs from LiteRT by {difference:.3g}, more than {tolerance:g}")
    return Converted(
        reference, target, len(feeds), difference, milliseconds(original, feeds), milliseconds(model, feeds)
    )


def _together(model: Model, feeds: Sequence[Feeds]) -> list[list[np.ndarray]]:
    """Run all inputs in batches, as a GPU does."""
    found: list[list[np.ndarray]] = []
    for start in range(0, len(feeds), SIZES[-1]):
        group = feeds[start : start + SIZES[-1]]
        outputs = model.run({name: np.concatenate([each[name] for each in group]) for name in group[0]})
        found += [[output[index : index + 1] for output in outputs] for index in range(len(group))]
    return found


def _run(command: Sequence[str], label: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=_environment())  # noqa: S603
    except OSError as error:
        raise ConversionError(f"{label}: {command[0]} cannot be run: {error.strerror}") from error
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise ConversionError(f"{label}: {' '.join(command[1:3])} failed: {said[-1] if said else done.returncode}")
    return done.stdout


def _environment() -> Mapping[str, str]:
    """Return the converter's: no search for a GPU, and none of this interpreter's paths."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return kept | {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "2"}
