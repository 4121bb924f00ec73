"""The challenge at check-in: who may begin one, what is drawn, and what is shown of it to whom."""

from __future__ import annotations

import random
import uuid
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from redis import Redis
from rest_framework.test import APIClient

from accounts.models import Organisation
from detection.engine.challenge import TURNS, Prompt
from sessions.challenges import TRIES, WITHIN, challenge_begin, challenge_note
from sessions.joining import join_token_mint
from sessions.models import Challenge, ExamSession
from tests.factories import make_session, make_user
from tests.sessions.conftest import joining
from tests.sessions.test_page_events import queued

pytestmark = pytest.mark.django_db


def begin(session: ExamSession, client: APIClient | None = None) -> Any:
    client = client or joining(join_token_mint(session))
    return client.post(f"/api/v1/session/{session.id}/challenge")


def test_the_page_gets_movements_and_the_workers_hear_of_the_same(
    organisation: Organisation, redis_client: Redis
) -> None:
    session = make_session(organisation, overrides={"check_in": {"step_s": 12}})
    response = begin(session)
    body = response.json()
    assert response.status_code == 201
    assert (body["outcome"], body["step_s"]) == ("running", 12)
    prompts = [step["prompt"] for step in body["steps"]]
    assert len(set(prompts)) == 3
    untouched = {"result": "open", "shown_at": None, "done_at": None}
    assert body["steps"] == [{"prompt": prompt, **untouched} for prompt in prompts]
    (message,) = queued(redis_client)
    (event,) = message["events"]
    assert (message["session_id"], event["kind"]) == (str(session.id), "CHALLENGE")
    assert event["details"]["challenge_id"] == body["challenge_id"]
    assert event["details"]["prompts"] == prompts
    challenge = Challenge.objects.get(session=session)
    assert event["details"]["expires_at"] == challenge.expires_at.timestamp()
    assert timedelta(seconds=40) < challenge.expires_at - challenge.issued_at < timedelta(seconds=90)


def test_what_is_drawn_differs_and_always_has_a_turn_of_the_head(
    organisation: Organisation, redis_client: Redis
) -> None:
    drawn: Counter[tuple[str, ...]] = Counter()
    for seed in range(60):
        session = make_session(organisation)
        challenge = challenge_begin(session=session, draw=random.Random(seed))
        drawn[tuple(step["prompt"] for step in challenge.steps)] += 1
    assert len(drawn) > 25
    assert all(TURNS & set(prompts) for prompts in drawn)
    assert {prompts[0] for prompts in drawn} == set(Prompt)


@pytest.mark.parametrize("steps", [1, 2.9, 5])
def test_as_many_as_the_policy_says(organisation: Organisation, redis_client: Redis, steps: float) -> None:
    session = make_session(organisation, overrides={"check_in": {"steps": steps}})
    assert len(begin(session).json()["steps"]) == int(steps)


def test_tries_are_few(organisation: Organisation, redis_client: Redis) -> None:
    session = make_session(organisation)
    answers = [begin(session) for _ in range(TRIES + 1)]
    assert [answer.status_code for answer in answers] == [201] * TRIES + [409]
    assert answers[-1].json()["code"] == "challenge_closed"
    assert len(queued(redis_client)) == TRIES


def test_who_has_passed_is_not_asked_again(organisation: Organisation, redis_client: Redis) -> None:
    session = make_session(organisation)
    challenge_note(challenge_id=begin(session).json()["challenge_id"], outcome="passed", steps=[])
    assert begin(session).json()["code"] == "challenge_closed"


@pytest.mark.parametrize(
    "fields",
    [
        {"overrides": {"check_in": {"enabled": False}}},
        {"live_at": timezone.now() - WITHIN - timedelta(seconds=1)},
    ],
    ids=["switched off", "under way"],
)
def test_there_is_none_where_the_policy_has_none_and_later_on(
    organisation: Organisation, redis_client: Redis, fields: dict[str, Any]
) -> None:
    session = make_session(organisation, **fields)
    client = joining(join_token_mint(session))
    assert client.get(f"/api/v1/session/{session.id}").json()["check_in"] is False
    assert (begin(session).status_code, begin(session).json()["code"]) == (409, "challenge_closed")
    assert queued(redis_client) == []


def test_not_after_the_end(organisation: Organisation, redis_client: Redis) -> None:
    session = make_session(organisation, state="ended", ended_at=timezone.now())
    assert (begin(session).status_code, begin(session).json()["code"]) == (409, "session_ended")


def test_only_the_candidate_begins_one(client: APIClient, organisation: Organisation, redis_client: Redis) -> None:
    session, other = make_session(organisation), make_session(organisation)
    assert begin(session, client).status_code in {401, 403}
    assert begin(session, joining(join_token_mint(other))).json()["code"] == "token_wrong_session"
    assert not Challenge.objects.exists()


def test_without_the_queue_nothing_has_begun(organisation: Organisation, monkeypatch: Any) -> None:
    from celery import current_app
    from kombu.exceptions import OperationalError

    def refuse(*_: Any, **__: Any) -> None:
        raise OperationalError("refused")

    monkeypatch.setattr(current_app, "send_task", refuse)
    response = begin(make_session(organisation))
    assert (response.status_code, response.json()["code"]) == (503, "queue_unavailable")
    assert not Challenge.objects.exists()


def test_platforms_see_every_try_with_its_times(
    client: APIClient, organisation: Organisation, redis_client: Redis
) -> None:
    session = make_session(organisation)
    read = lambda: client.get(f"/api/v1/session/{session.id}").json()["check_in"]  # noqa: E731
    assert read() == {"outcome": "not_done", "tries": []}
    ids = [begin(session).json()["challenge_id"] for _ in range(2)]
    steps = [{"prompt": "turn_left", "result": "done", "shown_at": 1_790_000_000.5, "done_at": 1_790_000_002.0}]
    challenge_note(challenge_id=ids[0], outcome="failed", steps=[steps[0] | {"result": "missed", "done_at": None}])
    assert read()["outcome"] == "running"
    challenge_note(challenge_id=ids[1], outcome="passed", steps=steps)
    found = read()
    assert (found["outcome"], [each["outcome"] for each in found["tries"]]) == ("passed", ["failed", "passed"])
    assert found["tries"][1]["steps"] == [
        {
            "prompt": "turn_left",
            "result": "done",
            "shown_at": "2026-09-21T14:13:20.500000Z",
            "done_at": "2026-09-21T14:13:22Z",
        }
    ]


def test_one_that_nobody_hears_of_any_more_is_unfinished(
    client: APIClient, organisation: Organisation, redis_client: Redis
) -> None:
    session = make_session(organisation)
    begin(session)
    Challenge.objects.update(expires_at=timezone.now() - timedelta(seconds=16))
    assert client.get(f"/api/v1/session/{session.id}").json()["check_in"]["outcome"] == "unfinished"


def test_an_accommodation_exempts(client: APIClient, organisation: Organisation, redis_client: Redis) -> None:
    candidate = make_session(organisation).candidate
    candidate.accommodations = {"check_in": {"enabled": False}}
    candidate.save()
    session = make_session(candidate=candidate)
    assert client.get(f"/api/v1/session/{session.id}").json()["check_in"]["outcome"] == "off"
    assert begin(session).json()["code"] == "challenge_closed"


def test_a_challenge_that_is_not_ours_is_not_noted(organisation: Organisation) -> None:
    assert not challenge_note(challenge_id=str(uuid.uuid4()), outcome="passed", steps=[])


def test_proctors_see_it_on_the_sessions_page(organisation: Organisation, redis_client: Redis, client: Any) -> None:
    session, browser = make_session(organisation), Client()
    browser.force_login(make_user(organisation, superuser=True))
    address = f"/admin/exam_sessions/examsession/{session.pk}/change/"
    assert "Not done. Nobody has to." in browser.get(address).content.decode()
    steps = [
        {"prompt": "turn_left", "result": "done", "shown_at": 10.0, "done_at": 12.3},
        {"prompt": "look_up", "result": "missed", "shown_at": 14.0, "done_at": None},
    ]
    challenge_note(challenge_id=begin(session).json()["challenge_id"], outcome="failed", steps=steps)
    page = browser.get(address).content.decode()
    assert "Not passed" in page
    assert "head to their left: seen after 2.3 s; look up: not seen" in page
