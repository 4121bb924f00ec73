"""What the workers are asked to do, by the names in ``detection.messages``."""

from __future__ import annotations

import logging
import time
from typing import Any, TypeVar
from uuid import UUID

from celery import shared_task
from django.db import InterfaceError, OperationalError
from prometheus_client import Counter

from detection import services
from detection.batches import SampleBatches
from detection.database import DatabaseAwayError
from detection.gaps import gaps_fill
from detection.messages import (
    TASK_ANALYSE_AUDIO,
    TASK_ANALYSE_FRAMES,
    TASK_CLOSE_SESSION,
    TASK_NOTE_BROWSER,
    TASK_NOTE_TECHNICAL,
    AudioMessage,
    BrowserMessage,
    CloseMessage,
    FrameMessage,
    TechnicalMessage,
)
from detection.partitions import ensure_partitions
from detection.quiet import CLOSE_AFTER_S
from detection.worker import get_engine

logger = logging.getLogger(__name__)

MALFORMED = Counter("sdproctor_messages_malformed", "Messages that are not what their task takes.", ["kind"])
for _kind in (FrameMessage, AudioMessage, TechnicalMessage, BrowserMessage, CloseMessage):
    MALFORMED.labels(_kind.__name__)

_DATABASE_AWAY = (OperationalError, InterfaceError, DatabaseAwayError)

Kind = TypeVar("Kind", FrameMessage, AudioMessage, TechnicalMessage, BrowserMessage, CloseMessage)


@shared_task(base=SampleBatches, name=TASK_ANALYSE_FRAMES)
def analyse_frames(batch: list[dict[str, Any]]) -> None:
    """Analyse sampled frames of several candidates."""
    services.samples_analyse(messages=_messages(FrameMessage, batch), pipeline=get_engine())


@shared_task(base=SampleBatches, name=TASK_ANALYSE_AUDIO)
def analyse_audio(batch: list[dict[str, Any]]) -> None:
    """Analyse audio windows of several candidates."""
    services.samples_analyse(messages=_messages(AudioMessage, batch), pipeline=get_engine())


@shared_task(
    name=TASK_NOTE_TECHNICAL, autoretry_for=_DATABASE_AWAY, retry_backoff=1, retry_backoff_max=10, max_retries=60
)
def note_technical(**data: Any) -> None:
    """Note what the gateway reports about a peer. Tried for ten minutes when the database is away."""
    for message in _messages(TechnicalMessage, [data]):
        services.technical_note(message=message)


@shared_task(
    name=TASK_NOTE_BROWSER, autoretry_for=_DATABASE_AWAY, retry_backoff=1, retry_backoff_max=10, max_retries=60
)
def note_browser(**data: Any) -> None:
    """Note what a candidate's page tells of itself. Tried for ten minutes when the database is away."""
    for message in _messages(BrowserMessage, [data]):
        services.browser_note(message=message)


@shared_task(
    name=TASK_CLOSE_SESSION, autoretry_for=_DATABASE_AWAY, retry_backoff=1, retry_backoff_max=10, max_retries=10
)
def close_session(**data: Any) -> None:
    """Close what is open in an ended session, once its last samples had time to arrive. The sweep does it otherwise."""
    for message in _messages(CloseMessage, [data]):
        wait_s = message.ended_at + CLOSE_AFTER_S - time.time()
        if wait_s > 0:
            close_session.apply_async(kwargs=data, countdown=wait_s)
        else:
            services.session_close(session_id=message.session_id)


@shared_task(name="detection.sweep")
def sweep() -> None:
    """Look after sessions from which nothing comes."""
    services.sessions_sweep()


@shared_task(name="detection.fill_gaps")
def fill_gaps() -> None:
    """Look for samples that never arrived."""
    gaps_fill()


@shared_task(name="detection.make_partitions")
def make_partitions() -> None:
    """Make the detections table's partitions of the coming months."""
    created = ensure_partitions()
    if created:
        logger.info("Partitions made: %s", ", ".join(created))


def _messages(kind: type[Kind], batch: list[dict[str, Any]]) -> list[Kind]:
    """Read messages; one that is not what the task takes is reported and left out."""
    messages = []
    for data in batch:
        try:
            message = kind.from_dict(data)
            UUID(message.session_id)
        except (TypeError, ValueError, AttributeError) as error:
            MALFORMED.labels(kind.__name__).inc()
            logger.error("A message is malformed: %s", error)
        else:
            messages.append(message)
    return messages
