"""The ways to deliver an alert. A new one costs its file and a line here."""

from __future__ import annotations

from collections.abc import Mapping

from alerts.outgoing import Transport
from alerts.transports import grpc, kafka, webhook

TRANSPORTS: Mapping[str, Transport] = {"webhook": webhook, "grpc": grpc, "kafka": kafka}
"""By ``Subscription.transport``."""
