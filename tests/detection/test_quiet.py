"""Sessions from which nothing comes: waiting rules come true, a dead gateway is noticed, ended sessions are closed."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.redis_client import get_redis
from detection import quiet, services
from detection.messages import Technical
from detection.models import RuleState
from detection.quiet import LOST_AFTER_S, queue_up_for_s, sessions_due
from sessions.models import ExamSession
from sessions.services import session_end
from tests.detection.builders import START, commit, frame, frames, sound, story, technical
from tests.factories import make_session

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_client")]
State = ExamSession.State


def let_pass(session: ExamSession, seconds: float) -> None:
    """Make the last sample's arrival so much older, and the session due."""
    state = RuleState.objects.get(session=session)
    assert state.last_sample_at is not None
    RuleState.objects.filter(session=session).update(
        last_sample_at=state.last_sample_at - timedelta(seconds=seconds), due_at=timezone.now()
    )


def sweeping_for(seconds: float) -> None:
    """Make it so that sweeps have come without a pause for so long."""
    get_redis().set(quiet._SWEEPING_KEY, time.time() - seconds, ex=8)


def test_nothing_due_costs_one_query() -> None:
    for _ in range(3):
        commit(make_session(), [frame(0)])

    with CaptureQueriesContext(connection) as captured:
        assert services.sessions_sweep() == 0

    assert len(captured) == 1


def test_the_query_reads_running_sessions_only() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("EXPLAIN " + quiet._DUE, {"now": timezone.now(), "ended_before": timezone.now()})
        plan = "\n".join(line for (line,) in cursor.fetchall())

    assert "rule_state_running" in plan
    assert "Seq Scan" not in plan  # on tables this small, which partial index of ended sessions serves is a coin's toss


def test_a_session_is_due_two_seconds_after_its_last_sample() -> None:
    session = make_session()
    commit(session, [frame(time.time() - START)])
    now = timezone.now()

    assert sessions_due(now + timedelta(seconds=1.8)).quiet == []
    assert sessions_due(now + timedelta(seconds=2.3)).quiet == [str(session.id)]


def test_a_lost_connection_becomes_an_incident_though_nothing_comes_any_more() -> None:
    session = make_session()
    commit(session, [technical(session, Technical.PEER_CONNECTED, 0), *frames(0.1, 3.1)])
    commit(session, [technical(session, Technical.PEER_LOST, 3.2)])
    services.sessions_sweep()
    assert story(session) == []

    let_pass(session, 4)
    services.sessions_sweep()

    assert story(session) == [("CONNECTION_LOST", 3.2, 5.2, None)]


def test_what_waits_for_later_samples_is_decided_when_none_come() -> None:
    session = make_session()
    commit(session, [*frames(0, 2, faces=0), *frames(2.5, 3.4, faces=0)])  # the one at 2.0 may still come
    assert story(session) == []

    let_pass(session, 3)
    services.sessions_sweep()

    assert story(session) == [("NO_FACE", 0.0, 3.0, None)]


def test_a_gateway_that_died_without_a_word_is_a_lost_connection() -> None:
    session = make_session()
    commit(session, [technical(session, Technical.PEER_CONNECTED, 0), *frames(0.1, 3.1), sound(3.0)])

    sweeping_for(60)
    let_pass(session, LOST_AFTER_S - 1)
    services.sessions_sweep()
    session.refresh_from_db()
    assert session.state == State.LIVE

    let_pass(session, 1)
    services.sessions_sweep()
    let_pass(session, 0)
    services.sessions_sweep()

    session.refresh_from_db()
    assert session.state == State.INTERRUPTED
    assert story(session) == [("CONNECTION_LOST", 3.0, 5.0, None)]


def test_samples_after_that_make_the_session_live_again_and_close_the_incident() -> None:
    session = make_session()
    commit(session, [technical(session, Technical.PEER_CONNECTED, 0), *frames(0.1, 3.1)])
    sweeping_for(60)
    let_pass(session, LOST_AFTER_S + 5)
    services.sessions_sweep()

    commit(session, frames(30, 33))

    session.refresh_from_db()
    assert session.state == State.LIVE
    assert [(event, end) for event, _, _, end in story(session)] == [("CONNECTION_LOST", 30.0)]


def test_after_a_pause_of_the_queue_nobody_is_taken_for_lost() -> None:
    session = make_session()
    commit(session, [technical(session, Technical.PEER_CONNECTED, 0), *frames(0.1, 3.1)])
    let_pass(session, 40)

    services.sessions_sweep()  # the first sweep since workers or Redis came back

    session.refresh_from_db()
    assert session.state == State.LIVE


def test_the_queue_counts_as_back_only_from_the_first_sweep_on() -> None:
    redis = get_redis()

    assert queue_up_for_s(redis, 1000.0) == 0.0
    assert queue_up_for_s(redis, 1002.0) == 2.0
    redis.delete(quiet._SWEEPING_KEY)  # as its TTL does while no sweep runs
    assert queue_up_for_s(redis, 1020.0) == 0.0


def test_a_sample_that_arrives_meanwhile_calls_the_sweep_off() -> None:
    session = make_session()
    commit(session, [technical(session, Technical.PEER_CONNECTED, 0), *frames(0.1, 3.1)])
    sweeping_for(60)
    let_pass(session, 60)
    contexts = services._contexts.get([str(session.id)])
    batches = dict(quiet.quiet_batches(contexts, now=timezone.now(), up_for_s=60))
    assert len(batches[str(session.id)].observations) == 1

    commit(session, [frame(3.2)])
    assert services.observations_commit(batches=batches) == []

    session.refresh_from_db()
    assert session.state == State.LIVE


def test_a_quiet_session_is_visited_ever_more_seldom() -> None:
    session = make_session()
    commit(session, [frame(0)])

    def pause_after(seconds: float) -> float:
        let_pass(session, seconds)
        now = timezone.now()
        services.sessions_sweep()
        due_at = RuleState.objects.get(session=session).due_at
        assert due_at is not None
        return (due_at - now).total_seconds()

    assert pause_after(4) == pytest.approx(2, abs=0.2)
    assert pause_after(36) == pytest.approx(10, abs=0.3)
    assert pause_after(600) == pytest.approx(30, abs=0.2)


def test_an_ended_session_whose_message_was_lost_is_closed_by_the_sweep() -> None:
    session = make_session()
    commit(session, frames(0, 5, faces=0))
    session_end(session=session, reason="requested", at=timezone.now() - timedelta(seconds=2))

    assert services.sessions_sweep() >= 1

    session.refresh_from_db()
    assert session.closed_at is not None
    assert [end is not None for *_, end in story(session)] == [True]
    assert sessions_due(timezone.now() + timedelta(days=1)).quiet == []


def test_one_session_that_cannot_be_closed_does_not_keep_others_open(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = [make_session() for _ in range(2)]
    for session in sessions:
        commit(session, [frame(0)])
        session_end(session=session, reason="requested", at=timezone.now() - timedelta(seconds=2))
    close = services.session_close

    def fail_for_one(*, session_id: str) -> bool:
        if session_id == str(sessions[0].id):
            raise RuntimeError("broken")
        return close(session_id=session_id)

    monkeypatch.setattr(services, "session_close", fail_for_one)
    services.sessions_sweep()

    for session in sessions:
        session.refresh_from_db()
    assert [session.closed_at is not None for session in sessions] == [False, True]
