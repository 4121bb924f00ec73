"""Write down who changed where alerts go; addresses and secrets stay out of the log."""

from __future__ import annotations

from collections.abc import Iterable

from accounts.audit import Actor, audit_write
from alerts.models import Subscription


def subscription_tell(*, subscription: Subscription, actor: Actor, verb: str, fields: Iterable[str] = ()) -> None:
    """Append to the audit log that somebody did something (``added``, ``changed``, ``removed``…) to a subscription."""
    audit_write(
        organisation=subscription.organisation,
        actor=actor,
        action=f"subscription.{verb}",
        subject_type="subscription",
        subject=str(subscription.id),
        details={"transport": subscription.transport} | ({"fields": sorted(fields)} if fields else {}),
    )
