"""``manage.py alerts tail``: follow an organisation's alerts, or a session's, as they are committed."""

from __future__ import annotations

import sys
import time
import uuid
from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any, Final

from django.core.management.base import CommandError, OutputWrapper
from django.db import InterfaceError, OperationalError, close_old_connections

from accounts.models import Organisation
from alerts import payload, stream
from alerts.cli import selection
from alerts.models import Alert

POLL_S: Final = 0.5
AWAY_S: Final = 2.0
"""Pause before a database that is away is asked again."""


HELP: Final = "Follow an organisation's alerts, or a session's, as they are committed."


def add_arguments(parser: ArgumentParser) -> None:
    selection.add_organisation(parser)
    parser.add_argument("--session", metavar="NAME", help="Only this session: the platform's name of it, or our id.")
    parser.add_argument("--exam", action="append", default=[], metavar="ID", help="Only this exam; may be repeated.")
    parser.add_argument(
        "--event-type", action="append", default=[], metavar="TYPE", help="Only this event type; may be repeated."
    )
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--after", metavar="EVENT_ID", help="Begin after this alert (default: with what is to come).")
    start.add_argument("--from-beginning", action="store_true", help="Begin with the oldest alert that is kept.")
    parser.add_argument("--once", action="store_true", help="End when there is nothing more for now.")
    parser.add_argument("--json", action="store_true", help="Each alert as one line of JSON, as it is published.")


def run(options: dict[str, Any], out: OutputWrapper) -> None:
    """Print alerts until interrupted; then say after which one to go on."""
    owner = selection.organisation(options["organisation"])
    filters = stream.Filters(
        session_id=selection.session(owner, options["session"]).id if options["session"] else None,
        exam_ids=tuple(options["exam"]),
        event_types=selection.event_types(options["event_type"]),
    )
    position = _start(owner, options, filters)
    last: uuid.UUID | None = None
    try:
        for alert in _follow(owner, position, filters, once=options["once"]):
            out.write(payload.body(alert.payload).decode() if options["json"] else describe(alert))
            out.flush()
            last = alert.event_id
    except KeyboardInterrupt:
        go_on = f"--after {last}" if last else "the same options"
        print(f"Stopped. Go on with {go_on}.", file=sys.stderr)


def _start(owner: Organisation, options: dict[str, Any], filters: stream.Filters) -> int:
    if options["from_beginning"]:
        return stream.BEGINNING
    if options["after"] is None:
        return stream.newest(owner)
    try:
        return stream.cursor_of(owner, options["after"], filters)
    except stream.EventUnknownError as error:
        oldest = error.oldest_event_id
        known = f"The oldest that can be had is {oldest} (--from-beginning)." if oldest else "No alert is kept."
        raise CommandError(f"{error} {known}") from None


def _follow(owner: Organisation, position: int, filters: stream.Filters, *, once: bool) -> Iterator[Alert]:
    while True:
        try:
            page = stream.alerts_after(owner, position, filters)
        except (OperationalError, InterfaceError) as error:
            if once:
                raise
            print(f"The database is away, waiting: {str(error).splitlines()[0]}", file=sys.stderr)
            close_old_connections()
            time.sleep(AWAY_S)
            continue
        yield from page.alerts
        position = page.position
        if not page.more:
            if once:
                return
            time.sleep(POLL_S)


def describe(alert: Alert) -> str:
    """Return an alert as one line for people."""
    told = alert.payload
    metadata = told["metadata"]
    lasted = f" after {metadata['duration_s']:.1f} s" if metadata["duration_s"] is not None else ""
    return (
        f"{told['timestamp']}  {told['exam_session_id']} #{metadata['sequence']}  {alert.event_type} {alert.phase}"
        f"{lasted}  severity {told['severity_score']:.2f}  {alert.event_id}"
    )
