"""Celery tasks of the ``alerts`` queue. They wait for other people's servers: give the queue a worker of its own."""

from __future__ import annotations

import functools
import logging
import os
import uuid
from typing import Any

from celery import shared_task, signals
from django.utils import timezone

from alerts import evidence_sweep, risk, stream, wake
from alerts.delivery import Pump
from alerts.models import Subscription

logger = logging.getLogger(__name__)


@functools.cache
def pump() -> Pump:
    """Return the pump of this process."""
    return Pump()


os.register_at_fork(after_in_child=pump.cache_clear)


@signals.worker_shutting_down.connect
def _stop(**_signal: Any) -> None:
    """Let the worker end when the calls under way are settled."""
    if pump.cache_info().currsize:
        pump().stop()


@shared_task(name=wake.TASK_DELIVER)
def deliver(*subscription_ids: str) -> None:
    """Make the due deliveries of subscriptions.

    The first such task of a process does it for all the others, until nothing is due; they only tell it and return.
    """
    pump().wake(map(uuid.UUID, subscription_ids))
    pump().run()


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
