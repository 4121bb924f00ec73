"""What an exam's page tells of itself: taken, dated, queued, and what the worker makes of it."""

from __future__ import annotations

import base64
import json
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone
from redis import Redis
from rest_framework.test import APIClient

from accounts.models import Organisation, Scope
from alerts.models import Alert, Incident
from detection import services, tasks
from detection.messages import QUEUE_AUDIO, TASK_NOTE_BROWSER
from detection.models import Detection, RuleState
from sessions.joining import join_token_mint
from sessions.models import ExamSession, MediaGap
from tests.detection.builders import commit, technical
from tests.factories import make_api_key, make_session
from tests.sessions.conftest import joining

pytestmark = pytest.mark.django_db


def queued(redis_client: Redis) -> list[dict[str, Any]]:
    """Return the keyword arguments of the pages' messages on the queue, the oldest first."""
    messages = [json.loads(raw) for raw in redis_client.lrange(QUEUE_AUDIO, 0, -1)]  # type: ignore[union-attr]
    bodies = [json.loads(base64.b64decode(m["body"])) for m in messages if m["headers"]["task"] == TASK_NOTE_BROWSER]
    return [body[1] for body in reversed(bodies)]


def tell(session: ExamSession, *events: dict[str, Any], client: APIClient | None = None, **body: Any) -> Any:
    client = client or joining(join_token_mint(session))
    return client.post(f"/api/v1/session/{session.id}/events", body | {"events": list(events)}, format="json")


def work(redis_client: Redis) -> None:
    """Do what waits on the queue, as the worker does."""
    waiting = queued(redis_client)
    assert waiting
    redis_client.delete(QUEUE_AUDIO)
    for message in waiting:
        tasks.note_browser(**message)


def told(session: ExamSession) -> list[tuple[str, str, float | None]]:
    rows = Incident.objects.filter(session=session).order_by("started_at")
    return [(i.event_type, i.state, None if i.ended_at is None else i.ended_at.timestamp()) for i in rows]


def test_what_the_page_tells_becomes_incidents_with_alerts(organisation: Organisation, redis_client: Redis) -> None:
    session, now = make_session(organisation, session_id="s-1"), time.time()
    events = [
        {"type": "TAB_HIDDEN", "at": now - 60},
        {"type": "WINDOW_BLUR", "at": now - 59.99},
        {"type": "TAB_HIDDEN", "at": now - 40, "ended": True},
        {"type": "WINDOW_BLUR", "at": now - 39.9, "ended": True},
        {"type": "CLIPBOARD", "at": now - 20, "action": "paste"},
    ]
    response = tell(session, *events, now=now)
    assert (response.status_code, response.json()) == (202, {"accepted": 5})
    work(redis_client)
    services.sessions_sweep()
    RuleState.objects.update(due_at=timezone.now() - timedelta(seconds=1))
    services.sessions_sweep()  # no media comes: time passes by the sweep
    assert told(session) == [
        ("TAB_HIDDEN", "closed", pytest.approx(now - 40, abs=0.5)),
        ("CLIPBOARD", "closed", pytest.approx(now - 20, abs=0.5)),
    ]
    incident = Incident.objects.get(session=session, event_type="CLIPBOARD")
    assert (incident.technical, incident.model) == (False, "exam-page")
    assert incident.measures["onset"] == {"browser": {"kind": "CLIPBOARD", "ended": False, "action": "paste"}}
    alerts = Alert.objects.filter(session=session).order_by("sequence")
    assert [alert.payload["event_type"] for alert in alerts] == ["TAB_HIDDEN", "TAB_HIDDEN", "CLIPBOARD", "CLIPBOARD"]
    assert Detection.objects.filter(session=session, stream="browser").count() == 5


def test_a_page_that_talks_makes_no_session_live_and_no_gap(organisation: Organisation, redis_client: Redis) -> None:
    session = make_session(organisation)
    tell(session, {"type": "CLIPBOARD", "at": time.time()})
    work(redis_client)
    session.refresh_from_db()
    assert session.state == "created"
    tell(session, {"type": "CLIPBOARD", "at": time.time()})
    ExamSession.objects.filter(pk=session.pk).update(
        state="ended", ended_at=timezone.now() + timedelta(seconds=5), closed_at=timezone.now()
    )
    RuleState.objects.update(closed=True)
    work(redis_client)
    assert not MediaGap.objects.exists()


def test_a_page_that_talks_does_not_hide_that_the_gateway_is_silent(
    organisation: Organisation, redis_client: Redis
) -> None:
    session = make_session(organisation)
    commit(session, [technical(session, "peer_connected", 0)])  # type: ignore[arg-type]
    before = RuleState.objects.get(session=session)
    tell(session, {"type": "TAB_HIDDEN", "at": time.time()})
    work(redis_client)
    after = RuleState.objects.get(session=session)
    assert (after.last_sample_at, after.newest_at) == (before.last_sample_at, before.newest_at)


def test_a_wrong_clock_is_corrected(organisation: Organisation, redis_client: Redis) -> None:
    session, page_now = make_session(organisation), datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC)
    events = [{"type": "TAB_HIDDEN", "at": (page_now - timedelta(seconds=7)).isoformat()}]
    assert tell(session, *events, now=page_now.isoformat()).status_code == 202
    (event,) = queued(redis_client)[0]["events"]
    assert event["at"] == pytest.approx(time.time() - 7, abs=2)


def test_two_of_a_kind_at_one_time_stay_in_order(organisation: Organisation, redis_client: Redis) -> None:
    session, now = make_session(organisation), time.time()
    tell(session, {"type": "TAB_HIDDEN", "at": now - 3}, {"type": "TAB_HIDDEN", "at": now - 3, "ended": True}, now=now)
    first, second = queued(redis_client)[0]["events"]
    assert (first["ended"], second["ended"]) == (False, True)
    assert first["at"] < second["at"]


def test_the_same_told_again_has_the_same_id(organisation: Organisation, redis_client: Redis) -> None:
    session, event = make_session(organisation), {"type": "TAB_HIDDEN", "at": time.time() - 1}
    tell(session, event)
    tell(session, event)
    tell(make_session(organisation), event)
    ids = [message["events"][0]["event_id"] for message in queued(redis_client)]
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize("age_s", [3700, -60])
def test_an_event_too_old_or_ahead_is_refused(organisation: Organisation, redis_client: Redis, age_s: float) -> None:
    now = time.time()
    good, bad = {"type": "CLIPBOARD", "at": now}, {"type": "CLIPBOARD", "at": now - age_s}
    response = tell(make_session(organisation), good, bad, now=now)
    assert (response.status_code, response.json()["code"]) == (422, "event_time_invalid")
    assert response.json()["events"] == [1]
    assert queued(redis_client) == []


def test_an_unknown_type_is_named(organisation: Organisation) -> None:
    response = tell(make_session(organisation), {"type": "NO_FACE", "at": time.time()})
    assert (response.status_code, response.json()["code"]) == (422, "event_type_unknown")
    assert response.json()["unknown"] == ["NO_FACE"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"events": []},
        {"events": [{"type": "CLIPBOARD", "at": 1.0}] * 101},
        {"events": [{"type": "CLIPBOARD"}]},
        {"events": [{"at": 1.0}]},
        {"events": [{"type": "CLIPBOARD", "at": "yesterday"}]},
        {"events": [{"type": "CLIPBOARD", "at": True}]},
        {"events": [{"type": "CLIPBOARD", "at": 1.0, "action": "sing"}]},
        {"events": "CLIPBOARD"},
    ],
)
def test_a_body_that_is_none_is_refused(organisation: Organisation, body: dict[str, Any]) -> None:
    session = make_session(organisation)
    response = joining(join_token_mint(session)).post(f"/api/v1/session/{session.id}/events", body, format="json")
    assert (response.status_code, response.json()["code"]) == (400, "request_invalid")


def test_not_after_the_end(organisation: Organisation) -> None:
    session = make_session(organisation, state="ended", ended_at=timezone.now())
    response = tell(session, {"type": "CLIPBOARD", "at": time.time()})
    assert (response.status_code, response.json()["code"]) == (409, "session_ended")


def test_who_may_tell(client: APIClient, organisation: Organisation, redis_client: Redis) -> None:
    session, event = make_session(organisation, session_id="s-1"), {"type": "CLIPBOARD", "at": time.time()}
    assert tell(session, event, client=client).status_code == 202
    other = joining(join_token_mint(make_session(organisation)))
    response = tell(session, event, client=other)
    assert (response.status_code, response.json()["code"]) == (403, "token_wrong_session")
    _, raw = make_api_key(organisation, scopes=[Scope.ENROLL])
    response = tell(session, event, client=APIClient(HTTP_AUTHORIZATION=f"Bearer {raw}"))
    assert (response.status_code, response.json()["code"]) == (403, "scope_missing")
    response = client.post(f"/api/v1/session/{uuid.uuid4()}/events", {"events": [event]}, format="json")
    assert (response.status_code, response.json()["code"]) == (404, "session_unknown")
    assert len(queued(redis_client)) == 1


def test_without_the_queue_the_page_is_told_to_come_again(organisation: Organisation, monkeypatch: Any) -> None:
    from celery import current_app
    from kombu.exceptions import OperationalError

    def refuse(*_: Any, **__: Any) -> None:
        raise OperationalError("refused")

    monkeypatch.setattr(current_app, "send_task", refuse)
    response = tell(make_session(organisation), {"type": "CLIPBOARD", "at": time.time()})
    assert (response.status_code, response.json()["code"]) == (503, "queue_unavailable")


def test_requests_are_limited_per_session(organisation: Organisation, client: APIClient, settings: Any) -> None:
    settings.RATE_LIMITS = settings.RATE_LIMITS | {"events": "2/h"}
    first, second = make_session(organisation), make_session(organisation)
    event = {"type": "CLIPBOARD", "at": time.time()}
    answers = [tell(each, event, client=client).status_code for each in (first, first, second, first)]
    assert answers == [202, 202, 202, 429]
