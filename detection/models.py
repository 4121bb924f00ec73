"""What was measured, and where each session's rules stand."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.utils import timezone

from accounts.models import Organisation
from detection.engine.observations import BROWSER
from detection.messages import Stream
from sessions.models import ExamSession


class Detection(models.Model):
    """Everything measured on one frame or audio window, or one thing that a page told of itself.

    The table is partitioned by month of ``captured_at`` (``detection.partitions``), so expired months are dropped
    whole. Nothing points here. The key is natural: the same sample measured twice is one row.
    """

    pk = models.CompositePrimaryKey("session_id", "captured_at", "sample_id")
    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="+", db_index=False)
    session = models.ForeignKey(ExamSession, on_delete=models.CASCADE, related_name="detections", db_index=False)
    captured_at = models.DateTimeField()
    sample_id = models.CharField(max_length=32)
    stream = models.CharField(max_length=8, choices=[(s, s) for s in (*map(str, Stream), BROWSER)])
    previous_at = models.DateTimeField(
        null=True, help_text="Capture time of the sample before it in the stream: a chain with a link missing is a gap."
    )
    measures = models.JSONField(
        help_text="Per detector what it measured; a detector that failed says so under 'errors'."
    )
    recorded_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"{self.stream} {self.captured_at:%H:%M:%S.%f}"


def _empty_state() -> dict[str, Any]:
    return {}


class RuleState(models.Model):
    """A session's rules between two batches. Its row lock puts everything that happens to a session in one order."""

    session = models.OneToOneField(ExamSession, on_delete=models.CASCADE, primary_key=True, related_name="rule_state")
    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="+")
    state = models.JSONField(default=_empty_state, help_text="detection.engine.rules.RulesState")
    newest_at = models.DateTimeField(null=True, help_text="Capture time of the newest sample.")
    last_sample_at = models.DateTimeField(null=True, help_text="Arrival of the last sample, for the sweep.")
    due_at = models.DateTimeField(null=True, help_text="When the sweep looks at it if nothing arrives before.")
    peer_id = models.CharField(max_length=64, blank=True, help_text="The peer that last connected.")
    peer_at = models.DateTimeField(null=True, help_text="When it connected or was lost.")
    closed = models.BooleanField(default=False, help_text="The session is over and everything open was closed.")
    gaps_checked_at = models.DateTimeField(null=True, help_text="Up to which arrival time missing samples were sought.")
    updated_at = models.DateTimeField(default=timezone.now)

    class Meta:
        # On the key, not on ``due_at``: that changes with every batch, and an indexed column would make each a new row.
        indexes = [models.Index(fields=["session"], condition=models.Q(closed=False), name="rule_state_running")]

    def __str__(self) -> str:
        return str(self.session_id)
