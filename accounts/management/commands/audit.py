"""``manage.py audit``: verify the chains of the audit logs, or export them."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from accounts.audit import SYSTEM, audit_verify, audit_write
from accounts.audit_export import FORMATS, audit_export
from accounts.models import AuditEntry, Organisation


class Command(BaseCommand):
    help = "Verify that no audit log was changed, or write one to standard output."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("what", choices=["verify", "export"])
        parser.add_argument("--organisation", metavar="SLUG", help="this one alone")
        parser.add_argument("--format", choices=list(FORMATS), default="jsonl")
        parser.add_argument(
            "--since", metavar="TIME", help="export only from this moment on, such as 2026-11-01T00:00Z"
        )

    def handle(self, *_: Any, **options: Any) -> None:
        organisations = Organisation.objects.order_by("id")
        if options["organisation"]:
            organisations = organisations.filter(slug=options["organisation"])
            if not organisations:
                raise CommandError(f"There is no organisation {options['organisation']}.")
        if options["what"] == "verify":
            self._verify(list(organisations))
        else:
            self._export(list(organisations), options["format"], _moment(options["since"]))

    def _verify(self, organisations: list[Organisation]) -> None:
        problems = 0
        for organisation in organisations:
            for problem in audit_verify(organisation):
                problems += 1
                self.stdout.write(f"{organisation.slug}: {problem}")
            count = AuditEntry.objects.filter(organisation=organisation).count()
            self.stdout.write(f"{organisation.slug}: {count} entries read.")
        if problems:
            raise CommandError("The audit log is not what was written.")

    def _export(self, organisations: list[Organisation], form: str, since: datetime | None) -> None:
        entries = AuditEntry.objects.filter(organisation__in=organisations)
        if since is not None:
            entries = entries.filter(at__gte=since)
        out = getattr(self.stdout, "_out", sys.stdout)  # as it is: Django's wrapper would end each block with a line
        for block in audit_export(entries, form):
            out.write(block.decode())
        for organisation in organisations:
            audit_write(
                organisation=organisation,
                actor=SYSTEM,
                action="audit.exported",
                subject_type="audit",
                details={"format": form, "since": since.isoformat() if since else None},
            )


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        found = parse_datetime(text)
    except ValueError:
        found = None
    if found is None:
        raise CommandError(f"--since {text} is no time: use a form like 2026-11-01T00:00Z.")
    return found if found.tzinfo else timezone.make_aware(found)
