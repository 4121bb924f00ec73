"""``manage.py alerts replay``: send alerts again to a subscription, after saying which and being told to."""

from __future__ import annotations

import json
import sys
import uuid
from argparse import ArgumentParser
from typing import Any, Final

from django.core.management.base import CommandError, OutputWrapper

from alerts.cli import selection
from alerts.models import Alert, AlertQuerySet, Subscription
from alerts.replay import Plan, replay, replay_plan

HELP: Final = "Send alerts again to a subscription, after saying which."


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("subscription", help="Where to: the subscription's id, as `alerts status` shows it.")
    parser.add_argument("--event", action="append", default=[], metavar="ID", help="This alert; may be repeated.")
    parser.add_argument("--session", metavar="NAME", help="All alerts of a session, by the platform's name or our id.")
    parser.add_argument("--since", metavar="TIME", help="Alerts written from then on, such as 2026-09-21T14:00Z.")
    parser.add_argument("--until", metavar="TIME", help="Alerts written before then.")
    parser.add_argument("--dry-run", action="store_true", help="Only say what would be sent.")
    parser.add_argument("--yes", action="store_true", help="Do not ask.")
    parser.add_argument("--json", action="store_true", help="One line of JSON instead of sentences.")


def run(options: dict[str, Any], out: OutputWrapper) -> None:
    """Say what would be sent, ask, and queue it."""
    subscription = _subscription(options["subscription"])
    alerts = _alerts(subscription, options)
    plan = replay_plan(subscription=subscription, alerts=alerts)
    if not options["json"]:
        out.write(_describe(subscription, plan))
    queued = 0
    if plan.sent and not options["dry_run"] and _agreed(options, plan):
        queued = replay(subscription=subscription, alerts=alerts)
    if options["json"]:
        out.write(json.dumps(_document(subscription, plan, queued)))
    elif queued:
        out.write(f"Queued {_alerts_word(queued)}. `manage.py alerts status` shows how far they are.")


def _subscription(text: str) -> Subscription:
    try:
        key = uuid.UUID(text)
    except ValueError:
        raise CommandError(f"'{text}' is no id of a subscription; `manage.py alerts status` lists them.") from None
    found = Subscription.objects.filter(id=key).select_related("organisation").first()
    if found is None:
        raise CommandError(f"There is no subscription {key}; `manage.py alerts status` lists them.")
    if not found.enabled:
        reason = f" ({found.disabled_reason})" if found.disabled_reason else ""
        raise CommandError(f"The subscription {key} is disabled{reason}. Enable it first: nothing would be sent.")
    return found


def _alerts(subscription: Subscription, options: dict[str, Any]) -> AlertQuerySet:
    if not any(options[name] for name in ("event", "session", "since", "until")):
        raise CommandError("Say which alerts: --event, --session, --since or --until.")
    alerts = Alert.objects.of(subscription.organisation)
    if options["event"]:
        alerts = _events(alerts, options["event"])
    if options["session"]:
        alerts = alerts.filter(session=selection.session(subscription.organisation, options["session"]))
    if options["since"]:
        alerts = alerts.filter(created_at__gte=selection.moment(options["since"], "--since"))
    if options["until"]:
        alerts = alerts.filter(created_at__lt=selection.moment(options["until"], "--until"))
    return alerts


def _events(alerts: AlertQuerySet, texts: list[str]) -> AlertQuerySet:
    wanted = [selection.event_id(text) for text in texts]
    found = alerts.filter(event_id__in=wanted)
    missing = sorted({str(key) for key in wanted} - {str(key) for key in found.values_list("event_id", flat=True)})
    if missing:
        raise CommandError(f"The organisation has no alert {', '.join(missing)}: never issued, or not kept any more.")
    return found


def _agreed(options: dict[str, Any], plan: Plan) -> bool:
    if options["yes"]:
        return True
    if options["json"] or not sys.stdin.isatty():
        raise CommandError("Nothing was sent: give --yes where nobody can be asked.")
    return input(f"Send {_alerts_word(plan.sent)}? [y/N] ").strip().lower() in ("y", "yes")


def _alerts_word(count: int) -> str:
    return "1 alert" if count == 1 else f"{count} alerts"


def _describe(subscription: Subscription, plan: Plan) -> str:
    parts = [
        (plan.again, "to send again under the same event id"),
        (plan.new, "to send for the first time"),
        (plan.waiting, "on the way already"),
        (plan.unwanted, "left out by the subscription's filters"),
    ]
    told = "; ".join(f"{count} {what}" for count, what in parts if count)
    return f"To {subscription}: {told or 'there are no such alerts'}."


def _document(subscription: Subscription, plan: Plan, queued: int) -> dict[str, Any]:
    return {
        "subscription": str(subscription.id),
        "again": plan.again,
        "new": plan.new,
        "waiting": plan.waiting,
        "unwanted": plan.unwanted,
        "queued": queued,
    }
