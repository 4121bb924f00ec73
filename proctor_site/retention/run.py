"""One run over all classes of data, the most sensitive first."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Final

from django.utils import timezone

from proctor_site.retention import rows
from proctor_site.retention.detections import detections_expire
from proctor_site.retention.report import Budget, Report

logger = logging.getLogger(__name__)

_STEPS: Final = (
    rows.evidence_expire,
    rows.templates_expire,  # and the keys that no picture needs any more
    detections_expire,
    rows.deliveries_expire,
    rows.sessions_expire,
    rows.audit_expire,
)


def retention_run(*, dry_run: bool = False, seconds: float | None = None, now: datetime | None = None) -> Report:
    """Remove what has expired, or with ``dry_run`` only count it; after ``seconds`` stop between two batches.

    A class that fails is logged and holds up none of the others; the report is then ``unfinished``.
    """
    now, report, budget = now or timezone.now(), Report(dry_run), Budget(seconds)
    for step in _STEPS:
        if budget.is_spent:
            report.unfinished = True
            break
        try:
            step(now=now, report=report, budget=budget)
        except Exception:
            report.unfinished = True
            logger.exception("Retention could not do %s; the next run tries again", step.__name__)
    if not dry_run:
        report.write_down()
    return report
