"""Command line: ``python -m detection.evaluation TASK DIR [--json] [--policy FILE] [--record NAME]``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from environ import Env

from detection.engine.policy import DEFAULT_POLICY, Policy, PolicyError
from detection.engine.runtime import DEVICES
from detection.engine.weights import WeightsError
from detection.engine.weights.store import ROOT
from detection.evaluation.layout import LayoutError
from detection.evaluation.product import NotInThisBuildError, Product
from detection.evaluation.record import record
from detection.evaluation.report import Report
from detection.evaluation.tasks import TASKS

OK, WRONG_LAYOUT, NOT_IN_THIS_BUILD = 0, 2, 3


def main(arguments: list[str]) -> int:
    """Measure and print; return 0, 2 for labels or a policy that cannot be used, 3 for a detector that is missing.

    3 also where settings choose a device or a network that there is not.
    """
    Env.read_env(ROOT / ".env")  # WEIGHTS_DIR and MODEL_DEVICE may be set there
    options = _parse(arguments)
    try:
        product = Product.load(_policy(options.policy), device=_device())
        report = TASKS[options.task](product, options.directory)
        if options.record:
            _record(options, product, report)
    except (LayoutError, PolicyError) as error:
        print(f"evaluation: {error}", file=sys.stderr)
        return WRONG_LAYOUT
    except (NotInThisBuildError, WeightsError) as error:
        print(f"evaluation: {error}", file=sys.stderr)
        return NOT_IN_THIS_BUILD
    print(json.dumps(report.to_dict(), allow_nan=False) if options.json else report.to_text())
    return OK


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m detection.evaluation", description="Measure the product on labelled data, see docs/accuracy.md."
    )
    parser.add_argument("task", choices=list(TASKS))
    parser.add_argument("directory", type=Path, metavar="DIR", help="where the labels and the media are")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--policy", type=Path, help="a policy document (JSON) instead of the default policy")
    parser.add_argument("--record", metavar="NAME", help="also keep the run in docs/accuracy.json, under this name")
    return parser.parse_args(arguments)


def _record(options: argparse.Namespace, product: Product, report: Report) -> None:
    policy = f" --policy DIR/{options.policy.name}" if options.policy else ""
    models = {model.name: model.provider for model in product.pipeline.models}
    arguments = f"{options.task} DIR{policy}"
    record(report, options.directory, name=options.record, arguments=arguments, models=models)


def _device() -> str:
    device = os.environ.get("MODEL_DEVICE") or "cpu"
    if device not in DEVICES:
        raise NotInThisBuildError(f"MODEL_DEVICE must be one of {', '.join(DEVICES)}, not {device!r}.")
    return device


def _policy(path: Path | None) -> Policy:
    if path is None:
        return DEFAULT_POLICY
    try:
        return Policy.from_dict(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise PolicyError({str(path): str(error)}) from error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
