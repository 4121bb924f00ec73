"""How many days what is kept: an exam's own policy, else its organisation's, else the deployment's settings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
from django.db.models import Q

from accounts.models import Organisation
from sessions.models import RetentionPolicy
from sessions.privacy_models import OF_ORGANISATION

EVIDENCE: Final = "evidence"
DETECTIONS: Final = "detections"
INCIDENTS: Final = "incidents"
DELIVERIES: Final = "deliveries"
TEMPLATES: Final = "templates"
AUDIT: Final = "audit"
CLASSES: Final = (EVIDENCE, DETECTIONS, INCIDENTS, DELIVERIES, TEMPLATES, AUDIT)


@dataclass(frozen=True, slots=True)
class Scope:
    """Sessions of which something is kept equally long: one exam's, or an organisation's but for some exams'.

    ``days`` 0: without limit.
    """

    organisation_id: int
    days: int
    exam_id: int | None = None
    except_exam_ids: tuple[int, ...] = ()

    def sessions(self, path: str = "") -> Q:
        """Return the condition that a session is in here; ``path`` leads from the row to the session."""
        prefix = f"{path}__" if path else ""
        own = Q(**{f"{prefix}organisation_id": self.organisation_id})
        if self.exam_id is not None:
            return own & Q(**{f"{prefix}exam_id": self.exam_id})
        if self.except_exam_ids:
            return own & (Q(**{f"{prefix}exam_id": None}) | ~Q(**{f"{prefix}exam_id__in": self.except_exam_ids}))
        return own

    def cutoff(self, now: datetime) -> datetime | None:
        """Return before when everything has expired; None where nothing ever does."""
        return now - timedelta(days=self.days) if self.days else None


def scopes(kind: str) -> Iterator[Scope]:
    """Yield who keeps data of a class how long, all organisations and every exam that differs."""
    column = f"{kind}_days"
    rows = RetentionPolicy.objects.exclude(**{column: None}).values_list("organisation_id", "exam_id", column)
    said: dict[int, dict[int | None, int]] = {}
    for organisation_id, exam_id, days in rows:
        said.setdefault(organisation_id, {})[exam_id] = days
    for organisation_id in Organisation.objects.order_by("id").values_list("id", flat=True):
        own = said.get(organisation_id, {})
        exams = {exam_id: days for exam_id, days in own.items() if exam_id is not None and kind not in OF_ORGANISATION}
        yield Scope(organisation_id, own.get(None, settings.RETENTION_DAYS[kind]), except_exam_ids=tuple(sorted(exams)))
        for exam_id, days in sorted(exams.items()):
            yield Scope(organisation_id, days, exam_id)


def days_kept(*, organisation_id: int, exam_id: int | None, kind: str) -> int:
    """Return for how many days data of a class is kept of one exam; 0: without limit."""
    column = f"{kind}_days"
    rows = RetentionPolicy.objects.filter(organisation_id=organisation_id).exclude(**{column: None})
    said: dict[int | None, int] = dict(rows.filter(Q(exam_id=None) | Q(exam_id=exam_id)).values_list("exam_id", column))
    default: int = settings.RETENTION_DAYS[kind]
    return said.get(exam_id, said.get(None, default))
