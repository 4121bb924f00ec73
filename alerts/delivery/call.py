"""One call of a transport: the alerts that it takes, claimed under one lease, and what came of them."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

from alerts.outgoing import Answer, Outgoing, Result, TransportError
from alerts.transports import TRANSPORTS


@dataclass(frozen=True, slots=True)
class Item:
    """One claimed delivery."""

    delivery_id: int
    attempt_count: int
    queued_at: datetime
    message: Outgoing


@dataclass(frozen=True, slots=True)
class Call:
    """Deliveries to one subscription, made one after the other or as a batch.

    ``refused``: what keeps all of them from being sent, such as a secret that does not open.
    """

    lease: uuid.UUID
    organisation_id: int
    subscription_id: uuid.UUID
    transport: str
    items: tuple[Item, ...]
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Sent:
    """A call that is over. ``results`` are in the order of its items."""

    call: Call
    results: tuple[Result, ...]
    started_at: datetime
    duration_s: float


def make(call: Call) -> Sent:
    """Make the call; never raises for what the subscriber or the address did."""
    started_at, started = datetime.now(UTC), time.monotonic()
    if call.refused:
        results: list[Result] = [TransportError(call.refused) for _ in call.items]
    else:
        results = TRANSPORTS[call.transport].send([item.message for item in call.items])
    return Sent(call, tuple(results), started_at, time.monotonic() - started)


def broken(call: Call, error: BaseException) -> Sent:
    """Return a call that failed by a fault of ours, for all its alerts."""
    told = TransportError(f"The transport broke down: {type(error).__name__}")
    return Sent(call, (told,) * len(call.items), datetime.now(UTC), 0.0)


def failed(result: Result) -> TransportError | None:
    """Return the error, or None where there is an answer."""
    return None if isinstance(result, Answer) else result
