"""Make and change subscriptions, and keep their secrets: sealed at rest, shown once, never read back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import transaction

from accounts import keys
from accounts.models import Organisation
from accounts.problems import Problem
from alerts.addresses import AddressRefusedError
from alerts.models import Subscription
from alerts.transports import TRANSPORTS
from alerts.transports.webhook import SecretInvalidError, secret_bytes, secret_create
from detection.engine.policy import EventType

_PURPOSE = "alerts.Subscription.sealed_secret"


def secret_open(subscription: Subscription) -> str:
    """Return the secret in clear; raise ``accounts.keys.SealError`` when it does not open."""
    return keys.open_secret(subscription.sealed_secret, purpose=_PURPOSE, row=str(subscription.id)).decode()


def subscription_create(
    *,
    organisation: Organisation,
    transport: str,
    url: str,
    secret: str | None = None,
    event_types: Sequence[str] = (),
    exam_ids: Sequence[str] = (),
    enabled: bool = True,
) -> tuple[Subscription, str]:
    """Make a subscription; return it and its secret, generated when none is given.

    Raises ``Problem``: ``address_refused``, ``secret_invalid`` or ``event_type_unknown``.
    """
    address_check(transport, url)
    event_types_check(event_types)
    secret = secret_check(secret) if secret is not None else secret_create()
    subscription = Subscription(
        organisation=organisation,
        transport=transport,
        url=url,
        event_types=list(event_types),
        exam_ids=list(exam_ids),
        enabled=enabled,
    )
    with transaction.atomic():
        secret_set(subscription, secret)
        subscription.save()
    return subscription, secret


def subscription_update(*, subscription: Subscription, **changes: Any) -> Subscription:
    """Change the given fields, among ``url``, ``secret``, ``event_types``, ``exam_ids`` and ``enabled``.

    Enabling clears the reason it was disabled for; what waited meanwhile is delivered. Raises ``Problem`` as creating.
    """
    if "url" in changes:
        address_check(subscription.transport, changes["url"])
    event_types_check(changes.get("event_types", ()))
    with transaction.atomic():
        if (secret := changes.pop("secret", None)) is not None:
            secret_set(subscription, secret_check(secret))
        for name, value in changes.items():
            setattr(subscription, name, value)
        if changes.get("enabled"):
            subscription.disabled_reason = ""
        subscription.save()
    return subscription


def address_check(transport: str, url: str) -> None:
    """Raise ``Problem`` (``address_refused``) for an address that the transport never delivers to."""
    try:
        TRANSPORTS[transport].check(url)
    except AddressRefusedError as error:
        raise Problem("address_refused", str(error)) from None


def event_types_check(event_types: Sequence[str]) -> None:
    """Raise ``Problem`` (``event_type_unknown``) naming what is not an event type."""
    known = [event.value for event in EventType]
    unknown = [name for name in event_types if name not in known]
    if unknown:
        raise Problem("event_type_unknown", f"Not an event type: {', '.join(unknown)}.", unknown=unknown, known=known)


def secret_check(secret: str) -> str:
    """Return the secret; raise ``Problem`` (``secret_invalid``) when it has the wrong shape."""
    try:
        secret_bytes(secret)
    except SecretInvalidError as error:
        raise Problem("secret_invalid", str(error)) from None
    return secret


def secret_set(subscription: Subscription, secret: str) -> None:
    """Seal a secret into the row, which the caller saves."""
    subscription.sealed_secret = keys.seal_secret(secret.encode(), purpose=_PURPOSE, row=str(subscription.id))
