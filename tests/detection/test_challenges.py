"""A challenge from the page's click to what the socket tells: through queue, rules and database."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from redis import Redis

from alerts import feed
from alerts.live_access import Hears, Viewer
from detection.engine.observations import BROWSER, Observation
from sessions.models import Challenge, ExamSession
from tests.detection.builders import START, commit, frame, sample_id
from tests.factories import make_session

pytestmark = pytest.mark.django_db

CHALLENGE_ID = "6f0c6a52-7f6e-4b57-9d6c-8f6ad0f6c111"


def page(at: float, kind: str, **details: object) -> Observation:
    return Observation(sample_id(), BROWSER, START + at, {BROWSER: {"kind": kind, "ended": False, **details}})


def turned(at: float, yaw_deg: float) -> Observation:
    observation = frame(at, head_pose={"yaw_deg": yaw_deg, "pitch_deg": 0.0, "roll_deg": 0.0})
    observation.measures["faces"]["width_px"] = 150.0
    return observation


@pytest.fixture
def session(redis_client: Redis) -> ExamSession:
    session = make_session()
    steps = [{"prompt": "turn_left", "result": "open", "shown_at": None, "done_at": None}]
    Challenge.objects.create(
        id=CHALLENGE_ID,
        organisation=session.organisation,
        session=session,
        expires_at=timezone.now() + timedelta(minutes=1),
        steps=steps,
    )
    return session


def test_what_the_frames_show_is_written_to_the_session_and_told(session: ExamSession) -> None:
    viewer = Viewer(session, is_candidate=True, hears=Hears.TECHNICAL, sees_pictures=False)
    position = feed.start(viewer, None)
    news = feed.read(viewer, position)
    assert [message["type"] for message in news.messages] == ["state", "challenge"]
    position.state, position.challenge = news.state, news.challenge
    issued = page(0, "CHALLENGE", challenge_id=CHALLENGE_ID, prompts=["turn_left"], expires_at=START + 40)
    commit(session, [issued, *(turned(k / 2, 0.0) for k in range(8))])
    (outcome,) = commit(session, [page(4, "CHALLENGE_STEP", challenge_id=CHALLENGE_ID, step=0)])
    news = feed.read(viewer, position)
    assert [message["type"] for message in news.messages] == ["state"]
    position.state = news.state
    (outcome,) = commit(session, [turned(k / 2, 25.0 if k > 9 else 0.0) for k in range(8, 16)])
    assert outcome.state_changed  # which wakes the sockets
    challenge = Challenge.objects.get(pk=CHALLENGE_ID)
    assert challenge.outcome == "passed"
    assert challenge.steps == [{"prompt": "turn_left", "result": "done", "shown_at": START + 4, "done_at": START + 5.5}]
    (message,) = feed.read(viewer, position).messages
    assert (message["type"], message["data"]["outcome"]) == ("challenge", "passed")
    (outcome,) = commit(session, [turned(k / 2, 0.0) for k in range(16, 20)])
    assert not outcome.state_changed
