"""Look after the networks: list, fetch and verify their weights, and measure what each costs on this machine."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from detection.engine.bench import bench
from detection.engine.pipeline import Pipeline
from detection.engine.weights import WeightsError
from detection.engine.weights.__main__ import main as weights_main
from detection.worker import device


class Command(BaseCommand):
    help = "List, fetch or verify the networks' weights; or measure what each network costs on this machine."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=["list", "fetch", "verify", "bench"])
        parser.add_argument("name", nargs="*", help="Only these entries of weights.toml and EXTRA_WEIGHTS.")
        parser.add_argument("--group", action="append", help="Only this group; may be repeated.")
        parser.add_argument("--runs", type=int, default=20, help="Of bench: frames, and seconds of sound.")

    def handle(self, *, action: str, name: list[str], group: list[str] | None, runs: int, **options: Any) -> None:
        if action == "bench":
            self._bench(name, runs)
            return
        groups = [word for each in group or [] for word in ("--group", each)]
        if weights_main([action, *groups, *name]) != 0:
            raise CommandError(f"{action} failed.")

    def _bench(self, names: list[str], runs: int) -> None:
        if runs < 1:
            raise CommandError("--runs must be 1 or more.")
        try:
            pipeline = Pipeline.load(device=device())
        except WeightsError as error:
            raise CommandError(str(error)) from None
        for cost in bench(pipeline, samples=runs):
            if not names or cost.model in names:
                self.stdout.write(json.dumps(cost.to_dict()))
        for detector, reason in pipeline.unavailable.items():
            self.stderr.write(f"{detector} is switched off: {reason}")
