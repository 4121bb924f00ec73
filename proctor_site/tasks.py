"""What knows all apps and happens by the clock."""

from __future__ import annotations

import logging
from typing import Final

from celery import shared_task

from proctor_site.erasure import erasures_resume
from proctor_site.retention.run import retention_run

logger = logging.getLogger(__name__)

RETENTION_S: Final = 300.0
"""A run stops after this long: the sweeps' worker has other things to do, and the next run goes on."""


@shared_task(name="site.retention")
def retention() -> None:
    """Remove what has expired."""
    report = retention_run(seconds=RETENTION_S)
    removed = {kind: count for kind, count in report.totals().items() if count}
    if removed or report.partitions:
        logger.info("Retention removed %s and dropped %s", removed, sorted(report.partitions) or "no month")


@shared_task(name="site.resume_erasures")
def resume_erasures() -> None:
    """Finish erasures that were broken off."""
    erasures_resume()
