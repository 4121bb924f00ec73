"""The manifest of model weights and demo photographs, and where the verified files lie.

``weights.toml`` says what each file is; ``python -m detection.engine.weights`` lists, fetches and verifies them.
"""

from detection.engine.weights.converted import converted_path
from detection.engine.weights.manifest import (
    OWN,
    PackageSource,
    Weight,
    WeightsError,
    WeightsUnavailableError,
    load_manifest,
    parse_manifest,
)
from detection.engine.weights.store import Store, is_fetched, weights_path

__all__ = [
    "OWN",
    "PackageSource",
    "Store",
    "Weight",
    "WeightsError",
    "WeightsUnavailableError",
    "converted_path",
    "is_fetched",
    "load_manifest",
    "parse_manifest",
    "weights_path",
]
