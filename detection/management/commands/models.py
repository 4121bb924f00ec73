"""Look after the networks: their weights, what each costs on this machine, and how well the detectors were measured."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from detection.engine.bench import bench
from detection.engine.conversion.__main__ import main as conversion_main
from detection.engine.detectors import DETECTORS
from detection.engine.pipeline import Pipeline
from detection.engine.runtime import DEVICES
from detection.engine.weights import WeightsError
from detection.engine.weights.__main__ import main as weights_main
from detection.evaluation import card
from detection.worker import device


class Command(BaseCommand):
    help = (
        "List, fetch or verify the networks' weights; convert to ONNX, for GPUs, those that are for LiteRT; measure "
        "what each network costs on this machine; or print the detectors' model cards: what each was measured on, with "
        "which result, and its known failures."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=["list", "fetch", "verify", "convert", "bench", "card"])
        parser.add_argument(
            "name", nargs="*", help="Only these entries of weights.toml and EXTRA_WEIGHTS; of card: detectors."
        )
        parser.add_argument("--group", action="append", help="Only this group; may be repeated.")
        parser.add_argument("--runs", type=int, default=20, help="Of bench: frames, and seconds of sound.")
        parser.add_argument("--write", action="store_true", help="Of card: into docs/accuracy.md.")

    def handle(
        self, *, action: str, name: list[str], group: list[str] | None, runs: int, write: bool, **options: Any
    ) -> None:
        if action == "card":
            self._card(name, write=write)
            return
        if action == "bench":
            self._bench(name, runs)
            return
        if action == "convert":
            if conversion_main(name) != 0:
                raise CommandError("convert failed.")
            return
        groups = [word for each in group or [] for word in ("--group", each)]
        if weights_main([action, *groups, *name]) != 0:
            raise CommandError(f"{action} failed.")

    def _card(self, names: list[str], *, write: bool) -> None:
        if unknown := [name for name in names if name not in DETECTORS]:
            raise CommandError(f"There is no detector {', '.join(unknown)}; there are {', '.join(DETECTORS)}.")
        if write:
            card.write()
        else:
            self.stdout.write(card.text(names or DETECTORS))

    def _bench(self, names: list[str], runs: int) -> None:
        if runs < 1:
            raise CommandError("--runs must be 1 or more.")
        if device() not in DEVICES:
            raise CommandError(f"MODEL_DEVICE must be one of {', '.join(DEVICES)}, not {device()!r}.")
        try:
            pipeline = Pipeline.load(device=device())
        except WeightsError as error:
            raise CommandError(str(error)) from None
        for cost in bench(pipeline, samples=runs):
            if not names or cost.model in names:
                self.stdout.write(json.dumps(cost.to_dict()))
        for detector, reason in pipeline.unavailable.items():
            self.stderr.write(f"{detector} is switched off: {reason}")
