"""Exams, the policies they are watched under, and the sessions candidates sit."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.utils import timezone

from accounts.models import Organisation
from detection.engine.policy import DEFAULT_POLICY, PolicyError
from detection.engine.policy import Policy as EnginePolicy
from enrollment.models import EXTERNAL_ID, Candidate, no_accommodations
from sessions.privacy_models import LegalHold, RetentionPolicy
from sessions.weights import weights_named

__all__ = [
    "CHALLENGE_SETTLES", "RISK_NOTE", "Challenge", "Exam", "ExamSession", "ExamSessionQuerySet", "LegalHold",
    "MediaGap", "Policy", "RetentionPolicy", "as_uuid", "default_policy_document", "no_weights",
]  # fmt: skip

RISK_NOTE = "From 0 to 100, which sessions to look at first. It is no verdict: only a person decides."
"""What is said wherever a risk score is shown."""

CHALLENGE_SETTLES = timedelta(seconds=15)
"""How long after a challenge's time the last frames of it may still be analysed."""


def default_policy_document() -> dict[str, Any]:
    """Return the document a new policy starts from."""
    return DEFAULT_POLICY.to_dict()


def no_weights() -> dict[str, float]:
    """Return the weights of a session that has none of its own."""
    return {}


def as_uuid(text: str) -> uuid.UUID | None:
    """Return the UUID that ``text`` is in its usual form, or None."""
    try:
        value = uuid.UUID(text)
    except ValueError:
        return None
    return value if str(value) == text.lower() else None


class Policy(models.Model):
    """Which detectors, thresholds and weights an exam uses. Its document is checked by ``detection.engine.policy``."""

    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="policies")
    name = models.CharField(max_length=100)
    version = models.PositiveIntegerField(default=1, editable=False)
    document = models.JSONField(default=default_policy_document)
    is_default = models.BooleanField(default=False)
    rescore_due = models.BooleanField(
        default=False, editable=False, help_text="Weights were edited: its sessions' risk scores are to be made anew."
    )
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name_plural = "policies"
        constraints = [
            models.UniqueConstraint(fields=["organisation", "name"], name="policy_name_once"),
            models.UniqueConstraint(
                fields=["organisation"], condition=models.Q(is_default=True), name="policy_one_default"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} v{self.version}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Store; a changed document gets the next version, so that incidents tell which one they were judged by.

        Changed weights have the risk scores of all its sessions made anew (``alerts.risk``).
        """
        with transaction.atomic():
            stored = Policy.objects.select_for_update().filter(pk=self.pk).first() if self.pk else None
            if stored is not None:
                self.version = stored.version + int(stored.document != self.document)
                reweighted = weights_named(stored.document) != weights_named(self.document)
                self.rescore_due = stored.rescore_due or reweighted
            if kwargs.get("update_fields") is not None:
                kwargs["update_fields"] = {*kwargs["update_fields"], "version", "rescore_due", "updated_at"}
            super().save(*args, **kwargs)

    def clean(self) -> None:
        """Refuse a document the engine cannot use, naming each field by path."""
        try:
            EnginePolicy.from_dict(self.document)
        except PolicyError as error:
            messages = [f"{path}: {message}" for path, message in error.errors.items()]
            raise ValidationError({"document": messages}) from None


class Exam(models.Model):
    """An examination under the platform's own id. Unknown exams are made when a session names them."""

    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="exams")
    exam_id = models.CharField(max_length=128, validators=[EXTERNAL_ID])
    name = models.CharField(max_length=200, blank=True)
    policy = models.ForeignKey(
        Policy,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="exams",
        help_text="Empty: the default policy.",
    )
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["organisation", "exam_id"], name="exam_id_once")]

    def __str__(self) -> str:
        return self.name or self.exam_id


class ExamSessionQuerySet(models.QuerySet["ExamSession"]):
    def of(self, organisation: Organisation) -> ExamSessionQuerySet:
        return self.filter(organisation=organisation)

    def named(self, session_id: str) -> ExamSession | None:
        """Return the session that the platform calls ``session_id``, or the one whose own id that is."""
        found = self.filter(session_id=session_id)._the_only()
        own_id = None if found else as_uuid(session_id)
        return self.filter(id=own_id)._the_only() if own_id else found

    def _the_only(self) -> ExamSession | None:
        """Return the one row there can be; unlike ``first`` without an order, which costs half of such a query."""
        return next(iter(self[:1]), None)

    def told_apart(self) -> ExamSessionQuerySet:
        """Fetch only what tells which session it is, and its state: live sockets ask often."""
        return self.only("id", "session_id", "state")

    def with_everything(self) -> ExamSessionQuerySet:
        """Fetch what a session is shown with in the same query."""
        return self.select_related("organisation", "candidate__face_template", "exam", "tally")

    def running(self) -> ExamSessionQuerySet:
        """Sessions that have not ended."""
        return self.exclude(state=ExamSession.State.ENDED)

    def overdue(self, *, grace: timedelta) -> ExamSessionQuerySet:
        """Sessions that nobody ended although their planned end plus grace has passed."""
        return self.running().filter(planned_end_at__lt=timezone.now() - grace)

    def unclosed(self) -> ExamSessionQuerySet:
        """Ended sessions whose incidents have not been closed yet: their end message has not been handled."""
        return self.filter(state=ExamSession.State.ENDED, closed_at=None)


class ExamSession(models.Model):
    """One candidate sitting one exam. ``session_id`` is the platform's name for it; ``id`` is ours, used inside."""

    class State(models.TextChoices):
        CREATED = "created"
        LIVE = "live"
        INTERRUPTED = "interrupted"
        ENDED = "ended"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="exam_sessions")
    session_id = models.CharField(max_length=128, validators=[EXTERNAL_ID])
    candidate = models.ForeignKey(Candidate, on_delete=models.CASCADE, related_name="exam_sessions")
    exam = models.ForeignKey(Exam, on_delete=models.PROTECT, null=True, blank=True, related_name="exam_sessions")
    policy_name = models.CharField(max_length=100)
    policy_version = models.CharField(max_length=32, help_text="Version of the policy the snapshot was taken of.")
    policy_source = models.ForeignKey(
        Policy,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="exam_sessions",
        help_text="The policy itself, whose weights of today make the risk score.",
    )
    own_weights = models.JSONField(
        default=no_weights, blank=True, help_text="Weights by event type that are this session's own, not the policy's."
    )
    policy = models.JSONField(help_text="Snapshot of the policy with this session's overrides and accommodations.")
    accommodations = models.JSONField(
        default=no_accommodations, blank=True, help_text="What of it are the candidate's own exceptions."
    )
    enroll_on_join = models.BooleanField(
        default=False, help_text="The candidate may enrol on the candidate page, once, before joining."
    )
    state = models.CharField(max_length=16, choices=State.choices, default=State.CREATED)
    created_at = models.DateTimeField(default=timezone.now)
    planned_end_at = models.DateTimeField()
    live_at = models.DateTimeField(null=True, blank=True, help_text="When media first arrived.")
    ended_at = models.DateTimeField(null=True, blank=True)
    end_reason = models.CharField(max_length=32, blank=True)
    closed_at = models.DateTimeField(
        null=True, blank=True, help_text="When the rules had closed what was open at the end."
    )

    objects = ExamSessionQuerySet.as_manager()

    class Meta:
        verbose_name = "session"
        constraints = [models.UniqueConstraint(fields=["organisation", "session_id"], name="session_id_once")]
        indexes = [
            models.Index(fields=["organisation", "-created_at"], name="session_recent"),
            models.Index(fields=["planned_end_at"], condition=~models.Q(state="ended"), name="session_running"),
            models.Index(
                fields=["ended_at"], condition=models.Q(state="ended", closed_at=None), name="session_unclosed"
            ),
            models.Index(fields=["planned_end_at"], condition=models.Q(state="ended"), name="session_ended"),
        ]

    def __str__(self) -> str:
        return self.session_id

    @property
    def enrolled(self) -> bool:
        """Whether the candidate has a template."""
        return hasattr(self.candidate, "face_template")

    @property
    def risk_score(self) -> float:
        """From 0 to 100, what its incidents add up to (``alerts.risk``): which sessions to look at first."""
        return self.tally.risk_score if hasattr(self, "tally") else 0.0

    @property
    def policy_document(self) -> dict[str, Any]:
        return dict(self.policy)


class Challenge(models.Model):
    """One try at the challenge of check-in: which movements were asked for, and what became of each."""

    class Outcome(models.TextChoices):
        RUNNING = "running"
        PASSED = "passed"
        FAILED = "failed"
        UNFINISHED = "unfinished"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="challenges")
    session = models.ForeignKey(ExamSession, on_delete=models.CASCADE, related_name="challenges")
    issued_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    outcome = models.CharField(max_length=16, choices=Outcome.choices, default=Outcome.RUNNING)
    steps = models.JSONField(help_text="Per movement prompt, result, and in Unix seconds when it was shown and done.")

    class Meta:
        indexes = [models.Index(fields=["session", "-issued_at"], name="challenge_by_session")]

    def __str__(self) -> str:
        return f"{self.issued_at:%H:%M:%S} {self.outcome}"

    @property
    def settled(self) -> str:
        """Return the outcome; one whose time is over and of which nothing more was heard is unfinished."""
        is_over = timezone.now() > self.expires_at + CHALLENGE_SETTLES
        return self.Outcome.UNFINISHED.value if is_over and self.outcome == self.Outcome.RUNNING else self.outcome


class MediaGap(models.Model):
    """Media of a session that nobody looked at, and why. What was skipped is shown, never hidden."""

    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="media_gaps")
    session = models.ForeignKey(ExamSession, on_delete=models.CASCADE, related_name="media_gaps")
    stream = models.CharField(max_length=8)
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField()
    skipped = models.PositiveIntegerField(help_text="Sampled frames or audio windows.")
    reason = models.CharField(max_length=32)

    class Meta:
        indexes = [models.Index(fields=["session", "started_at"], name="gap_by_session")]

    def __str__(self) -> str:
        return f"{self.stream} {self.started_at:%H:%M:%S} {self.reason}"
