"""What tasks do beyond calling one service: parse, wait, try again."""

from __future__ import annotations

import time
import uuid
from typing import Any

import pytest
from celery.exceptions import Retry
from django.conf import settings
from django.db import OperationalError

from detection import messages, services, tasks
from detection.messages import CloseMessage, FrameMessage, Technical, TechnicalMessage
from proctor_site.celery import app
from sessions.models import ExamSession
from tests.detection.builders import START
from tests.factories import make_session


def test_every_task_has_the_name_that_others_send_it_by_and_a_queue() -> None:
    app.loader.import_default_modules()
    sent = {value for name, value in vars(messages).items() if name.startswith("TASK_")}

    assert sent == {name for name in app.tasks if name in sent}
    assert set(settings.CELERY_TASK_ROUTES) >= sent
    scheduled = {entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values()}
    assert {"detection.sweep", "detection.fill_gaps", "detection.make_partitions"} <= scheduled
    assert scheduled <= set(app.tasks)


FRAME = {"frame_id": "f", "key": "k", "captured_at": 1.0, "previous_captured_at": None, "deadline": 1.0}


@pytest.mark.parametrize(
    "data", [{}, {"session_id": "x"}, FRAME | {"session_id": "no uuid"}, FRAME | {"session_id": None}]
)
def test_a_malformed_message_is_reported_and_the_others_are_taken(
    data: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    good = FrameMessage(str(uuid.uuid4()), "f", "k", 1.0, None, 2.0)

    assert tasks._messages(FrameMessage, [data, good.to_dict()]) == [good]
    assert "malformed" in caplog.text


@pytest.mark.django_db
def test_a_technical_message_reaches_the_session() -> None:
    session = make_session()
    message = TechnicalMessage(str(session.id), Technical.PEER_CONNECTED, START, peer_id="p")

    tasks.note_technical(**message.to_dict())

    session.refresh_from_db()
    assert session.state == ExamSession.State.LIVE


@pytest.mark.django_db
def test_a_technical_message_about_nobody_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    message = TechnicalMessage(str(uuid.uuid4()), Technical.PEER_LOST, START)

    tasks.note_technical(**message.to_dict())

    assert "which does not exist" in caplog.text


@pytest.mark.django_db
def test_a_technical_message_is_tried_again_while_the_database_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(**_: object) -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr(services, "technical_note", away)
    message = TechnicalMessage(str(uuid.uuid4()), Technical.PEER_LOST, START)

    with pytest.raises(Retry) as caught:
        tasks.note_technical.apply(kwargs=message.to_dict(), throw=True)

    assert isinstance(caught.value.exc, OperationalError)


def test_closing_waits_for_the_last_samples_first(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []
    later: list[dict[str, Any]] = []
    monkeypatch.setattr(services, "session_close", lambda *, session_id: closed.append(session_id))
    monkeypatch.setattr(tasks.close_session, "apply_async", lambda **options: later.append(options))
    session_id = str(uuid.uuid4())

    tasks.close_session(**CloseMessage(session_id, time.time()).to_dict())
    assert closed == []
    assert later[0]["kwargs"]["session_id"] == session_id
    assert 1.0 < later[0]["countdown"] <= 1.5

    tasks.close_session(**CloseMessage(session_id, time.time() - 2).to_dict())
    assert closed == [session_id]
