"""Write ``alerts_pb2`` anew after a change of proto/alerts.proto: ``python -m alerts.rpc.generate``.

It needs grpcio-tools (requirements-dev.txt). What it writes is committed, so that nothing needs to be generated where
SD Proctor runs; a test compares the two.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def generate(into: Path) -> int:
    """Write the modules below the directory ``into``, as ``alerts/rpc/alerts_pb2.py`` and ``.pyi``; 0 on success."""
    protoc = import_module("grpc_tools.protoc")  # not there where SD Proctor only runs
    return int(
        protoc.main(
            [
                "protoc",
                f"-Ialerts/rpc={ROOT / 'proto'}",
                f"-I{Path(str(protoc.__file__)).parent / '_proto'}",
                f"--python_out={into}",
                f"--pyi_out={into}",
                "alerts/rpc/alerts.proto",
            ]
        )
    )


if __name__ == "__main__":
    sys.exit(generate(ROOT))
