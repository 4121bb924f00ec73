"""Celery tasks of the ``alerts`` queue. They wait for other people's servers: give the queue a worker of its own."""

from __future__ import annotations

import logging
import uuid

from celery import shared_task
from django.utils import timezone

from alerts import delivery, evidence_sweep, risk, stream, wake
from alerts.models import Subscription

logger = logging.getLogger(__name__)

DRAIN_BUDGET_S = 60.0
"""A task gives its place to others after this time and asks to be woken again."""


@shared_task(name=wake.TASK_DELIVER)
def deliver(subscription_id: str) -> None:
    """Make the due deliveries of one subscription."""
    key = uuid.UUID(subscription_id)
    if not delivery.drain(key, budget_s=DRAIN_BUDGET_S):
        wake.delivery(key)


@shared_task(name="alerts.sweep")
def sweep() -> None:
    """Wake every subscription that has something due: what nobody woke, what failed before, what a dead worker held.

    Alerts that nobody has read yet get their places in the stream, so that its readers never find many without.
    """
    stream.place()
    for subscription_id in Subscription.objects.with_due(timezone.now()).values_list("id", flat=True):
        wake.delivery(subscription_id)


@shared_task(name="alerts.evidence_sweep")
def sweep_evidence() -> None:
    """Remove expired and orphaned evidence, a bounded batch at a time."""
    swept = evidence_sweep.sweep()
    if swept.expired or swept.orphaned:
        logger.info("Removed %d expired and %d orphaned evidence files", swept.expired, swept.orphaned)


@shared_task(name="alerts.rescore")
def rescore() -> None:
    """Make the risk scores of sessions anew whose policy's weights were edited."""
    risk.policies_rescore()
