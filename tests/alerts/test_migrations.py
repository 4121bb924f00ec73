"""Incidents that were stored before people could decide on them can be decided on afterwards."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from alerts import payload
from alerts.models import Alert, Incident, SessionTally
from alerts.reviews import Reviewer, incident_review
from detection.engine.policy import DEFAULT_RULES, EventType
from sessions.models import ExamSession
from tests.alerts import builders
from tests.factories import make_policy

BEFORE = [
    ("detection", "0003_browser_stream"),
    ("alerts", "0005_grpc_transport"),
    ("exam_sessions", "0005_accommodations"),
]


def migrate(targets: list[tuple[str, str]]) -> Any:
    executor = MigrationExecutor(connection)
    executor.migrate(targets)
    return MigrationExecutor(connection).loader.project_state(targets).apps


@pytest.fixture
def before(transactional_db: None) -> Iterator[Any]:
    """The models as they were, in a database as it was."""
    latest = MigrationExecutor(connection).loader.graph.leaf_nodes()
    yield migrate(BEFORE)
    migrate(latest)


def test_what_was_stored_before_is_scored_numbered_on_and_decided_on(before: Any) -> None:
    owner = builders.organisation()
    policy = before.get_model("exam_sessions", "Policy").objects.create(
        organisation_id=owner.pk, name="Strict", version=3,
        document={"rules": {"NO_FACE": {"severity": 0.6}, "PHONE": {"severity": 0.7}}},
    )  # fmt: skip
    candidate = builders.candidate(owner)
    sessions = before.get_model("exam_sessions", "ExamSession").objects

    def sat(version: str, weight: float, accommodations: dict[str, Any]) -> Any:
        return sessions.create(
            organisation_id=owner.pk, session_id=f"s-{uuid.uuid4().hex[:6]}", candidate_id=candidate.pk,
            policy_name="Strict", policy_version=version, accommodations=accommodations,
            policy={"rules": {"NO_FACE": {"severity": weight}, "PHONE": {"severity": 0.7}}},
            planned_end_at=timezone.now(),
        )  # fmt: skip

    granted = {"rules": {"PHONE": {"severity": 0.1}, "NO_FACE": {"hold_s": 9}}}
    plain, overridden, older = sat("3", 0.6, {}), sat("3", 1.0, {}), sat("1", 0.2, granted)
    rule = payload.rule_document(DEFAULT_RULES[EventType.NO_FACE])
    ended_at = timezone.now()
    incident = before.get_model("alerts", "Incident").objects.create(
        organisation_id=owner.pk, session=plain, event_type="NO_FACE", technical=False, state="closed", severity=0.6,
        started_at=ended_at - timedelta(seconds=60), decided_at=ended_at, ended_at=ended_at, peak_value=0.0, rule=rule,
        measures={}, model="yunet-2023mar", policy_version="3",
    )  # fmt: skip
    evidence = {"frame_ids": ["f1", "f2"], "confidence_metrics": {"face_count": 1.5, "face_count_peak": 0.0}}
    for sequence, phase in enumerate(["opened", "closed"], start=1):
        before.get_model("alerts", "Alert").objects.create(
            organisation_id=owner.pk, session=plain, incident=incident, sequence=sequence, event_type="NO_FACE",
            phase=phase, payload={"evidence": evidence},
        )  # fmt: skip
    before.get_model("detection", "RuleState").objects.create(session=plain, organisation_id=owner.pk, alert_sequence=2)

    migrate(MigrationExecutor(connection).loader.graph.leaf_nodes())

    own = dict(ExamSession.objects.values_list("pk", "own_weights"))
    assert own == {plain.pk: {}, overridden.pk: {"NO_FACE": 1.0}, older.pk: {"PHONE": 0.1}}
    assert set(ExamSession.objects.values_list("policy_source_id", flat=True)) == {policy.pk}
    kept = Incident.objects.get()
    assert (kept.version, kept.excess, kept.points, kept.value, kept.frame_ids) == (2, 1.0, 0.3, 1.5, ["f1", "f2"])
    tally = SessionTally.objects.get()
    assert (tally.session_id, tally.alert_sequence, tally.risk_score) == (plain.pk, 2, 23.1)
    incident_review(incident=kept, decision="confirmed", reason="seen", reviewer=Reviewer("Ann"))
    alert = Alert.objects.get(phase="confirmed")
    assert alert.sequence == 3
    assert alert.payload["evidence"] == evidence
    assert make_policy(owner).rescore_due is False
