"""Where the graphs that were converted for a GPU lie, and whether they still are what the manifest's files become."""

from __future__ import annotations

import json
import logging
from pathlib import Path, PurePosixPath

from detection.engine.weights.manifest import WeightsError, load_manifest
from detection.engine.weights.store import default_directory, file_sha256

REWRITER = Path(__file__).resolve().parent.parent / "conversion" / "graphs.py"

logger = logging.getLogger(__name__)


def converted_file(reference: str, directory: Path) -> Path:
    """Return where the conversion of ``NAME``, or a bundle's part ``NAME!PART``, lies below a directory of weights."""
    name, _, part = reference.partition("!")
    return directory / "converted" / f"{'.'.join(filter(None, (name, PurePosixPath(part).stem)))}.onnx"


def converted_path(reference: str, *, directory: Path | None = None) -> Path | None:
    """Return the converted graph to load for ``reference``; None where there is none that is of use.

    Of an outdated one the log says so. Raises ``WeightsError`` for a file that is not the one that was made.
    """
    path = converted_file(reference, directory or default_directory())
    note = _note(path)
    if not path.exists() or not note.exists():
        return None
    record = json.loads(note.read_text())
    if record.get("sha256") != file_sha256(path):
        raise WeightsError(f"{path} is not the graph that was converted: delete it and run `make gpu-weights`.")
    if any(record.get(key) != value for key, value in _origin(reference).items()):
        logger.warning("%s was made of other weights or by an older version: run `make gpu-weights`", path)
        return None
    return path


def note_converted(reference: str, path: Path, facts: dict[str, str | float]) -> None:
    """Record the hash of a converted graph and of what it was made of, and ``facts`` about how."""
    record = {"sha256": file_sha256(path), **_origin(reference), **facts}
    _note(path).write_text(json.dumps(record, indent=1) + "\n")


def _origin(reference: str) -> dict[str, str]:
    original = load_manifest()[reference.partition("!")[0]]
    return {"original_sha256": original.sha256, "rewriter_sha256": file_sha256(REWRITER)}


def _note(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")
