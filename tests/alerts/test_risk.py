"""What a session's incidents add up to, and what becomes of it when the policy's weights are edited."""

from __future__ import annotations

import copy
import threading
import time
import uuid
from typing import Any

import pytest
from django.db import connection, connections, transaction
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from alerts import risk, tasks
from alerts.models import Alert, Incident, SessionTally
from alerts.reviews import Reviewer, incident_review
from detection.engine.policy import TECHNICAL_EVENTS, EventType
from sessions.models import ExamSession, Policy
from sessions.services import session_end
from tests.alerts import builders
from tests.factories import make_enrolled_candidate, make_exam, make_policy, make_session

PERSON = Reviewer("Ann Example")
BEHAVIOUR = [event for event in EventType if event not in TECHNICAL_EVENTS]


def found(
    session: ExamSession, event_type: EventType = EventType.NO_FACE, *, lasted_s: float = 60, **fields: Any
) -> Incident:
    change = builders.change(event_type, "closed", ended_at=builders.ONSET + lasted_s, **fields)
    return Incident.objects.get(pk=builders.apply(session, change).incident_id)


def decide(incident: Incident, decision: str) -> None:
    incident_review(incident=incident, decision=decision, reason="seen", reviewer=PERSON)


def score(session: ExamSession) -> float:
    return SessionTally.objects.get(session=session).risk_score


def reweigh(policy: Policy, **weights: float) -> None:
    """Edit the weights as the admin does; thresholds may go with them."""
    policy.refresh_from_db()
    policy.document = copy.deepcopy(policy.document)
    for event, weight in weights.items():
        policy.document["rules"][event]["severity"] = weight
    policy.save()


# --- The formula ------------------------------------------------------------------------------------------------------
@pytest.mark.django_db
@pytest.mark.parametrize(
    ("lasted_s", "decision", "points", "expected"),
    [
        (60, None, 0.3, 23.1),  # 0.6 x 1 x 1/2
        (600, None, 0.3, 23.1),
        (30, None, 0.225, 18.4),  # 0.6 x 3/4 x 1/2
        (3, None, 0.1575, 13.6),
        (60, "confirmed", 0.6, 37.5),
        (60, "dismissed", 0.0, 0.0),
    ],
)
def test_points_are_severity_times_length_times_standing_and_the_score_saturates(
    lasted_s: float, decision: str | None, points: float, expected: float
) -> None:
    session = builders.session()
    incident = found(session, lasted_s=lasted_s)
    if decision:
        decide(incident, decision)
    incident.refresh_from_db()
    assert incident.severity == 0.6
    assert (incident.points, score(session)) == (pytest.approx(points), expected)


@pytest.mark.django_db
def test_the_score_follows_every_change_of_an_incident() -> None:
    session = builders.session()
    change = builders.change(finding_id=uuid.uuid4().hex)
    incident = Incident.objects.get(pk=builders.apply(session, change).incident_id)
    scores = [score(session)]  # open: a moment, undecided
    builders.apply(session, builders.closing(change, ended_at=builders.ONSET + 60))
    scores.append(score(session))
    for decision in ("confirmed", "reopened", "dismissed", "reopened"):
        decide(incident, decision)
        scores.append(score(session))
    assert scores == [13.0, 23.1, 37.5, 23.1, 0.0, 23.1]


@pytest.mark.django_db
def test_closing_counts_the_peak() -> None:
    session = builders.session()
    change = builders.change(EventType.FACE_MISMATCH, finding_id=uuid.uuid4().hex, peak_value=0.75)
    incident = Incident.objects.get(pk=builders.apply(session, change).incident_id)
    assert (incident.severity, incident.excess) == (0.45, 0.0)
    builders.apply(session, builders.closing(change, peak_value=0.0, ended_at=builders.ONSET + 60))
    incident.refresh_from_db()
    assert (incident.severity, incident.excess, incident.points) == (0.9, 1.0, 0.45)


@pytest.mark.django_db
@pytest.mark.parametrize("event_type", sorted(TECHNICAL_EVENTS))
@pytest.mark.parametrize("decision", [None, "confirmed"])
def test_technical_events_never_count_whatever_people_decide(event_type: EventType, decision: str | None) -> None:
    policy = make_policy(builders.organisation())
    session = builders.session(policy.organisation, policy_source=policy)
    incident = found(session, event_type, lasted_s=3000)
    if decision:
        decide(incident, decision)
    reweigh(policy, **{event_type: 1.0})
    risk.policies_rescore()
    incident.refresh_from_db()
    assert (incident.points, score(session)) == (0.0, 0.0)


@given(
    excess=st.floats(0, 1), weight=st.floats(0, 1), lasted_s=st.floats(0, 1e5), event=st.sampled_from(BEHAVIOUR),
    state=st.sampled_from(Incident.State.values),
)  # fmt: skip
def test_points_lie_between_nothing_and_one_and_standing_orders_them(
    excess: float, weight: float, lasted_s: float, event: EventType, state: str
) -> None:
    begun, ended = (builders.moment(builders.ONSET + after) for after in (0, lasted_s))
    incident = Incident(event_type=event, technical=False, excess=excess, started_at=begun, ended_at=ended)

    def points(state: str) -> float:
        incident.state = state
        return risk.points(incident, weight)

    assert 0 <= points(state) <= 1
    assert points("dismissed") == 0 <= points("closed") == points("reopened") <= points("confirmed")


# --- Edited weights ---------------------------------------------------------------------------------------------------
@pytest.fixture
def policy() -> Policy:
    return make_policy(builders.organisation(), "strict")


def sat(policy: Policy, **more: Any) -> ExamSession:
    """A session of an exam under the policy, as platforms start it."""
    exam = make_exam(policy.organisation, f"exam-{uuid.uuid4().hex[:6]}", policy=policy)
    return make_session(policy.organisation, exam_id=exam.exam_id, **more)


@pytest.mark.django_db
def test_edited_weights_rescore_all_sessions_of_the_policy_also_after_the_exam(policy: Policy) -> None:
    running, over, elsewhere = sat(policy), sat(policy), sat(make_policy(policy.organisation))
    incidents = [found(session) for session in (running, over, elsewhere)]
    session_end(session=over, reason="requested")
    told = Alert.objects.count()

    reweigh(policy, NO_FACE=0.2)
    assert Policy.objects.get(pk=policy.pk).rescore_due
    tasks.rescore()

    assert [score(session) for session in (running, over, elsewhere)] == [9.1, 9.1, 23.1]
    assert not Policy.objects.filter(rescore_due=True).exists()
    for incident in incidents:  # what was judged and told stays
        incident.refresh_from_db()
        assert (incident.severity, incident.rule["severity"]) == (0.6, 0.6)
    assert Alert.objects.count() == told


@pytest.mark.django_db
def test_edited_thresholds_judge_nothing_anew(policy: Policy) -> None:
    session = sat(policy)
    incident = found(session, EventType.FACE_MISMATCH, peak_value=0.6)
    before = (score(session), incident.excess, incident.points)
    policy.document["rules"]["FACE_MISMATCH"] |= {"enter": 0.2, "exit": 0.2, "hold_s": 30.0}
    policy.save()
    assert not Policy.objects.get(pk=policy.pk).rescore_due
    risk.policy_rescore(policy=policy)
    incident.refresh_from_db()
    assert (score(session), incident.excess, incident.points) == before


@pytest.mark.django_db
def test_a_later_incident_counts_with_the_weight_of_today_and_tells_the_one_of_then(policy: Policy) -> None:
    session = sat(policy)
    reweigh(policy, NO_FACE=0.2)
    incident = found(session)
    assert (incident.points, incident.severity) == (0.1, 0.6)
    assert Alert.objects.get().payload["severity_score"] == 0.6


@pytest.mark.django_db
def test_a_sessions_own_weight_stays_its_own(policy: Policy) -> None:
    overridden = sat(policy, overrides={"rules": {"NO_FACE": {"severity": 1.0}, "PHONE": {"hold_s": 3}}})
    assert overridden.own_weights == {"NO_FACE": 1.0}
    candidate = make_enrolled_candidate(policy.organisation)
    candidate.accommodations = {"rules": {"NO_FACE": {"severity": 0.0}}}
    candidate.save()
    granted = sat(policy, candidate=candidate)
    assert granted.own_weights == {"NO_FACE": 0.0}
    for session in (overridden, granted):
        builders.apply(session, builders.change(phase="closed", ended_at=builders.ONSET + 60))
    assert [score(overridden), score(granted)] == [33.3, 0.0]
    reweigh(policy, NO_FACE=0.2, PHONE=0.1)
    risk.policies_rescore()
    assert [score(overridden), score(granted)] == [33.3, 0.0]


@pytest.mark.django_db
def test_sessions_keep_their_score_when_the_policy_is_removed(policy: Policy) -> None:
    session = sat(policy)
    incident = found(session)
    assert session.exam is not None
    session.exam.policy = None
    session.exam.save()
    policy.delete()
    decide(incident, "confirmed")
    assert score(session) == 37.5


@pytest.mark.django_db
def test_weights_edited_while_sessions_are_rescored_are_not_forgotten(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = sat(policy)
    found(session)
    reweigh(policy, NO_FACE=0.2)
    really = risk._rescore

    def meanwhile(*args: Any) -> None:
        monkeypatch.setattr(risk, "_rescore", really)
        really(*args)
        reweigh(policy, NO_FACE=1.0)

    monkeypatch.setattr(risk, "_rescore", meanwhile)
    risk.policies_rescore()
    assert (score(session), Policy.objects.get(pk=policy.pk).rescore_due) == (9.1, True)
    risk.policies_rescore()
    assert (score(session), Policy.objects.get(pk=policy.pk).rescore_due) == (33.3, False)


@pytest.mark.django_db(transaction=True)
def test_an_incident_that_a_worker_is_writing_while_weights_are_edited_is_rescored_too(policy: Policy) -> None:
    """Its first alert: the worker has made the tally, and has not committed it, when the sweep comes."""
    session = sat(policy)
    swept = threading.Thread(target=_sweep)
    with transaction.atomic():
        builders.apply(session, builders.change(phase="closed", ended_at=builders.ONSET + 60))
        edited = threading.Thread(target=_closing(lambda: reweigh(policy, NO_FACE=0.2)))
        edited.start()
        edited.join()
        swept.start()
        _wait_until_somebody_waits()
    swept.join(timeout=30)
    assert score(session) == 9.1


def _closing(call: Any) -> Any:
    def run() -> None:
        try:
            call()
        finally:
            connections.close_all()

    return run


_sweep = _closing(lambda: risk.policies_rescore())


def _wait_until_somebody_waits() -> None:
    for _ in range(500):
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            (waiting,) = cursor.fetchone()
        if waiting:
            return
        time.sleep(0.02)
    pytest.fail("Nobody waits for the worker.")


@pytest.mark.django_db
def test_a_policy_at_which_another_worker_is_is_left_to_it(policy: Policy, redis_client: Redis) -> None:
    found(sat(policy))
    reweigh(policy, NO_FACE=0.2)
    redis_client.set(risk._claim_key(policy), b"1", ex=60)
    assert risk.policies_rescore() == 0
    redis_client.delete(risk._claim_key(policy))  # it was killed, and its claim has expired
    assert risk.policies_rescore() == 1
    assert redis_client.keys("alerts:rescoring:*") == []


@pytest.mark.django_db
def test_many_sessions_are_rescored_in_chunks(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(risk, "CHUNK", 3)
    sessions = [sat(policy) for _ in range(8)]
    for session in sessions[:6]:
        found(session)
    reweigh(policy, NO_FACE=0.2)
    assert risk.policies_rescore() == 8
    assert [score(session) for session in sessions] == [9.1] * 6 + [0.0] * 2
