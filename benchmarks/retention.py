"""What removing expired detections costs: months dropped whole against rows, in a table of a few million.

Three months: one of which all has expired, one of which half has, and one that is kept. Timed is a run each, and then
one that finds nothing to do, which is what happens every hour.
"""

from __future__ import annotations

import argparse
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from benchmarks import bed

ROWS = 500_000
"""In each month."""
SESSIONS = 200
NOW = datetime(2035, 6, 14, 12, tzinfo=UTC)
IDLE_BUDGET_MS = 500.0
"""A run that finds nothing expired may take so long."""

_FILL = """
INSERT INTO detection_detection (session_id, captured_at, sample_id, organisation_id, stream, measures, recorded_at)
SELECT s.id, %(start)s::timestamptz + n * (%(end)s::timestamptz - %(start)s::timestamptz) / %(each)s, 's' || n,
       s.organisation_id, 'video', '{"faces": {"count": 1, "scores": [0.93], "boxes_xyxy": [[100, 100, 250, 280]]}}',
       now()
FROM exam_sessions_examsession s, generate_series(0, %(each)s - 1) AS n WHERE s.session_id LIKE 'bench-%%'
"""


def fill(rows: int) -> None:
    """Make the sessions and the months March, April and June; half of March's days have expired by mid June."""
    from django.db import connection

    from accounts.models import Organisation
    from detection.partitions import ensure_partitions
    from enrollment.models import Candidate
    from sessions.models import ExamSession

    owner = Organisation.objects.get_or_create(slug="bench", defaults={"name": "bench"})[0]
    who = Candidate.objects.get_or_create(organisation=owner, candidate_id="bench")[0]
    ExamSession.objects.bulk_create(
        ExamSession(
            organisation=owner, session_id=f"bench-{n}", candidate=who, policy_name="x", policy_version="1", policy={},
            created_at=NOW - timedelta(days=200), planned_end_at=NOW + timedelta(days=1),
        )
        for n in range(SESSIONS)
    )  # fmt: skip
    ensure_partitions(now=datetime(2035, 2, 1, tzinfo=UTC), months_ahead=4)
    with connection.cursor() as cursor:
        for month in (2, 3, 6):
            span = {"start": datetime(2035, month, 1, tzinfo=UTC), "end": datetime(2035, month + 1, 1, tzinfo=UTC)}
            cursor.execute(_FILL, span | {"each": rows // SESSIONS})
        cursor.execute("VACUUM ANALYZE detection_detection")


def run(rows: int) -> dict[str, Any]:
    """Measure."""
    with bed.own_services():
        from django.db import connection

        from proctor_site.retention import detections
        from proctor_site.retention.report import Budget, Report

        fill(rows)

        def expire(now: datetime) -> tuple[float, Report]:
            report, began = Report(dry_run=False), time.perf_counter()
            detections.detections_expire(now=now, report=report, budget=Budget())
            return (time.perf_counter() - began) * 1000, report

        dropping_ms, dropped = expire(datetime(2035, 5, 30, 1, tzinfo=UTC))  # February is over 90 days ago, March not
        deleting_ms, deleted = expire(NOW)
        idle_ms, idle = expire(NOW)
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM detection_detection")
            left = cursor.fetchone()[0]
    count = deleted.totals()["detections"]
    assert "detection_detection_y2035m02" in dropped.partitions
    assert idle.totals()["detections"] == 0
    return {
        "what": f"{rows} detections a month of {SESSIONS} sessions; kept for 90 days",
        "dropped_month_ms": round(dropping_ms, 1),
        "deleted_rows": count,
        "deleted_rows_per_s": round(count / deleting_ms * 1000),
        "idle_run_ms": round(idle_ms, 1),
        "rows_left": left,
        "within_budget": dropping_ms < deleting_ms and idle_ms <= IDLE_BUDGET_MS,
    }


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS, help="detections in each month")
    bed.report("retention", run(parser.parse_args().rows))


if __name__ == "__main__":
    main()
