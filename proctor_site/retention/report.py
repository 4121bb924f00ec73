"""What a run removed, or would remove; and how long it may take."""

from __future__ import annotations

import time
from collections import Counter as Tally
from dataclasses import dataclass, field

from prometheus_client import Counter, Gauge

from accounts.audit import SYSTEM, audit_write
from accounts.models import Organisation
from sessions.retention import CLASSES

REMOVED = Counter("sdproctor_retention_removed_total", "Rows that retention removed, by class of data.", ["data_class"])
PARTITIONS = Counter("sdproctor_retention_partitions_total", "Months of detections that retention dropped whole.")
LAST_RUN = Gauge(
    "sdproctor_retention_last_run_seconds",
    "When retention last came to its end, Unix seconds.",
    multiprocess_mode="max",
)
for _class in CLASSES:
    REMOVED.labels(_class)


@dataclass(slots=True)
class Report:
    """Rows by class and organisation; ``partitions``: months dropped whole, with about how many rows each had.

    ``unfinished``: the time was over, the next run goes on.
    """

    dry_run: bool
    rows: dict[str, Tally[int]] = field(default_factory=lambda: {name: Tally() for name in CLASSES})
    partitions: dict[str, int] = field(default_factory=dict)
    unfinished: bool = False

    def add(self, kind: str, organisation_id: int, count: int) -> None:
        """Note rows that are gone, or would be."""
        if count:
            self.rows[kind][organisation_id] += count
            if not self.dry_run:
                REMOVED.labels(kind).inc(count)

    def add_partition(self, name: str, rows: int) -> None:
        """Note a month that is gone whole, or would be."""
        self.partitions[name] = rows
        if not self.dry_run:
            PARTITIONS.inc()

    def of(self, organisation_id: int) -> dict[str, int]:
        """Return what one organisation lost, by class; classes of which nothing went are left out."""
        return {kind: rows[organisation_id] for kind, rows in self.rows.items() if rows[organisation_id]}

    def totals(self) -> dict[str, int]:
        """Return what went in all, by class."""
        return {kind: rows.total() for kind, rows in self.rows.items()}

    def write_down(self) -> None:
        """Write an entry into the audit log of every organisation of which something went."""
        for organisation in Organisation.objects.order_by("id"):
            removed = self.of(organisation.pk)
            if removed or self.partitions:
                details = {"rows": removed, "months_dropped": sorted(self.partitions)}
                audit_write(
                    organisation=organisation,
                    actor=SYSTEM,
                    action="retention.removed",
                    subject_type="organisation",
                    details=details,
                )
        if not self.unfinished:
            LAST_RUN.set_to_current_time()


class Budget:
    """The time a run may take; it is asked between batches."""

    def __init__(self, seconds: float | None = None) -> None:
        self._ends_at = None if seconds is None else time.monotonic() + seconds

    @property
    def is_spent(self) -> bool:
        """Tell whether the time is over."""
        return self._ends_at is not None and time.monotonic() >= self._ends_at
