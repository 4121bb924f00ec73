"""Options that several actions share, and the rows that they mean. What is wrong with them is said in a sentence."""

from __future__ import annotations

import uuid
from argparse import ArgumentParser
from datetime import datetime

from django.core.management.base import CommandError
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from accounts.models import Organisation
from accounts.problems import Problem
from alerts.subscriptions import ALERT_TYPES, event_types_check
from sessions.models import ExamSession
from sessions.selectors import session_find


def add_organisation(parser: ArgumentParser) -> None:
    """Add ``--organisation``."""
    parser.add_argument("--organisation", default="default", metavar="SLUG", help="Whose alerts (default: default).")


def organisation(slug: str) -> Organisation:
    """Return the organisation; raise ``CommandError`` when there is none."""
    found = Organisation.objects.filter(slug=slug).first()
    if found is None:
        raise CommandError(f"There is no organisation '{slug}'.")
    return found


def session(owner: Organisation, name: str) -> ExamSession:
    """Return a session by the platform's name or by our id; raise ``CommandError`` when there is none."""
    try:
        return session_find(organisation=owner, session_id=name)
    except Problem:
        raise CommandError(f"The organisation '{owner.slug}' has no session '{name}'.") from None


def event_types(names: list[str]) -> tuple[str, ...]:
    """Return the event types; raise ``CommandError`` naming those that are none."""
    try:
        event_types_check(names, known=ALERT_TYPES)
    except Problem as problem:
        raise CommandError(problem.detail) from None
    return tuple(names)


def event_id(text: str) -> uuid.UUID:
    """Return an event id; raise ``CommandError`` when the text is none."""
    try:
        return uuid.UUID(text)
    except ValueError:
        raise CommandError(f"'{text}' is no event id: write it like 0f8c1c1e-6a7e-4a0e-9b1c-5b9f0c2f7f11.") from None


def moment(text: str, option: str) -> datetime:
    """Return a point in time, UTC where no zone is named; raise ``CommandError`` when the text is none."""
    try:
        found = parse_datetime(text)
    except ValueError:
        found = None
    if found is None:
        raise CommandError(f"{option} '{text}' is no time: write it like 2026-09-21T14:00Z.")
    return found if timezone.is_aware(found) else timezone.make_aware(found)
