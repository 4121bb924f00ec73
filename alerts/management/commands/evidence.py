"""``manage.py evidence verify``: does every session still have the pictures it had?"""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from alerts.evidence_verify import chain_verify
from alerts.models import Evidence
from sessions.models import ExamSession


class Command(BaseCommand):
    help = "Verify the chains of evidence, and that each picture is the one whose hash was stored."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("what", choices=["verify"])
        parser.add_argument("--organisation", metavar="SLUG", help="of this one alone")
        parser.add_argument("--session", metavar="ID", help="this session alone: the platform's id, or ours")
        parser.add_argument("--no-pictures", action="store_true", help="the rows alone, without opening files")

    def handle(self, *_: Any, **options: Any) -> None:
        sessions = ExamSession.objects.order_by("created_at")
        if options["organisation"]:
            sessions = sessions.filter(organisation__slug=options["organisation"])
        if options["session"]:
            session = sessions.named(options["session"])
            if session is None:
                raise CommandError(f"There is no session {options['session']}.")
            sessions = sessions.filter(pk=session.pk)
        problems = count = 0
        for session in sessions.select_related("candidate").iterator(chunk_size=500):
            count += 1
            for problem in chain_verify(session, pictures=not options["no_pictures"]):
                problems += 1
                self.stdout.write(f"{session.id}: {problem}")
        rows = Evidence.objects.filter(session__in=sessions)
        removed = rows.exclude(removed_at=None).count()
        self.stdout.write(
            f"{count} sessions, {rows.count()} pictures, of which {removed} were removed by time or erasure; "
            f"{problems} problems."
        )
        if problems:
            raise CommandError("The evidence is not what it was.")
