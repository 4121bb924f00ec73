"""Command line: ``python -m detection.engine.conversion --converter PYTHON [--directory DIR] [NAME]…``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from environ import Env

from detection.engine.conversion.convert import CONVERSIONS, Conversion, ConversionError, convert
from detection.engine.media import decode_image
from detection.engine.model import FACE_DETECTOR
from detection.engine.weights import Store, WeightsError, load_manifest, weights_path
from detection.engine.weights.fetch import Fetcher
from detection.engine.weights.store import ROOT, default_directory

PHOTOGRAPHS = ("photo_a_1", "photo_a_2", "photo_b_1", "photo_b_2", "photo_c_1", "photo_d_1")
DEFAULT_CONVERTER = ROOT / "var/convert/bin/python"


def main(arguments: list[str]) -> int:
    """Fetch what is missing, convert, print a line per network; return 0, or 1 with the reason on standard error."""
    Env.read_env(ROOT / ".env")  # WEIGHTS_DIR may be set there
    options = _parse(arguments)
    directory = options.directory or default_directory()
    try:
        chosen = _chosen(options.name)
        present = _fetch(chosen, Store(directory))
        images = [decode_image(weights_path(name, directory=directory).read_bytes()) for name in PHOTOGRAPHS]
        for made in convert(present, converter=options.converter, directory=directory, images=images):
            print(
                f"{made.reference}: greatest difference to LiteRT {made.difference:.2g} on {made.inputs} inputs; "
                f"on this CPU LiteRT {made.litert_ms:.1f} ms, ONNX Runtime {made.onnx_ms:.1f} ms; {made.path}",
                flush=True,
            )
    except (ConversionError, WeightsError) as error:
        print(f"conversion: {error}", file=sys.stderr)
        return 1
    return 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m detection.engine.conversion", description=__doc__)
    parser.add_argument(
        "--converter", type=Path, default=DEFAULT_CONVERTER, help="interpreter with requirements-convert.txt"
    )
    parser.add_argument("--directory", type=Path, help="instead of WEIGHTS_DIR")
    parser.add_argument("name", nargs="*", help="only these: names in weights.toml, NAME!PART for one part of a bundle")
    return parser.parse_intermixed_args(arguments)


def _chosen(names: list[str]) -> list[Conversion]:
    known = {each.reference: each for each in CONVERSIONS}
    if unknown := [name for name in names if name not in known]:
        raise ConversionError(f"{', '.join(unknown)} is not converted; those are {', '.join(known)}")
    return [known[name] for name in names or known]


def _fetch(chosen: list[Conversion], store: Store) -> list[Conversion]:
    """Fetch the networks, the face detector and the photographs; return which of the networks can be had."""
    manifest = load_manifest()
    weights = {each.reference: manifest[each.reference.partition("!")[0]] for each in chosen}
    needed = dict.fromkeys([*weights.values(), *(manifest[name] for name in (FACE_DETECTOR, *PHOTOGRAPHS))])
    Fetcher(store).fetch(needed)  # and says which it is without
    return [each for each in chosen if store.original(weights[each.reference]).exists()]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
