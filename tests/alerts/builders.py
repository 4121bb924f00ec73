"""Rows and changes that the alerts tests start from."""

from __future__ import annotations

import io
import itertools
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth.models import Permission
from django.db import connection, transaction
from django.utils import timezone
from PIL import Image

from accounts.keys import data_key_create
from accounts.models import Organisation, User
from alerts import services
from alerts.models import Alert, Subscription
from alerts.subscriptions import subscription_create
from detection.engine.policy import DEFAULT_RULES, EventType
from detection.engine.rules import Change
from enrollment.models import Candidate
from sessions.models import Exam, ExamSession

ONSET = 1_790_000_000.25
"""2026-09-21T14:13:20.250Z"""

_numbers = itertools.count(1)


def moment(seconds: float) -> datetime:
    """The aware datetime of Unix seconds."""
    return datetime.fromtimestamp(seconds, UTC)


def organisation(**fields: Any) -> Organisation:
    slug = fields.pop("slug", f"org-{uuid.uuid4().hex[:8]}")
    return Organisation.objects.create(slug=slug, name=fields.pop("name", slug), **fields)


def candidate(owner: Organisation, *, enrolled: bool = True, name: str | None = None) -> Candidate:
    return Candidate.objects.create(
        organisation=owner,
        candidate_id=name or f"cand-{next(_numbers)}",
        data_key=data_key_create(organisation=owner) if enrolled else None,
    )


def session(owner: Organisation | None = None, *, exam_id: str | None = None, **fields: Any) -> ExamSession:
    owner = owner or organisation()
    exam = Exam.objects.get_or_create(organisation=owner, exam_id=exam_id)[0] if exam_id else None
    return ExamSession.objects.create(
        **{
            "organisation": owner,
            "session_id": f"exam-{next(_numbers)}",
            "candidate": fields.pop("candidate", None) or candidate(owner),
            "exam": exam,
            "policy_name": "default",
            "policy_version": "1-abc",
            "policy": {},
            "planned_end_at": timezone.now() + timezone.timedelta(hours=1),
            **fields,
        }
    )


def change(event_type: EventType = EventType.NO_FACE, phase: str = "opened", **fields: Any) -> Change:
    """A finding of three seconds, measured the way the event type measures."""
    value = {"FACE_MISMATCH": 0.68, "MULTIPLE_PERSONS": 2.0, "SPEECH_DETECTED": 0.8, "MICROPHONE_SILENT": -95.0}
    values: dict[str, Any] = {
        "finding_id": uuid.uuid4().hex,
        "event_type": event_type,
        "phase": phase,
        "started_at": ONSET,
        "decided_at": ONSET + 3,
        "ended_at": ONSET + 9.5 if phase == "closed" else None,
        "value": value.get(event_type, 0.0),
        "peak_value": value.get(event_type, 0.0),
        "peak_at": ONSET + 2,
        "sample_ids": ("f1", "f2", "f3"),
        "measures": {"onset": {}, "decision": {}, "peak": {}},
        "rule": DEFAULT_RULES[event_type],
        "model": "yunet-2023mar",
        "frame_ids": ("f1", "f2", "f3"),
    }
    return Change(**(values | fields))


def closing(opened: Change, **fields: Any) -> Change:
    """The change that closes what ``opened`` opened."""
    return change(
        opened.event_type, "closed", finding_id=opened.finding_id, **{"ended_at": opened.started_at + 9.5} | fields
    )


def apply(of: ExamSession, what: Change | None = None, **more: Any) -> Alert:
    """Apply a change in a committed transaction."""
    with transaction.atomic():
        return services.incident_apply(session=of, change=what or change(), **more)


def subscription(owner: Organisation, url: str, **fields: Any) -> tuple[Subscription, str]:
    return subscription_create(organisation=owner, transport="webhook", url=url, **fields)


def jpeg(shade: int = 90) -> bytes:
    """A real picture, different for each shade."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), (shade, 120, 200)).save(buffer, "JPEG")
    return buffer.getvalue()


PROCTORS_MAY = ("view_examsession", "view_incident", "view_evidence")


def staff(owner: Organisation, *, superuser: bool = False, may: Sequence[str] = PROCTORS_MAY) -> User:
    """A person who signs in to the admin; ``may`` are codenames of permissions."""
    user = User.objects.create_user(
        username=f"proctor-{next(_numbers)}", password="a good password", organisation=owner,
        is_staff=True, is_superuser=superuser,
    )  # fmt: skip
    user.user_permissions.set(Permission.objects.filter(codename__in=may))
    return user


def on_db(call: Callable[..., Any]) -> Callable[..., Any]:
    """Run database work beside the event loop, in a thread that keeps no connection."""

    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return call(*args, **kwargs)
        finally:
            connection.close()

    return sync_to_async(run)
