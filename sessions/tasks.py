"""What happens to sessions by the clock."""

from __future__ import annotations

from celery import shared_task

from sessions.sweep import sweep_sessions


@shared_task(name="sessions.sweep")
def sweep() -> None:
    """End what is overdue, and repeat what could not be said when a session ended."""
    sweep_sessions()
