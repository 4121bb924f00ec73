"""After a commit: a short summary for those who watch, hints for other workers. Nothing of it may hurt."""

from __future__ import annotations

from typing import Any

import pytest
from redis import ConnectionError as RedisConnectionError
from redis import Redis

from detection import announce
from detection.announce import outcomes_announce, summary
from detection.commit import SessionOutcome
from detection.contexts import SessionContexts
from detection.messages import attentive_key
from sessions.models import ExamSession
from tests.detection.builders import START, commit, frame, frames, sound
from tests.factories import make_session

pytestmark = pytest.mark.django_db


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    monkeypatch.setattr(announce, "broadcast", lambda _session_id, message: messages.append(message))
    return messages


def outcome(session: ExamSession, *observations: Any, attentive: bool = False) -> SessionOutcome:
    context = SessionContexts().get([str(session.id)])[str(session.id)]
    return SessionOutcome(context, list(observations), alerts=0, attentive=attentive, state_changed=False)


def test_a_summary_has_the_newest_measures_of_each_stream() -> None:
    observations = [frame(1.0, faces=2), frame(0.5, faces=0), frame(1.5, similarity=0.91), sound(1.0, share=0.25)]

    assert summary(observations) == {
        "video": {
            "captured_at": START + 1.5,
            "faces": 1,
            "boxes_xyxy": [[100, 100, 250, 280]],
            "similarity": 0.91,
            "decided": True,
        },
        "audio": {"captured_at": START + 1.0, "speech_share": 0.25, "rms_dbfs": -50.0},
    }


def test_a_session_s_summary_is_told_at_most_twice_a_second(
    told: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    session, other = make_session(), make_session()
    now = [50.0]
    monkeypatch.setattr(announce.time, "monotonic", lambda: now[0])

    for step in range(10):
        now[0] = 50 + step * 0.2
        outcomes_announce([outcome(session, frame(step)), outcome(other, frame(step))])

    assert len(told) == 2 * 4  # at 0, 0.6, 1.2 and 1.8 s
    assert {message["type"] for message in told} == {"detections"}


def test_a_change_of_state_is_told_at_once(told: list[dict[str, Any]]) -> None:
    commit(make_session(), [frame(0)])

    assert [message["type"] for message in told] == ["state", "detections"]


def test_a_doubt_about_the_face_reaches_every_worker(redis_client: Redis) -> None:
    doubtful, calm = make_session(), make_session()

    commit(doubtful, frames(0, 2, similarity=0.3))
    commit(calm, frames(0, 2, similarity=0.95))

    assert redis_client.exists(attentive_key(str(doubtful.id)))
    assert 0 < redis_client.ttl(attentive_key(str(doubtful.id))) <= announce.ATTENTIVE_TTL_S
    assert not redis_client.exists(attentive_key(str(calm.id)))


def test_a_redis_that_is_away_is_no_error(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def away() -> Redis:
        raise RedisConnectionError("refused")

    monkeypatch.setattr(announce, "get_redis", away)

    outcomes_announce([outcome(make_session(), frame(0), attentive=True)])

    assert "Redis does not take the hint" in caplog.text
