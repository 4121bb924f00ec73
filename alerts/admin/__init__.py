"""Incidents, alerts, subscriptions and deliveries in the admin, and incidents on a session's page."""

from alerts.admin import deliveries, incidents, subscriptions

__all__ = ["deliveries", "incidents", "subscriptions"]
