"""``manage.py retention``: remove what has expired, or say what would be."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from proctor_site.retention.report import Report
from proctor_site.retention.run import retention_run


class Command(BaseCommand):
    help = "Remove what has been kept long enough, as beat has it done every hour."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("what", choices=["run"], nargs="?", default="run")
        parser.add_argument("--dry-run", action="store_true", help="only count")
        parser.add_argument("--seconds", type=float, help="stop after this time; the next run goes on")

    def handle(self, *_: Any, **options: Any) -> None:
        report = retention_run(dry_run=options["dry_run"], seconds=options["seconds"])
        self._tell(report)
        if report.unfinished:
            raise CommandError(
                "Not everything is done: the time was over, or a step failed (see the log). Run it again."
            )

    def _tell(self, report: Report) -> None:
        verb = "would remove" if report.dry_run else "removed"
        for kind, count in report.totals().items():
            self.stdout.write(f"{kind:<12} {verb} {count} rows")
        for name, count in report.partitions.items():
            verb = "would drop" if report.dry_run else "dropped"
            self.stdout.write(f"{'detections':<12} {verb} the month {name}, about {count} rows")
