"""How the Kafka client is set up: what the operator may pass on to it, and what deliveries rest upon."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

Value = str | int | float | bool

TOPIC = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,249}\Z")
"""What Kafka takes for the name of a topic."""

DELIVERY_TIMEOUT_S = 15
"""After this time the client gives an alert up and reports so."""

FIXED: Mapping[str, Value] = MappingProxyType(
    {
        "enable.idempotence": True,
        "acks": "all",
        "delivery.timeout.ms": DELIVERY_TIMEOUT_S * 1000,
        "topic.metadata.propagation.max.ms": DELIVERY_TIMEOUT_S * 1000 // 2,
        "partitioner": "murmur2_random",  # by key, and as Java's clients do it
        "queue.buffering.max.messages": 10_000,
        "queue.buffering.max.kbytes": 64 * 1024,
    }
)
"""What order, success by report and bounded memory rest upon."""

DEFAULTS: Mapping[str, Value] = MappingProxyType(
    {
        "client.id": "sd-proctor",
        "linger.ms": 1,
        "log_level": 2,  # an absent broker is told of once by the error callback, not at each try
        "reconnect.backoff.max.ms": 2000,
    }
)
"""What the operator may set otherwise."""

_NOT_OURS_TO_PASS = frozenset(
    {
        "bootstrap.servers",
        "metadata.broker.list",
        "request.required.acks",
        "message.timeout.ms",
        "max.in.flight",
        "max.in.flight.requests.per.connection",
        "message.send.max.retries",
        "retries",
        "enable.gapless.guarantee",
        "transactional.id",
        "delivery.report.only.error",
        "on_delivery",
        "logger",
    }
)
"""Other names of the fixed ones, and what would undo them."""


def parse(text: str) -> dict[str, Value]:
    """Read ``KAFKA_CONFIG``: a JSON object of librdkafka's properties, empty for none.

    Raises ``ImproperlyConfigured``, which names properties and never says a value: they may be secrets.
    """
    if not text.strip():
        return {}
    try:
        given = json.loads(text)
    except ValueError:
        raise ImproperlyConfigured("KAFKA_CONFIG is not JSON.") from None
    if not isinstance(given, dict):
        raise ImproperlyConfigured("KAFKA_CONFIG is not a JSON object.")
    fixed = sorted(name for name in given if _is_fixed(name))
    if fixed:
        raise ImproperlyConfigured(f"KAFKA_CONFIG cannot set {', '.join(fixed)}: deliveries rest upon it.")
    shapeless = sorted(name for name, value in given.items() if not isinstance(value, Value))
    if shapeless:
        raise ImproperlyConfigured(f"KAFKA_CONFIG: {', '.join(shapeless)} is neither text, number, true nor false.")
    return given


def _is_fixed(name: str) -> bool:
    return name in FIXED or name in _NOT_OURS_TO_PASS or name.endswith("_cb") or name.startswith("test.")


def topic(name: str) -> str:
    """Return ``KAFKA_ALERT_TOPIC``; raise ``ImproperlyConfigured`` unless Kafka would take it."""
    if not TOPIC.match(name):
        raise ImproperlyConfigured(f"KAFKA_ALERT_TOPIC is {name!r}: Kafka takes 1 to 249 of A-Z a-z 0-9 . _ -")
    return name


def connection() -> dict[str, Any]:
    """Return the properties of a client that only asks."""
    return {
        "bootstrap.servers": settings.KAFKA_BOOTSTRAP_SERVERS,
        "log_level": DEFAULTS["log_level"],
        **settings.KAFKA_CONFIG,
    }


def producer() -> dict[str, Any]:
    """Return the properties of a producer."""
    return {**DEFAULTS, **connection(), **FIXED}
