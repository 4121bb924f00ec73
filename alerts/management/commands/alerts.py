"""Follow alerts, send them again, and see how the subscriptions are doing."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from alerts.cli import replay, status, tail

ACTIONS: Mapping[str, ModuleType] = {"tail": tail, "replay": replay, "status": status}


class Command(BaseCommand):
    help = (
        "Follow an organisation's alerts as they are committed (tail), send alerts again to a subscription (replay), "
        "or see what waits, fails and is parked (status)."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="{" + ",".join(ACTIONS) + "}")
        for name, module in ACTIONS.items():
            module.add_arguments(actions.add_parser(name, help=module.HELP))

    def handle(self, *, action: str, **options: Any) -> None:
        try:
            ACTIONS[action].run(options, self.stdout)
        except BrokenPipeError:  # whoever read along, such as `head`, has gone
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
