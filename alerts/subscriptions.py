"""Make and change subscriptions, and keep their secrets: sealed at rest, shown once, never read back."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from accounts import keys
from accounts.models import Organisation
from accounts.problems import Problem
from alerts import signing
from alerts.addresses import AddressRefusedError, TransportUnavailableError
from alerts.models import Subscription
from alerts.notice_types import NOTICE_TYPES
from alerts.transports import TRANSPORTS
from detection.engine.policy import EventType

PURPOSE = "alerts.Subscription.sealed_secret"
PURPOSE_PREVIOUS = "alerts.Subscription.sealed_previous_secret"
ALERT_TYPES = tuple(event.value for event in EventType)
"""What a filter of alerts alone can name."""
EVENT_TYPES = (*ALERT_TYPES, *NOTICE_TYPES)
"""What a filter of all that is told can name."""
OVERLAP = timedelta(hours=24)
OVERLAP_MOST = timedelta(days=30)
_RUNTIME = frozenset({
    "calls", "rate_used_at", "last_success_at", "failing_since", "failure_count", "breaker_until", "breaker_trips"
})  # fmt: skip
"""Fields that the deliveries alone write."""
_SECRETS = frozenset({"sealed_secret", "sealed_previous_secret"})


def secrets_open(subscription: Subscription, now: datetime) -> tuple[str, ...]:
    """Return the secrets valid now in clear, the newest first; raise ``accounts.keys.SealError`` if one does not open.

    Empty where the transport has none.
    """
    sealed = [(subscription.sealed_secret, PURPOSE)] if subscription.sealed_secret else []
    until = subscription.previous_secret_until
    if subscription.sealed_previous_secret and until is not None and until > now:
        sealed.append((subscription.sealed_previous_secret, PURPOSE_PREVIOUS))
    row = str(subscription.id)
    return tuple(keys.open_secret(bytes(secret), purpose=purpose, row=row).decode() for secret, purpose in sealed)


def secret_open(subscription: Subscription) -> str:
    """Return the newest secret in clear; raise ``accounts.keys.SealError`` when it does not open."""
    return keys.open_secret(subscription.sealed_secret, purpose=PURPOSE, row=str(subscription.id)).decode()


def subscription_create(
    *,
    organisation: Organisation,
    transport: str,
    url: str = "",
    secret: str | None = None,
    signature: str = signing.Kind.HMAC,
    event_types: Sequence[str] = (),
    **fields: Any,
) -> tuple[Subscription, str]:
    """Make a subscription; return it and its secret, generated when none is given, empty if the transport has none.

    ``fields``: ``exam_ids``, ``ordered``, ``concurrency``, ``rate_per_s``, ``enabled``. ``signature`` is the kind of a
    generated secret. Raises ``Problem``: ``address_refused``, ``transport_unavailable``, ``secret_invalid`` or
    ``event_type_unknown``.
    """
    address_check(transport, url)
    event_types_check(event_types)
    subscription = Subscription(
        organisation=organisation, transport=transport, url=url, event_types=list(event_types), **fields
    )
    secret = secret_choose(transport, secret, signature)
    with transaction.atomic():
        if secret:
            secret_set(subscription, secret)
        subscription.save()
    return subscription, secret


def subscription_update(*, subscription: Subscription, **changes: Any) -> Subscription:
    """Change the given fields: those of ``subscription_create`` but organisation and transport.

    A new ``secret`` takes the old one's place at once; ``secret_rotate`` lets both be valid for a while. Enabling
    clears the reason it was disabled for; what waited meanwhile is delivered. Raises ``Problem`` as creating.
    """
    if "url" in changes:
        address_check(subscription.transport, changes["url"])
    event_types_check(changes.get("event_types", ()))
    secret = changes.pop("secret", None)
    for name, value in changes.items():
        setattr(subscription, name, value)
    if changes.get("enabled"):
        subscription.disabled_reason = ""
    with transaction.atomic():
        if secret is not None:
            secret_replace(subscription, secret_choose(subscription.transport, secret))
        configuration_save(subscription, with_secrets=secret is not None)
    if changes.get("enabled") or "url" in changes:
        breaker_reset(subscription)
    return subscription


def configuration_save(subscription: Subscription, *, with_secrets: bool) -> None:
    """Save what people choose, and leave what the deliveries write meanwhile.

    Without ``with_secrets`` those stay as they are now: they may have been wrapped anew since the row was read.
    """
    left = _RUNTIME if with_secrets else _RUNTIME | _SECRETS
    fields = [field.name for field in Subscription._meta.concrete_fields if not field.primary_key]
    subscription.save(update_fields=[name for name in fields if name not in left])


def breaker_reset(subscription: Subscription) -> None:
    """Forget past failures: something was changed that may have mended them."""
    Subscription.objects.filter(pk=subscription.pk).update(
        failing_since=None, failure_count=0, breaker_until=None, breaker_trips=0
    )


def subscription_delete(*, subscription_id: uuid.UUID) -> None:
    """Remove a subscription with its deliveries."""
    with transaction.atomic():
        # The lock that workers take first as well: deleting the deliveries before would end in a deadlock with them.
        Subscription.objects.select_for_update().filter(pk=subscription_id).first()
        Subscription.objects.filter(pk=subscription_id).delete()


def secret_rotate(
    *,
    subscription: Subscription,
    secret: str | None = None,
    signature: str = signing.Kind.HMAC,
    overlap: timedelta = OVERLAP,
) -> str:
    """Give a subscription a new secret and return it, generated when none is given.

    Alerts are signed with both until ``overlap`` is over; what was left of an earlier overlap ends now. Raises
    ``Problem``: ``secret_invalid``, also where the transport has no secret.
    """
    chosen = secret_choose(subscription.transport, secret, signature)
    if not chosen:
        raise Problem("secret_invalid", f"Subscriptions by {subscription.transport} have no secret.")
    with transaction.atomic():
        locked = Subscription.objects.select_for_update(no_key=True).get(pk=subscription.pk)
        secret_replace(locked, chosen, overlap=overlap)
        configuration_save(locked, with_secrets=True)
    return chosen


def address_check(transport: str, url: str) -> None:
    """Raise ``Problem`` for an address that the transport never delivers to.

    ``address_refused``, or ``transport_unavailable`` where the deployment is not set up for the transport.
    """
    try:
        TRANSPORTS[transport].check(url)
    except TransportUnavailableError as error:
        raise Problem("transport_unavailable", str(error)) from None
    except AddressRefusedError as error:
        raise Problem("address_refused", str(error)) from None


def event_types_check(event_types: Sequence[str], *, known: Sequence[str] = EVENT_TYPES) -> None:
    """Raise ``Problem`` (``event_type_unknown``) naming what is not an event type, or none of those that are known."""
    unknown = [name for name in event_types if name not in known]
    if unknown:
        wrong = [name for name in unknown if name not in EVENT_TYPES]
        said = "Not an event type" if wrong else "Notices go to subscriptions and sockets, not with the alerts"
        detail = f"{said}: {', '.join(wrong or unknown)}."
        raise Problem("event_type_unknown", detail, unknown=unknown, known=list(known))


def secret_choose(transport: str, secret: str | None, signature: str = signing.Kind.HMAC) -> str:
    """Return the given secret, or else a new one; empty where the transport has none.

    Raises ``Problem`` (``secret_invalid``) for one of the wrong shape, or of a kind that the transport has no use for.
    """
    kinds = TRANSPORTS[transport].SECRETS
    if not kinds:
        if secret:
            raise Problem("secret_invalid", f"Subscriptions by {transport} have no secret.")
        return ""
    if (signing.Kind(signature) if secret is None else signing.kind_of(secret_check(secret))) not in kinds:
        raise Problem(
            "secret_invalid",
            f"By {transport} the receiver is shown the secret itself, which no private key is meant for: use whsec_.",
        )
    return signing.secret_create(signing.Kind(signature)) if secret is None else secret


def secret_check(secret: str) -> str:
    """Return the secret; raise ``Problem`` (``secret_invalid``) when it has the wrong shape."""
    try:
        signing.secret_check(secret)
    except signing.SecretInvalidError as error:
        raise Problem("secret_invalid", str(error)) from None
    return secret


def secret_replace(subscription: Subscription, secret: str, *, overlap: timedelta | None = None) -> None:
    """Seal a new secret into the row, which the caller saves; with ``overlap`` the present one is valid for so long.

    Raises ``accounts.keys.SealError`` when the present one is to stay valid and does not open.
    """
    subscription.sealed_previous_secret, subscription.previous_secret_until = b"", None
    if overlap is not None:
        previous = secret_open(subscription).encode()
        sealed = keys.seal_secret(previous, purpose=PURPOSE_PREVIOUS, row=str(subscription.id))
        subscription.sealed_previous_secret, subscription.previous_secret_until = sealed, timezone.now() + overlap
    secret_set(subscription, secret)


def secret_set(subscription: Subscription, secret: str) -> None:
    """Seal a secret into the row, which the caller saves."""
    subscription.sealed_secret = keys.seal_secret(secret.encode(), purpose=PURPOSE, row=str(subscription.id))
    subscription.public_key = signing.public_key(secret)
