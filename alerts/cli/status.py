"""``manage.py alerts status``: how the subscriptions are doing, and with ``--check`` whether somebody should look."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from django.core.management.base import CommandError, OutputWrapper
from django.utils import timezone

from alerts.cli import selection
from alerts.payload import iso
from alerts.status import Status, statuses

_COLUMNS = ("state", "waiting", "oldest", "parked", "last success", "failing since", "to")


HELP: Final = "Show how the subscriptions are doing; with --check, end with 1 when one needs attention."


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--organisation", metavar="SLUG", help="Only this organisation's subscriptions.")
    parser.add_argument("--json", action="store_true", help="One line of JSON for each subscription.")
    parser.add_argument(
        "--check",
        action="store_true",
        help="End with status 1 when a subscription fails, has parked deliveries, or was disabled by the service.",
    )


def run(options: dict[str, Any], out: OutputWrapper) -> None:
    """Print the subscriptions; raise ``CommandError`` with ``--check`` when one needs attention."""
    owner = selection.organisation(options["organisation"]) if options["organisation"] else None
    found = statuses(owner)
    if options["json"]:
        for status in found:
            out.write(json.dumps(_document(status)))
    elif found:
        out.write(_table(found))
    else:
        out.write("There are no subscriptions.")
    troubled = [status for status in found if status.needs_attention]
    if options["check"] and troubled:
        raise CommandError(" ".join(_trouble(status) for status in troubled))


def _document(status: Status) -> dict[str, Any]:
    subscription = status.subscription
    return {
        "subscription": str(subscription.id),
        "organisation": subscription.organisation.slug,
        "transport": subscription.transport,
        "url": subscription.url,
        "state": status.state,
        "disabled_reason": subscription.disabled_reason,
        "waiting": status.waiting,
        "oldest_waiting_at": _iso(status.oldest_waiting_at),
        "parked": status.parked,
        "last_success_at": _iso(subscription.last_success_at),
        "failing_since": _iso(subscription.failing_since),
        "needs_attention": status.needs_attention,
    }


def _iso(moment: datetime | None) -> str | None:
    return iso(moment) if moment else None


def _table(found: Sequence[Status]) -> str:
    now = timezone.now()
    rows = [_COLUMNS, *(_row(status, now) for status in found)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(_COLUMNS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    blocks = [f"{line}\n  {_below(status)}".rstrip() for line, status in zip(lines[1:], found, strict=True)]
    return "\n".join([lines[0], *blocks])


def _row(status: Status, now: datetime) -> tuple[str, ...]:
    return (
        status.state,
        str(status.waiting),
        _ago(status.oldest_waiting_at, now),
        str(status.parked),
        _ago(status.subscription.last_success_at, now),
        _ago(status.subscription.failing_since, now),
        str(status.subscription),
    )


def _below(status: Status) -> str:
    subscription = status.subscription
    reason = f"  {subscription.disabled_reason}" if subscription.disabled_reason else ""
    return f"{subscription.id}  {subscription.organisation.slug}{reason}"


def _ago(moment: datetime | None, now: datetime) -> str:
    """Say how long ago something was, in its two largest units."""
    if moment is None:
        return "-"
    seconds = max(0, int((now - moment) / timedelta(seconds=1)))
    units = [(seconds // 86400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "min"), (seconds % 60, "s")]
    first = next((place for place, (count, _) in enumerate(units) if count), len(units) - 1)
    said = " ".join(f"{count} {unit}" for count, unit in units[first : first + 2] if count)
    return f"{said} ago" if said else "now"


def _trouble(status: Status) -> str:
    said = [f"{status.parked} parked"] if status.parked else []
    if status.state == "failing":
        said.append(f"failing since {_iso(status.subscription.failing_since)}")
    if status.state == "disabled" and status.subscription.disabled_reason:
        said.append(f"disabled: {status.subscription.disabled_reason.rstrip('.')}")
    return f"{status.subscription}: {', '.join(said)}."
