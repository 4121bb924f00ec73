"""The kinds of notices: what the service tells of its own work."""

from __future__ import annotations

DELIVERY_PARKED = "DELIVERY_PARKED"
"""Alerts could not be delivered to a subscription, and are not tried again by themselves."""
NOTICE_TYPES = (DELIVERY_PARKED,)
