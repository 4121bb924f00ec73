"""What nobody looked at is recorded, once."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from detection import gaps as gaps_module
from detection.commit import SessionBatch
from detection.contexts import SessionContexts
from detection.gaps import Dropped, gaps_fill
from detection.messages import Technical
from detection.models import RuleState
from detection.services import observations_commit, session_close
from sessions.models import ExamSession, MediaGap
from sessions.services import session_end
from tests.detection.builders import START, commit, frame, sample_id, sound, technical
from tests.factories import make_session

pytestmark = pytest.mark.django_db
NO_TIME = timedelta(0)


def dropped(
    session: ExamSession, at: float, *, reason: str = "stale", stream: str = "video", name: str = ""
) -> Dropped:
    return Dropped(str(session.id), name or sample_id(), stream, START + at, reason)


def gaps(session: ExamSession) -> list[tuple[str, str, float, float, int]]:
    return [
        (
            gap.stream,
            gap.reason,
            round(gap.started_at.timestamp() - START, 3),
            round(gap.ended_at.timestamp() - START, 3),
            gap.skipped,
        )
        for gap in MediaGap.objects.filter(session=session).order_by("stream", "started_at", "reason")
    ]


def test_samples_dropped_one_after_the_other_are_one_gap() -> None:
    session = make_session()

    commit(session, [], dropped=[dropped(session, 1.0), dropped(session, 1.5)])
    commit(session, [], dropped=[dropped(session, 2.0)])
    commit(session, [], dropped=[dropped(session, 0.5)])

    assert gaps(session) == [("video", "stale", 0.5, 2.0, 4)]


def test_gaps_far_apart_of_another_stream_or_for_another_reason_are_kept_apart() -> None:
    session = make_session()

    commit(session, [], dropped=[dropped(session, 1.0), dropped(session, 1.0, stream="audio")])
    commit(session, [], dropped=[dropped(session, 1.0, reason="missing")])
    commit(session, [], dropped=[dropped(session, 30.0)])

    assert gaps(session) == [
        ("audio", "stale", 1.0, 1.0, 1),
        ("video", "missing", 1.0, 1.0, 1),
        ("video", "stale", 1.0, 1.0, 1),
        ("video", "stale", 30.0, 30.0, 1),
    ]


def test_a_stale_repeat_of_an_analysed_sample_is_no_gap() -> None:
    session, analysed = make_session(), frame(1.0)
    commit(session, [analysed])

    commit(session, [], dropped=[dropped(session, 1.0, name=analysed.sample_id)])

    assert gaps(session) == []


def test_a_gap_that_the_gateway_reports_is_written_once() -> None:
    session = make_session()
    fields = {"until": START + 12.0, "stream": "video", "skipped": 20, "reason": "redis_unavailable"}

    for _ in range(2):
        commit(session, [technical(session, Technical.GAP, 2.0, **fields)])

    assert gaps(session) == [("video", "redis_unavailable", 2.0, 12.0, 20)]


def chained(session: ExamSession, times: list[float], *, without: list[float]) -> None:
    """Commit frames at these times, each naming the one before it; some never arrive."""
    context = SessionContexts().get([str(session.id)])[str(session.id)]
    for previous, at in zip([None, *times], times, strict=False):
        if at in without:
            continue
        observation = replace(frame(at), previous_at=None if previous is None else START + previous)
        observations_commit(batches={str(session.id): SessionBatch(context, [observation])})


def test_frames_that_never_arrived_are_found_by_the_missing_link() -> None:
    session = make_session()
    chained(session, [n / 2 for n in range(20)], without=[3.0, 3.5, 4.0])

    assert gaps_fill(settled=NO_TIME) == 1
    assert gaps_fill(settled=NO_TIME) == 0

    assert gaps(session) == [("video", "lost", 2.5, 4.0, 3)]


def test_a_pause_of_the_camera_is_no_gap() -> None:
    session = make_session()
    chained(session, [0.0, 0.5, 1.0, 31.0, 31.5], without=[])

    assert gaps_fill(settled=NO_TIME) == 0


def test_a_missing_link_within_a_known_gap_is_no_second_gap() -> None:
    session = make_session()
    commit(session, [], dropped=[dropped(session, 3.0), dropped(session, 3.5)])
    chained(session, [2.0, 2.5, 3.0, 3.5, 4.0], without=[3.0, 3.5])

    assert gaps_fill(settled=NO_TIME) == 0
    assert gaps(session) == [("video", "stale", 3.0, 3.5, 2)]


def test_a_message_that_comes_back_stale_after_its_loss_was_noticed_is_not_counted_again() -> None:
    session = make_session()
    chained(session, [2.0, 2.5, 3.0, 3.5, 4.0], without=[3.0, 3.5])
    gaps_fill(settled=NO_TIME)

    commit(session, [], dropped=[dropped(session, 3.0), dropped(session, 3.5)])

    assert gaps(session) == [("video", "lost", 2.5, 3.5, 2)]


def test_windows_that_never_arrived_are_found_too() -> None:
    session = make_session()
    context = SessionContexts().get([str(session.id)])[str(session.id)]
    for end in (1.0, 2.0, 5.0, 6.0):
        window = replace(sound(end), previous_at=None if end == 1.0 else START + end - 1)
        observations_commit(batches={str(session.id): SessionBatch(context, [window])})

    gaps_fill(settled=NO_TIME)

    assert gaps(session) == [("audio", "lost", 2.0, 4.0, 2)]


def test_what_may_still_arrive_is_not_missed_yet() -> None:
    session = make_session()
    chained(session, [0.0, 0.5, 1.0], without=[0.5])

    assert gaps_fill() == 0
    state = RuleState.objects.get(session=session)
    assert state.gaps_checked_at is not None
    assert state.gaps_checked_at < timezone.now() - timedelta(seconds=10)


def test_the_close_of_a_session_looks_for_what_is_missing() -> None:
    session = make_session()
    chained(session, [0.0, 0.5, 1.0, 1.5], without=[0.5])
    session_end(session=session, reason="requested", at=timezone.now())

    session_close(session_id=str(session.id))

    assert gaps(session) == [("video", "lost", 0.0, 0.5, 1)]


def test_what_is_missing_after_a_known_gap_begins_where_that_ends() -> None:
    session = make_session()
    commit(session, [], dropped=[dropped(session, 1.0), dropped(session, 1.5)])
    chained(session, [1.0, 1.5, 2.0, 2.5, 3.0, 3.5], without=[1.0, 1.5, 2.0, 2.5, 3.0])

    gaps_fill(settled=NO_TIME)

    assert gaps(session) == [("video", "stale", 1.0, 1.5, 2), ("video", "lost", 1.5, 3.0, 3)]


def test_many_sessions_are_looked_at_in_transactions_of_a_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gaps_module, "_CHUNK", 2)
    sessions = [make_session() for _ in range(5)]
    for session in sessions:
        chained(session, [n / 2 for n in range(20)], without=[3.0])
    looked_at: list[list[str]] = []
    fill = gaps_module.gaps_fill_sessions

    def noted(*, session_ids: list[str], until: Any) -> int:
        looked_at.append(session_ids)
        return fill(session_ids=session_ids, until=until)

    monkeypatch.setattr(gaps_module, "gaps_fill_sessions", noted)
    assert gaps_fill(settled=NO_TIME) == 5
    assert [len(chunk) for chunk in looked_at] == [2, 2, 1]
    assert sorted(name for chunk in looked_at for name in chunk) == sorted(str(session.id) for session in sessions)
