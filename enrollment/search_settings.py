"""Switch the search of duplicates on and off for an organisation, and decide on what it suspects."""

from __future__ import annotations

from functools import partial
from typing import Final

from celery import current_app
from django.db import connection, transaction
from django.utils import timezone

from accounts.audit import Actor, audit_write, candidate_subject
from accounts.models import User
from enrollment.models import DuplicateSearch, DuplicateSuspicion

TASK_GALLERIES_SWEEP: Final = "enrollment.galleries_sweep"
_PGVECTOR: Final = (0, 8)
"""Since then an HNSW index goes on looking when what it found was deleted (iterative scans)."""


def pgvector_is_new_enough() -> bool:
    """Tell whether the database's pgvector has what searches need."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
        row = cursor.fetchone()
    return row is not None and tuple(map(int, row[0].split(".")[:2])) >= _PGVECTOR


def duplicate_search_set(setting: DuplicateSearch, *, actor: Actor) -> None:
    """Save an organisation's setting; templates are protected, or protected ones dropped, in the background."""
    with transaction.atomic():
        setting.save()
        transaction.on_commit(partial(current_app.send_task, TASK_GALLERIES_SWEEP, ignore_result=True))
        audit_write(
            organisation=setting.organisation,
            actor=actor,
            action="duplicate_search.changed",
            subject_type="organisation",
            subject=str(setting.organisation_id),
            details={"mode": str(setting.mode), "similarity_from": setting.similarity_from},
        )


def suspicion_decide(*, suspicion: DuplicateSuspicion, decision: DuplicateSuspicion.Decision, by: User) -> None:
    """Record what a person decided; two people are not suspected of being one again."""
    with transaction.atomic():
        locked = DuplicateSuspicion.objects.select_for_update(no_key=True, of=("self",)).get(pk=suspicion.pk)
        locked.decision, locked.decided_by, locked.decided_at = decision, by, timezone.now()
        locked.save(update_fields=["decision", "decided_by", "decided_at"])
        organisation = locked.organisation
        audit_write(
            organisation=organisation,
            actor=Actor.of_user(by),
            action="duplicate.decided",
            subject_type="candidate",
            subject=candidate_subject(organisation=organisation, candidate_id=locked.candidate.candidate_id),
            details={
                "decision": str(decision),
                "other": candidate_subject(organisation=organisation, candidate_id=locked.other.candidate_id),
            },
        )
