"""Expired pictures, deliveries, sessions, templates and audit entries, each in bounded batches."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from django.db import connection, transaction
from django.db.models import Count, Exists, OuterRef, Q, QuerySet

from accounts.audit import audit_cut
from accounts.models import AuditEntry, AuditHead
from alerts import evidence_sweep
from alerts.models import Delivery, DeliveryAttempt, Evidence, Notice
from enrollment.erasing import biometrics_remove, data_key_destroy, protected_remove
from enrollment.models import Candidate
from proctor_site.removal import sessions_remove
from proctor_site.retention.report import Budget, Report
from sessions.holds import candidate_held, holds_settle, session_held
from sessions.models import ExamSession
from sessions.retention import AUDIT, DELIVERIES, EVIDENCE, INCIDENTS, TEMPLATES, Scope, scopes

BATCH: Final = 2_000
CANDIDATES: Final = 50
SESSIONS: Final = 20
"""Sessions removed at a time: each may have hundreds of alerts, and thousands of detections."""
AUDIT_BATCH: Final = 10_000


def evidence_expire(*, now: datetime, report: Report, budget: Budget) -> None:
    """Give pictures the time that policies say today, and remove those whose time is over."""
    if report.dry_run:
        _count(report, EVIDENCE, evidence_sweep.expired_once_redated(now))
        return
    evidence_sweep.redate()
    while gone := evidence_sweep.expired_remove(BATCH):
        for organisation_id, count in gone.items():
            report.add(EVIDENCE, organisation_id, count)
        if budget.is_spent:
            report.unfinished = True
            return


def deliveries_expire(*, now: datetime, report: Report, budget: Budget) -> None:
    """Remove settled deliveries with their attempts, and notices that nobody waits for."""

    def rows(scope: Scope, cutoff: datetime) -> QuerySet[Any]:
        settled = Delivery.objects.filter(organisation_id=scope.organisation_id, created_at__lt=cutoff)
        settled = settled.exclude(state=Delivery.State.PENDING).filter(scope.sessions("session"))
        return settled.exclude(session_held("session")).order_by("created_at")

    def remove(ids: list[Any]) -> int:
        DeliveryAttempt.objects.filter(delivery_id__in=ids).delete()
        return Delivery.objects.filter(id__in=ids).delete()[0]

    _each_scope(DELIVERIES, rows, remove, BATCH, now, report, budget)

    def notices(scope: Scope, cutoff: datetime) -> QuerySet[Any]:
        old = Notice.objects.filter(organisation_id=scope.organisation_id, created_at__lt=cutoff)
        waited_for = Q(state=Delivery.State.PENDING) | Q(created_at__gte=cutoff)  # others are gone, or counted, by now
        stays = Delivery.objects.filter(waited_for, notice=OuterRef("pk"))
        old = old.filter(scope.sessions("session")).exclude(Exists(stays))
        return old.exclude(session_held("session")).order_by("created_at")

    _each_scope(
        DELIVERIES, notices, lambda ids: Notice.objects.filter(pk__in=ids).delete()[0], BATCH, now, report, budget
    )


def sessions_expire(*, now: datetime, report: Report, budget: Budget) -> None:
    """Remove sessions that ended long enough ago, planned end included, with everything that is left of them."""

    def rows(scope: Scope, cutoff: datetime) -> QuerySet[Any]:
        ended = ExamSession.objects.filter(state=ExamSession.State.ENDED, planned_end_at__lt=cutoff)
        ended = ended.filter(scope.sessions(), ended_at__lt=cutoff)
        return ended.exclude(session_held()).order_by("planned_end_at")

    def remove(ids: list[Any]) -> int:
        return sessions_remove(ids)["sessions"]

    _each_scope(INCIDENTS, rows, remove, SESSIONS, now, report, budget)


def templates_expire(*, now: datetime, report: Report, budget: Budget) -> None:
    """Remove templates, protected ones too, of candidates who neither enrolled nor sat an exam for long enough.

    The data key goes too, or later: with the last picture that it opens.
    """

    def rows(scope: Scope, cutoff: datetime) -> QuerySet[Any]:
        candidates = Candidate.objects.filter(
            organisation_id=scope.organisation_id, face_template__created_at__lt=cutoff
        )
        recent = ExamSession.objects.filter(candidate=OuterRef("pk")).exclude(ended_at__lt=cutoff)
        return candidates.exclude(Exists(recent)).exclude(candidate_held()).order_by("pk")

    def remove(ids: list[Any]) -> int:
        gone = 0
        for candidate in Candidate.objects.filter(pk__in=ids).select_related("data_key"):
            protected_remove(candidate)
            gone += biometrics_remove(candidate)["templates"]
            if not Evidence.objects.filter(session__candidate=candidate, removed_at=None).exists():
                data_key_destroy(candidate)
        return gone

    _each_scope(TEMPLATES, rows, remove, CANDIDATES, now, report, budget)
    if not report.dry_run:
        _idle_keys_destroy()


def _idle_keys_destroy() -> None:
    """Destroy the data keys that open nothing any more."""
    pictures = Evidence.objects.filter(session__candidate=OuterRef("pk"), removed_at=None)
    idle = Candidate.objects.filter(data_key__isnull=False, face_template=None).exclude(Exists(pictures))
    idle = idle.exclude(candidate_held())
    for key in idle.values_list("pk", flat=True)[:BATCH]:
        with transaction.atomic():
            holds_settle()
            locked = Candidate.objects.select_for_update(of=("self",)).select_related("data_key").get(pk=key)
            if idle.filter(pk=key).exists():  # asked again: somebody may have enrolled until it was locked
                data_key_destroy(locked)


def audit_expire(*, now: datetime, report: Report, budget: Budget) -> None:
    """Cut off the beginning of each log; its head remembers where it begins, so that the rest can be verified."""
    for scope in scopes(AUDIT):
        cutoff = scope.cutoff(now)
        if cutoff is None:
            continue
        entries = AuditEntry.objects.filter(organisation_id=scope.organisation_id)
        if report.dry_run:
            report.add(AUDIT, scope.organisation_id, entries.filter(at__lt=cutoff).count())
            continue
        while gone := _audit_cut(scope.organisation_id, cutoff):
            report.add(AUDIT, scope.organisation_id, gone)
            if budget.is_spent:
                report.unfinished = True
                return


def _audit_cut(organisation_id: int, cutoff: datetime) -> int:
    with transaction.atomic():
        head = AuditHead.objects.select_for_update().filter(organisation_id=organisation_id).first()
        if head is None:
            return 0
        entries = AuditEntry.objects.filter(organisation_id=organisation_id).order_by("sequence")
        first_kept = entries.filter(at__gte=cutoff).values_list("sequence", flat=True).first()
        end = head.base_sequence + AUDIT_BATCH
        end = min(end, head.sequence if first_kept is None else first_kept - 1)
        last = entries.filter(sequence__lte=end).last()
        if last is None:
            return 0
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL sd_proctor.audit_retention = 'on'")
            gone, _ = entries.filter(sequence__lte=last.sequence).delete()
            cursor.execute("SET LOCAL sd_proctor.audit_retention = 'off'")
        audit_cut(head, last=last)
    return gone


def _each_scope(
    kind: str,
    rows: Callable[[Scope, datetime], QuerySet[Any]],
    remove: Callable[[list[Any]], int],
    batch: int,
    now: datetime,
    report: Report,
    budget: Budget,
) -> None:
    """Remove what each scope keeps no longer, or count it, until nothing is left or the time is over."""
    for scope in scopes(kind):
        cutoff = scope.cutoff(now)
        if cutoff is None:
            continue
        expired = rows(scope, cutoff)
        if report.dry_run:
            report.add(kind, scope.organisation_id, expired.order_by().count())
            continue
        while ids := list(expired.values_list("pk", flat=True)[:batch]):
            if budget.is_spent:
                report.unfinished = True
                return
            with transaction.atomic():
                holds_settle()
                # Asked again once they are locked: somebody may have enrolled, or sent again, in between.
                list(expired.model._default_manager.filter(pk__in=ids).order_by("pk").select_for_update().values("pk"))
                gone = remove(list(expired.filter(pk__in=ids).values_list("pk", flat=True)))
            report.add(kind, scope.organisation_id, gone)


def _count(report: Report, kind: str, rows: QuerySet[Any]) -> None:
    for row in rows.order_by().values("organisation_id").annotate(n=Count("pk")):
        report.add(kind, row["organisation_id"], row["n"])
