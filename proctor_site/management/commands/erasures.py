"""``manage.py erasures replay``: after a restore, erase again what was erased since the backup was made."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from proctor_site.replay import Replayed, replay
from proctor_site.replay_lines import LineReader


class Command(BaseCommand):
    help = (
        "After a restore: erase again whoever was erased since the backup, and withdraw consents that were withdrawn "
        "since. FILE is an exported audit log (lines of JSON) or receipts, one a line; - is standard input. It may be "
        "run again, and files that reach back further than the backup do no harm."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("what", choices=["replay"])
        parser.add_argument("files", nargs="+", metavar="FILE", type=argparse.FileType("r", encoding="utf-8"))
        parser.add_argument("--dry-run", action="store_true", help="only count")
        parser.add_argument(
            "--unverified",
            action="store_true",
            help="believe what this database cannot verify: receipts whose key it lacks, a log that was cut",
        )

    def handle(self, *_: Any, files: list[Any], dry_run: bool, unverified: bool, **__: Any) -> None:
        reader = LineReader(unverified=unverified)
        lines = (line for file in files for line in reader.read(file))
        report = replay(lines, dry_run=dry_run)
        for file in files:
            if file is not sys.stdin:
                file.close()
        self._tell(report, dry_run=dry_run)
        if report.failed:
            raise CommandError("Not done:\n" + "\n".join(report.failed))

    def _tell(self, report: Replayed, *, dry_run: bool) -> None:
        for action, count in report.done.items():
            self.stdout.write(f"{action:<18} {'would be done' if dry_run else 'done'} for {count} candidates")
        self.stdout.write(f"{report.nothing_left} lines tell of somebody of whom that is not here, or not any more.")
