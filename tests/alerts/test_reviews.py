"""People decide on incidents: what is possible, what is kept, what is told, and who comes first."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.db import InternalError, ProgrammingError, connection, connections, transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from accounts.problems import Problem
from alerts import payload
from alerts.incident_selectors import undecided_after
from alerts.models import Alert, Delivery, Incident, Review, SessionTally
from alerts.reviews import Reviewer, incident_review
from detection.commit import SessionBatch
from detection.commit import commit as detection_commit
from detection.contexts import SessionContexts
from detection.engine.policy import EventType
from sessions.models import ExamSession
from tests.alerts import builders
from tests.detection.builders import frames
from tests.factories import make_session

HOOK = "https://93.184.216.34/hook"
ANN = Reviewer("Ann Example")


def closed(session: ExamSession | None = None, event_type: EventType = EventType.NO_FACE, **fields: Any) -> Incident:
    """An incident that is over."""
    alert = builders.apply(session or builders.session(), builders.change(event_type, "closed", **fields))
    return Incident.objects.get(pk=alert.incident_id)


def decide(incident: Incident, decision: str, reason: str = "I have looked at it", **more: Any) -> Review:
    return incident_review(incident=incident, decision=decision, reason=reason, **{"reviewer": ANN} | more)


def refusal(incident: Incident, decision: str, **more: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        decide(incident, decision, **more)
    return caught.value


# --- What a decision leaves -------------------------------------------------------------------------------------------
@pytest.mark.django_db
@pytest.mark.parametrize("decision", ["confirmed", "dismissed"])
def test_a_decision_is_kept_with_who_when_and_why_and_is_an_alert_of_its_own(decision: str) -> None:
    session = builders.session(exam_id="maths")
    subscription, _ = builders.subscription(session.organisation, HOOK)
    person = builders.staff(session.organisation)
    incident = closed(session)

    review = decide(incident, decision, "A phone at the ear", reviewer=Reviewer.signed_in(person))

    incident.refresh_from_db()
    assert (incident.state, incident.version) == (decision, 3)
    kept = Review.objects.get()
    assert (kept.decision, kept.reason, kept.user, kept.version) == (decision, "A phone at the ear", person, 3)
    assert (kept.reviewer, kept.organisation) == (person.username, session.organisation)
    first, second = Alert.objects.order_by("sequence")
    assert (first.phase, second.phase, second.sequence) == ("closed", decision, 2)
    told, before = second.payload, first.payload
    payload.validate(told)
    assert told["metadata"]["review"] == {
        "by": person.username, "at": payload.iso(review.created_at), "reason": "A phone at the ear"
    }  # fmt: skip
    assert told["event_id"] != before["event_id"]
    assert told["evidence"] == before["evidence"]
    same = ("incident_id", "ended_at", "decided_at", "duration_s", "rule", "peak", "raw_score", "sample_ids")
    assert {name: told["metadata"][name] for name in same} == {name: before["metadata"][name] for name in same}
    assert (told["severity_score"], told["timestamp"]) == (before["severity_score"], before["timestamp"])
    assert Delivery.objects.filter(alert=second, subscription=subscription, sequence=2).count() == 1


@pytest.mark.django_db
def test_the_alert_of_a_decision_links_to_the_pictures() -> None:
    session = builders.session()
    change = builders.change(phase="closed")
    builders.apply(session, change, frames={"f1": (builders.ONSET, builders.jpeg())})
    decide(Incident.objects.get(), "confirmed")
    told = Alert.objects.get(phase="confirmed").payload
    assert [link["frame_id"] for link in told["metadata"]["evidence"]] == ["f1"]


@pytest.mark.django_db
def test_an_incident_is_reopened_and_decided_anew_and_every_decision_stays() -> None:
    incident = closed()
    for number, decision in enumerate(["confirmed", "reopened", "dismissed", "reopened", "confirmed"], start=3):
        assert decide(incident, decision, f"because {number}").version == number
    incident.refresh_from_db()
    assert (incident.state, incident.version) == ("confirmed", 7)
    assert [r.reason for r in Review.objects.order_by("version")] == [f"because {n}" for n in range(3, 8)]
    assert list(Alert.objects.order_by("sequence").values_list("sequence", flat=True)) == [1, 2, 3, 4, 5, 6]


@pytest.mark.django_db
def test_a_review_is_never_changed_not_even_in_the_database() -> None:
    person = builders.staff(builders.organisation())
    review = decide(closed(), "confirmed", reviewer=Reviewer.signed_in(person))
    review.reason = "something else"
    with pytest.raises(TypeError, match="never changed"):
        review.save()
    with pytest.raises((InternalError, ProgrammingError), match="never changed"), transaction.atomic():
        Review.objects.update(decision="dismissed")
    person.delete()  # the name stays
    kept = Review.objects.get()
    assert (kept.decision, kept.user, kept.reviewer) == ("confirmed", None, review.reviewer)


# --- What is refused --------------------------------------------------------------------------------------------------
@pytest.mark.django_db
def test_what_is_not_possible_is_refused_with_the_state_it_has_and_leaves_nothing() -> None:
    session = builders.session()
    opened = builders.apply(session, builders.change())
    still_open = Incident.objects.get(pk=opened.incident_id)
    assert refusal(still_open, "dismissed").code == "incident_open"
    over = closed(session)
    assert refusal(over, "reopened").code == "incident_undecided"
    decide(over, "dismissed")
    again = refusal(over, "confirmed")
    assert (again.code, again.status, again.members) == ("incident_decided", 409, {"state": "dismissed", "version": 3})
    assert Review.objects.count() == 1
    assert SessionTally.objects.get().alert_sequence == Alert.objects.count() == 3


@pytest.mark.django_db
def test_who_has_read_an_older_version_is_told_so() -> None:
    incident = closed()
    decide(incident, "confirmed", version=2)
    decide(incident, "reopened", version=3)
    problem = refusal(incident, "dismissed", version=2)
    assert (problem.code, problem.members) == ("incident_changed", {"state": "reopened", "version": 4})
    decide(incident, "dismissed", version=4)


@pytest.mark.django_db
def test_an_incident_that_was_erased_meanwhile_is_unknown() -> None:
    incident = closed()
    ExamSession.objects.all().delete()
    assert refusal(incident, "confirmed").code == "incident_unknown"


@pytest.mark.django_db
def test_any_sequence_of_decisions_leaves_a_story_without_holes() -> None:
    class Machine(RuleBasedStateMachine):
        """The state machine in five lines, beside the one in the database."""

        def __init__(self) -> None:
            super().__init__()
            self.change = builders.change(finding_id=uuid.uuid4().hex)
            self.session = builders.session()
            builders.apply(self.session, self.change)
            self.state, self.version, self.told = "open", 1, ["opened"]

        @precondition(lambda self: self.state == "open")
        @rule()
        def close(self) -> None:
            builders.apply(self.session, builders.closing(self.change))
            self.state, self.version = "closed", 2
            self.told.append("closed")

        @rule(decision=st.sampled_from(["confirmed", "dismissed", "reopened"]), lag=st.sampled_from([None, 0, 1]))
        def review(self, decision: str, lag: int | None) -> None:
            allowed = {"closed": {"confirmed", "dismissed"}, "reopened": {"confirmed", "dismissed"},
                       "confirmed": {"reopened"}, "dismissed": {"reopened"}, "open": set()}  # fmt: skip
            incident = Incident.objects.get(session=self.session)
            seen = None if lag is None else max(1, self.version - lag)
            try:
                decide(incident, decision, version=seen)
            except Problem:
                assert decision not in allowed[self.state] or seen not in (None, self.version)
                return
            assert decision in allowed[self.state]
            assert seen in (None, self.version)
            self.state, self.version = decision, self.version + 1
            self.told.append(decision)

        @rule()
        def close_again(self) -> None:
            """A worker that repeats its batch changes nothing, whatever people decided meanwhile."""
            if self.state != "open":
                builders.apply(self.session, builders.closing(self.change))

        @invariant()
        def agrees(self) -> None:
            incident = Incident.objects.get(session=self.session)
            alerts = list(Alert.objects.filter(session=self.session).order_by("sequence"))
            assert (incident.state, incident.version) == (self.state, self.version)
            assert [alert.phase for alert in alerts] == self.told
            assert [alert.sequence for alert in alerts] == list(range(1, len(alerts) + 1))
            assert incident.reviews.count() == len(self.told) - min(self.version, 2)
            assert (incident.points == 0) == (self.state == "dismissed")

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=25, stateful_step_count=12, deadline=None, derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip


# --- At once ----------------------------------------------------------------------------------------------------------
def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """Run the calls in threads that start together; return what each returned or raised."""
    barrier = threading.Barrier(len(calls), timeout=20)
    results: list[Any] = [None] * len(calls)

    def run(number: int) -> None:
        try:
            barrier.wait()
            results[number] = calls[number]()
        except Exception as error:  # noqa: BLE001  # the result of this call
            results[number] = error
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return results


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("version", [None, 2])
def test_of_two_people_at_once_one_decides_and_the_other_is_told(version: int | None) -> None:
    session = builders.session()
    for _ in range(8):
        incident = closed(session)
        results = at_once(
            lambda incident=incident: decide(incident, "confirmed", version=version),
            lambda incident=incident: decide(incident, "dismissed", version=version),
        )
        decided = [result for result in results if isinstance(result, Review)]
        refused = [result for result in results if isinstance(result, Problem)]
        assert (len(decided), len(refused)) == (1, 1)
        assert refused[0].code == ("incident_decided" if version is None else "incident_changed")
        incident.refresh_from_db()
        assert (incident.state, incident.version) == (decided[0].decision, 3)
    assert list(Alert.objects.order_by("sequence").values_list("sequence", flat=True)) == list(range(1, 17))


@pytest.mark.django_db(transaction=True)
def test_who_decides_while_a_worker_closes_comes_before_or_after_it() -> None:
    session = builders.session()
    for _ in range(8):
        opened = builders.change(finding_id=uuid.uuid4().hex)
        incident = Incident.objects.get(pk=builders.apply(session, opened).incident_id)
        _, result = at_once(
            lambda opened=opened: builders.apply(session, builders.closing(opened)),
            lambda incident=incident: decide(incident, "dismissed"),
        )
        incident.refresh_from_db()
        if isinstance(result, Problem):
            assert (result.code, incident.state) == ("incident_open", "closed")
        else:
            assert (incident.state, incident.version) == ("dismissed", 3)
            assert incident.ended_at is not None
    sequences = list(Alert.objects.order_by("sequence").values_list("sequence", flat=True))
    assert sequences == list(range(1, len(sequences) + 1))


@pytest.mark.django_db(transaction=True)
def test_workers_and_people_number_a_sessions_alerts_without_holes_or_doubles() -> None:
    """The whole commit of a worker's batch, with its rule states locked, beside people who decide."""
    sessions = [make_session() for _ in range(2)]
    contexts = SessionContexts().get([str(session.id) for session in sessions])
    waiting = [closed(session) for session in sessions for _ in range(12)]
    seen = [[frames(start, start + 4, faces=0), frames(start + 4, start + 8)] for start in range(0, 64, 8)]

    def watch() -> None:
        for gone, back in seen:
            for observations in (gone, back):
                detection_commit({name: SessionBatch(context, observations) for name, context in contexts.items()})

    def review(mine: list[Incident]) -> None:
        for incident in mine:
            decide(incident, "confirmed")
            decide(incident, "reopened")

    results = at_once(watch, lambda: review(waiting[::2]), lambda: review(waiting[1::2]))
    assert results == [None, None, None]
    for session in sessions:
        sequences = list(Alert.objects.filter(session=session).order_by("sequence").values_list("sequence", flat=True))
        assert sequences == list(range(1, 12 + 24 + 16 + 1))
        assert SessionTally.objects.get(session=session).alert_sequence == len(sequences)


# --- What comes next --------------------------------------------------------------------------------------------------
@pytest.mark.django_db
def test_the_queue_goes_through_sessions_by_risk_and_through_a_session_by_time_and_begins_anew() -> None:
    owner = builders.organisation()
    calm, wild = builders.session(owner), builders.session(owner)
    late = closed(wild, EventType.FACE_MISMATCH, started_at=builders.ONSET + 60, ended_at=builders.ONSET + 200)
    early = closed(wild, EventType.NO_FACE)
    small = closed(calm, EventType.NO_FACE)
    closed(calm, EventType.CAMERA_LOST)  # technical: nobody has to decide on it
    builders.apply(calm, builders.change())  # open
    queue = Incident.objects.of(owner)

    assert undecided_after(queue) == early
    assert undecided_after(queue, early) == late
    assert undecided_after(queue, late) == small
    assert undecided_after(queue, small) == early
    decide(early, "dismissed")
    decide(late, "confirmed")
    assert undecided_after(queue, late) == small
    assert undecided_after(queue, small) is None
    assert undecided_after(Incident.objects.of(builders.organisation())) is None


@pytest.mark.django_db
def test_the_queue_reads_from_the_index_of_what_waits() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT indexdef FROM pg_indexes WHERE indexname = 'incident_undecided'")
        (definition,) = cursor.fetchone()
    assert "closed" in definition
    assert "reopened" in definition
    assert "NOT technical" in definition
