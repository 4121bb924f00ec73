"""The voice learnt in a session lies sealed in the database, goes on being known, and goes with the data key."""

from __future__ import annotations

import dataclasses
import json

import pytest

from accounts.keys import data_key_create
from detection.engine.observations import Observation
from detection.models import RuleState
from sessions.models import ExamSession
from tests.detection.builders import commit, sound
from tests.factories import make_enrolled_candidate, make_session

VOICE = [17 + (31 * place) % 97 for place in range(256)]
MARK = json.dumps(VOICE)[1:60]

pytestmark = pytest.mark.django_db


def speaking(at: float) -> Observation:
    heard = sound(at, share=0.9)
    voice = {"seconds": 2.0, "same": None, "embedding": VOICE}
    return dataclasses.replace(heard, measures={**heard.measures, "voice": voice})


@pytest.fixture
def session() -> ExamSession:
    found = make_session(candidate=make_enrolled_candidate(embedding=None))
    found.policy = found.policy | {
        "rules": found.policy["rules"] | {"UNKNOWN_VOICE": found.policy["rules"]["UNKNOWN_VOICE"] | {"enabled": True}}
    }
    found.save()
    assert found.candidate.data_key is not None
    return found


def stored(session: ExamSession) -> dict:
    return RuleState.objects.get(session=session).state


def hear(session: ExamSession, first: int, last: int) -> None:
    commit(session, [speaking(second + 0.02) for second in range(first, last)])


def test_no_voice_lies_open_and_what_was_learnt_is_known_later(session: ExamSession) -> None:
    hear(session, 0, 5)
    hear(session, 5, 9)

    state = stored(session)
    assert MARK not in json.dumps(state)
    assert state["sealed_voices"]
    assert state["memory"]["voices"]["count"] >= 3
    assert "learnt" not in state["memory"]["voices"]
    pending = [observation["measures"]["voice"]["embedding"] for observation in state["pending"]]
    assert pending
    assert not any(pending)


def test_under_another_key_the_voice_is_forgotten_and_the_session_goes_on(session: ExamSession) -> None:
    hear(session, 0, 9)
    before = stored(session)["memory"]["voices"]["count"]
    candidate = session.candidate
    candidate.data_key = data_key_create(organisation=session.organisation)
    candidate.save()

    hear(session, 9, 12)

    known = stored(session)["memory"].get("voices", {})
    assert known.get("count", 0) < before


def test_without_a_data_key_no_voice_is_kept(session: ExamSession) -> None:
    candidate = session.candidate
    candidate.data_key = None
    candidate.save()

    hear(session, 0, 9)

    state = stored(session)
    assert MARK not in json.dumps(state)
    assert "sealed_voices" not in state
    assert "voices" not in state["memory"]
