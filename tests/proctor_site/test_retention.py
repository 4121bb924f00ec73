"""Retention: what has been kept long enough goes, by class, organisation and exam; nothing that is held does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.utils import timezone

from accounts.audit import SYSTEM, audit_verify, audit_write
from accounts.keys import SealError, open_sealed
from accounts.models import AuditEntry, DataKey, Organisation
from alerts import evidence
from alerts.models import Alert, Delivery, DeliveryAttempt, Evidence, Incident, Notice
from detection.models import Detection
from detection.partitions import ensure_partitions
from enrollment.galleries import candidate_protect, gallery_ensure
from enrollment.models import Candidate, DuplicateSuspicion, FaceTemplate, ProtectedTemplate
from proctor_site.retention import detections, rows
from proctor_site.retention.report import Budget, Report
from proctor_site.retention.run import retention_run
from sessions.holds import hold_lift, hold_place
from sessions.models import ExamSession, RetentionPolicy
from sessions.retention import CLASSES, days_kept
from tests.alerts import builders
from tests.factories import make_embedding, make_enrolled_candidate, make_exam, make_organisation, make_session
from tests.locks import somebody_waits
from tests.plays import wait_for

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("evidence_dir")]

NOW = datetime(2033, 6, 15, 12, tzinfo=UTC)


@pytest.fixture
def organisation() -> Organisation:
    return make_organisation()


def days_ago(days: float, now: datetime = NOW) -> datetime:
    return now - timedelta(days=days)


def settle() -> None:
    """Check what is only checked at the end of a transaction: a table with checks to come cannot be dropped."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")


def measured(session: ExamSession, *days: float) -> None:
    """Detections that many days before NOW."""
    ExamSession.objects.filter(pk=session.pk).update(created_at=days_ago(max(days) + 1))
    Detection.objects.bulk_create(
        Detection(organisation=session.organisation, session=session, captured_at=days_ago(day), sample_id=f"s{n}",
                  stream="video", measures={})
        for n, day in enumerate(days)
    )  # fmt: skip
    settle()


def left(session: ExamSession) -> list[int]:
    times = Detection.objects.filter(session=session).order_by("-captured_at").values_list("captured_at", flat=True)
    return [(NOW - at).days for at in times]


# --- Which policy applies ---------------------------------------------------------------------------------------------
def test_an_exam_has_its_own_days_else_the_organisations_else_the_deployments(
    organisation: Organisation, settings: Any
) -> None:
    exam, other = make_exam(organisation), make_exam(organisation)

    def kept(exam_id: int | None) -> int:
        return days_kept(organisation_id=organisation.pk, exam_id=exam_id, kind="detections")

    assert (kept(exam.pk), kept(None)) == (90, 90) == (settings.RETENTION_DAYS["detections"],) * 2
    RetentionPolicy.objects.create(organisation=organisation, detections_days=40)
    RetentionPolicy.objects.create(organisation=organisation, exam=exam, detections_days=7)
    RetentionPolicy.objects.create(organisation=organisation, exam=other, evidence_days=3)
    assert (kept(exam.pk), kept(other.pk), kept(None)) == (7, 40, 40)


# --- Detections -------------------------------------------------------------------------------------------------------
@pytest.fixture
def months(db: None) -> Iterator[None]:
    """Partitions of the months before NOW."""
    ensure_partitions(now=datetime(2033, 2, 1, tzinfo=UTC), months_ahead=5)
    yield
    settle()
    with connection.cursor() as cursor:
        for partition in detections.partitions():
            if partition.starts_at is not None and partition.starts_at.year == 2033:
                cursor.execute(f"DROP TABLE IF EXISTS {partition.name}")
    ensure_partitions()  # those of today are long over by NOW


def dropped(report: Report) -> list[str]:
    return [name.removeprefix("detection_detection_y") for name in report.partitions if "_y2033" in name]


def test_rows_go_when_their_time_is_over_and_each_exam_has_its_own(organisation: Organisation, months: None) -> None:
    exam = make_exam(organisation)
    usual, short = make_session(organisation), make_session(organisation, exam_id=exam.exam_id)
    RetentionPolicy.objects.create(organisation=organisation, exam=exam, detections_days=5)
    for session in (usual, short):
        measured(session, 1, 6, 80, 89, 91)

    report = retention_run(now=NOW)

    assert (left(usual), left(short)) == ([1, 6, 80, 89], [1])
    assert report.of(organisation.pk) == {"detections": 5}


@pytest.mark.django_db(transaction=True)
def test_a_month_of_which_all_has_expired_is_dropped_whole(organisation: Organisation, months: None) -> None:
    session = make_session(organisation)
    measured(session, 120, 100, 80)  # 15 February, 7 March, 27 March: by 15 June only February has expired whole

    report = retention_run(now=NOW)

    assert dropped(report) == ["2033m02"]
    assert left(session) == [80]
    assert report.totals()["detections"] == 1  # of March, row by row
    names = {partition.name for partition in detections.partitions()}
    assert "detection_detection_y2033m02" not in names
    assert "detection_detection_y2033m03" in names


def test_who_keeps_without_limit_keeps_the_month(organisation: Organisation, months: None) -> None:
    for_ever = make_organisation()
    RetentionPolicy.objects.create(organisation=for_ever, detections_days=0)
    mine, theirs = make_session(organisation), make_session(for_ever)
    for session in (mine, theirs):
        measured(session, 120, 1)
    assert dropped(retention_run(now=NOW)) == []
    assert (left(mine), left(theirs)) == ([1], [1, 120])


@pytest.mark.parametrize("on", ["session", "candidate"])
def test_a_hold_keeps_the_rows_and_the_month_they_lie_in(organisation: Organisation, months: None, on: str) -> None:
    held, free = make_session(organisation), make_session(organisation)
    for session in (held, free):
        measured(session, 120, 1)
    hold = hold_place(actor=SYSTEM, reason="appeal", **{on: held if on == "session" else held.candidate})  # type: ignore[arg-type]

    assert dropped(retention_run(now=NOW)) == []
    assert (left(held), left(free)) == ([1, 120], [1])

    hold_lift(hold=hold, actor=SYSTEM)
    assert dropped(retention_run(now=NOW)) == ["2033m02"]
    assert left(held) == [1]


def test_many_rows_go_in_bounded_batches_and_a_spent_budget_stops_between_two(
    organisation: Organisation, months: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = make_session(organisation)
    measured(session, *(91 + n / 100 for n in range(25)))
    monkeypatch.setattr(detections, "CHUNK", 10)
    asked = iter([False, False, True])
    monkeypatch.setattr(Budget, "is_spent", property(lambda self: next(asked, True)))
    report = Report(dry_run=False)

    detections.detections_expire(now=NOW, report=report, budget=Budget())

    assert report.unfinished
    assert (report.totals()["detections"], len(left(session))) == (20, 5)


# --- Pictures ---------------------------------------------------------------------------------------------------------
def pictured(session: ExamSession) -> Evidence:
    alert = builders.apply(session, frames={"f1": (builders.ONSET, builders.jpeg())})
    return Evidence.objects.get(incident=alert.incident)


def test_pictures_are_stored_with_the_time_of_their_exam_and_follow_a_changed_policy(
    organisation: Organisation,
) -> None:
    exam = make_exam(organisation)
    policy = RetentionPolicy.objects.create(organisation=organisation, exam=exam, evidence_days=3)
    usual = pictured(make_session(organisation))
    short = pictured(make_session(organisation, exam_id=exam.exam_id))
    assert [(row.expires_at - row.created_at).days for row in (usual, short)] == [30, 3] or [29, 2]

    policy.evidence_days = 10
    policy.save()
    retention_run()
    short.refresh_from_db()
    assert short.expires_at - short.created_at == timedelta(days=10)
    policy.refresh_from_db()
    assert not policy.redate_due


def test_an_expired_picture_goes_and_a_held_one_stays_to_be_seen(
    organisation: Organisation, evidence_dir: Path
) -> None:
    gone, held = pictured(make_session(organisation)), pictured(make_session(organisation))
    hold_place(actor=SYSTEM, reason="appeal", session=held.session)
    Evidence.objects.update(expires_at=timezone.now() - timedelta(seconds=1))

    report = retention_run()

    assert report.of(organisation.pk) == {"evidence": 1}
    gone.refresh_from_db()
    held.refresh_from_db()
    assert gone.removed_at is not None
    assert gone.sha256
    assert held.removed_at is None
    assert evidence.picture(held) == builders.jpeg()
    assert [path.name for path in evidence_dir.rglob("*.sealed")] == [Path(held.storage_name).name]


# --- Sessions, deliveries, templates, audit ---------------------------------------------------------------------------
def ended(session: ExamSession, days: float) -> ExamSession:
    at = timezone.now() - timedelta(days=days)
    ExamSession.objects.filter(pk=session.pk).update(state="ended", ended_at=at, planned_end_at=at, closed_at=at)
    session.refresh_from_db()
    return session


def test_sessions_go_with_all_that_is_left_of_them(organisation: Organisation, evidence_dir: Path) -> None:
    builders.subscription(organisation, "https://example.org/hook")
    old, young, running = (make_session(organisation) for _ in range(3))
    for session in (old, young, running):
        pictured(session)
    ended(old, 366)
    ended(young, 364)

    report = retention_run()

    assert report.totals()["incidents"] == 1
    assert set(ExamSession.objects.all()) == {young, running}
    assert (
        Incident.objects.count() == Alert.objects.count() == Delivery.objects.count() == Evidence.objects.count() == 2
    )
    assert len([path for path in evidence_dir.rglob("*") if path.is_file()]) == 2
    assert Candidate.objects.count() == 3


def test_settled_deliveries_go_and_those_still_due_stay(organisation: Organisation) -> None:
    builders.subscription(organisation, "https://example.org/hook")
    sessions = [make_session(organisation) for _ in range(4)]
    for session in sessions:
        builders.apply(session)
    delivered, parked, pending, young = Delivery.objects.order_by("id")
    for delivery, state in ((delivered, "delivered"), (parked, "parked"), (pending, "pending"), (young, "delivered")):
        DeliveryAttempt.objects.create(organisation=organisation, delivery=delivery, duration_ms=1)
        Delivery.objects.filter(pk=delivery.pk).update(state=state)
    old = timezone.now() - timedelta(days=91)
    Delivery.objects.exclude(pk=young.pk).update(created_at=old)
    Notice.objects.create(organisation=organisation, session=sessions[0], event_type="X", payload={}, created_at=old)

    retention_run()

    assert set(Delivery.objects.all()) == {pending, young}
    assert DeliveryAttempt.objects.count() == 2
    assert Alert.objects.count() == 4
    assert not Notice.objects.exists()


def test_a_template_goes_when_its_candidate_neither_enrolled_nor_sat_an_exam_for_long_enough(
    organisation: Organisation,
) -> None:
    idle, busy, fresh = (make_enrolled_candidate(organisation) for _ in range(3))
    FaceTemplate.objects.exclude(candidate=fresh).update(created_at=timezone.now() - timedelta(days=366))
    ended(make_session(candidate=busy), 20)

    report = retention_run()

    assert report.totals()["templates"] == 1
    assert set(FaceTemplate.objects.values_list("candidate_id", flat=True)) == {busy.pk, fresh.pk}
    assert DataKey.objects.count() == 2
    idle.refresh_from_db()
    assert idle.data_key is None


def test_what_was_derived_of_a_template_goes_with_it(organisation: Organisation) -> None:
    idle, fresh = (make_enrolled_candidate(organisation) for _ in range(2))
    gallery = gallery_ensure(organisation=organisation, model="sface", dimensions=128)
    for candidate in (idle, fresh):
        candidate_protect(candidate, gallery=gallery, embedding=make_embedding(candidate.pk))
    DuplicateSuspicion.objects.create(
        organisation=organisation, candidate=fresh, other=idle, model="sface", similarity=1.0, comparison_score=0.9
    )
    FaceTemplate.objects.filter(candidate=idle).update(created_at=timezone.now() - timedelta(days=366))

    retention_run()

    assert list(ProtectedTemplate.objects.values_list("candidate_id", flat=True)) == [fresh.pk]
    assert not DuplicateSuspicion.objects.exists()


def test_the_data_key_stays_while_it_opens_a_picture(organisation: Organisation) -> None:
    candidate = make_enrolled_candidate(organisation)
    row = pictured(session := make_session(candidate=candidate))
    ended(session, 200)
    RetentionPolicy.objects.create(organisation=organisation, evidence_days=0)
    FaceTemplate.objects.update(created_at=timezone.now() - timedelta(days=366))
    RetentionPolicy.objects.update(templates_days=100)

    assert retention_run().of(organisation.pk) == {"templates": 1}
    assert evidence.picture(Evidence.objects.get(pk=row.pk)) == builders.jpeg()

    Evidence.objects.update(removed_at=timezone.now())
    retention_run()
    assert not DataKey.objects.exists()


def test_the_audit_log_loses_its_beginning_and_the_rest_is_verified(organisation: Organisation) -> None:
    for n in range(6):
        audit_write(organisation=organisation, actor=SYSTEM, action=f"a{n}", subject_type="session")
    entries = list(AuditEntry.objects.order_by("sequence"))
    RetentionPolicy.objects.create(organisation=organisation, audit_days=30)
    now = entries[3].at + timedelta(days=30)

    report = Report(dry_run=False)
    rows.audit_expire(now=now, report=report, budget=Budget())

    assert report.of(organisation.pk) == {"audit": 3}
    assert list(AuditEntry.objects.order_by("sequence").values_list("action", flat=True)) == ["a3", "a4", "a5"]
    assert list(audit_verify(organisation)) == []
    audit_write(organisation=organisation, actor=SYSTEM, action="after", subject_type="session")
    assert list(audit_verify(organisation)) == []
    with pytest.raises(Exception, match="append-only"), transaction.atomic():
        AuditEntry.objects.all().delete()


# --- A run ------------------------------------------------------------------------------------------------------------
def everything_expired(organisation: Organisation) -> None:
    builders.subscription(organisation, "https://example.org/hook")
    row = pictured(session := make_session(organisation))
    measured(session, 120)
    Delivery.objects.update(state="delivered", created_at=timezone.now() - timedelta(days=91))
    Evidence.objects.filter(pk=row.pk).update(expires_at=timezone.now() - timedelta(days=1))
    ended(session, 366)
    FaceTemplate.objects.update(created_at=timezone.now() - timedelta(days=400))


@contextmanager
def hold_being_placed(session: ExamSession) -> Iterator[None]:
    """Place a hold elsewhere, in a transaction that ends only once somebody waits for it."""
    placed = threading.Event()

    def place() -> None:
        try:
            with transaction.atomic():
                hold_place(actor=SYSTEM, reason="appeal", session=session)
                placed.set()
                wait_for("somebody who waits", lambda: somebody_waits("advisory"), timeout_s=20)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as elsewhere:
        placing = elsewhere.submit(place)
        assert placed.wait(10)
        yield
        placing.result()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "step",
    [rows.evidence_expire, rows.templates_expire, detections.detections_expire, rows.deliveries_expire,
     rows.sessions_expire],
    ids=lambda step: step.__name__,
)  # fmt: skip
def test_a_hold_that_is_placed_while_a_batch_begins_keeps_it(
    organisation: Organisation, months: None, step: Callable[..., None]
) -> None:
    everything_expired(organisation)
    before, report = remaining(), Report(dry_run=False)

    with hold_being_placed(ExamSession.objects.get()):
        step(now=NOW, report=report, budget=Budget())

    assert (remaining(), report.totals(), dropped(report)) == (before, dict.fromkeys(CLASSES, 0), [])


def remaining() -> list[int]:
    models = (Detection, Delivery, Notice, ExamSession, FaceTemplate, DataKey)
    return [model.objects.count() for model in models] + [Evidence.objects.filter(removed_at=None).count()]


def test_a_dry_run_counts_what_a_run_removes_and_removes_nothing(organisation: Organisation, months: None) -> None:
    everything_expired(organisation)
    before = [model.objects.count() for model in (Detection, Evidence, Delivery, ExamSession, FaceTemplate)]

    dry = retention_run(dry_run=True, now=NOW)

    assert [model.objects.count() for model in (Detection, Evidence, Delivery, ExamSession, FaceTemplate)] == before
    assert not AuditEntry.objects.exists()
    wet = retention_run(now=NOW)
    assert wet.totals() == dry.totals()
    assert wet.partitions.keys() == dry.partitions.keys() != set()
    assert {kind for kind, count in wet.totals().items() if count} == set(CLASSES) - {"detections", "audit"}


def test_a_dry_run_counts_by_a_policy_that_was_changed_just_now(organisation: Organisation) -> None:
    exam = make_exam(organisation)
    for of in (make_session(organisation), make_session(organisation, exam_id=exam.exam_id), make_session()):
        pictured(of)
    Evidence.objects.update(created_at=timezone.now() - timedelta(days=10))
    RetentionPolicy.objects.create(organisation=organisation, evidence_days=7)
    RetentionPolicy.objects.create(organisation=organisation, exam=exam, evidence_days=20)

    dry = retention_run(dry_run=True)

    assert dry.of(organisation.pk) == {"evidence": 1}
    assert dry.totals() == retention_run().totals()


def test_a_dry_run_counts_the_notices_whose_deliveries_go_with_them(organisation: Organisation) -> None:
    subscription, _ = builders.subscription(organisation, "https://example.org/hook")
    session, old = make_session(organisation), timezone.now() - timedelta(days=91)
    for state in ("delivered", "pending"):
        notice = Notice.objects.create(
            organisation=organisation, session=session, event_type="X", payload={}, created_at=old
        )
        Delivery.objects.create(
            organisation=organisation, session=session, subscription=subscription, notice=notice, state=state,
            created_at=old,
        )  # fmt: skip

    dry = retention_run(dry_run=True)

    assert dry.of(organisation.pk) == {"deliveries": 2}
    assert dry.totals() == retention_run().totals()
    assert (Delivery.objects.get().state, Notice.objects.count()) == ("pending", 1)


def test_what_was_removed_is_in_the_audit_log(organisation: Organisation) -> None:
    everything_expired(organisation)
    retention_run()
    entry = AuditEntry.objects.get(organisation=organisation, action="retention.removed")
    assert entry.details["rows"] == {"evidence": 1, "incidents": 1, "deliveries": 1, "templates": 1}
    assert retention_run().totals() == dict.fromkeys(CLASSES, 0)
    assert AuditEntry.objects.count() == 1


def test_a_class_that_fails_holds_up_no_other(organisation: Organisation, monkeypatch: pytest.MonkeyPatch) -> None:
    everything_expired(organisation)

    def broken(*_: Any) -> Any:
        raise OSError("the storage is away")

    monkeypatch.setattr("alerts.evidence_sweep.storage", broken)
    monkeypatch.setattr("proctor_site.removal.storage", broken)
    report = retention_run()
    assert report.unfinished
    assert report.totals() == {**dict.fromkeys(CLASSES, 0), "templates": 1, "deliveries": 1}


def test_the_command_says_what_went_and_fails_when_it_did_not_finish(organisation: Organisation) -> None:
    everything_expired(organisation)
    out = StringIO()
    call_command("retention", "run", "--dry-run", stdout=out)
    assert "evidence     would remove 1 rows" in out.getvalue()
    out = StringIO()
    call_command("retention", "run", stdout=out)
    assert "incidents    removed 1 rows" in out.getvalue()
    with pytest.raises(CommandError, match="Not everything is done"):
        call_command("retention", "run", "--seconds", "0", stdout=StringIO())


def test_after_a_template_expired_nothing_opens_what_a_backup_holds(organisation: Organisation) -> None:
    everything_expired(organisation)
    template = FaceTemplate.objects.select_related("candidate__data_key").get()
    retention_run()
    assert not DataKey.objects.exists()
    fresh = make_enrolled_candidate(organisation)
    assert fresh.data_key is not None
    with pytest.raises(SealError):
        open_sealed(template.ciphertext, data_key=fresh.data_key, purpose="x", row="y")
