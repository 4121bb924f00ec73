"""From messages to measures: drop what is stale, fetch the bytes, run the engine. Nothing is written here."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from prometheus_client import Counter
from redis.exceptions import RedisError

from detection.commit import SessionBatch
from detection.contexts import SessionContext
from detection.engine.media import AudioWindow, Frame, ImageError, decode_frame, pcm16_to_float
from detection.engine.observations import Observation
from detection.engine.pipeline import AudioJob, FrameJob, Pipeline
from detection.frame_store import FrameStore
from detection.gaps import DROPPED, LOST, Dropped
from detection.messages import AudioMessage, FrameMessage, Stream, attentive_key, audio_key

logger = logging.getLogger(__name__)

STALE = "stale"
MISSING = "missing"
UNREADABLE = "unreadable"
FAILED = "failed"
UNKNOWN = "unknown_session"

ANALYSED = Counter("sdproctor_samples_analysed", "Samples that went through the detectors.", ["stream"])

for _stream in Stream:  # from 0, so that a rate sees the first loss
    ANALYSED.labels(_stream.value)
    for _reason in (STALE, MISSING, UNREADABLE, FAILED, UNKNOWN, LOST):
        DROPPED.labels(_stream.value, _reason)

Message = FrameMessage | AudioMessage


def sample_of(message: Message) -> tuple[str, str, float, float | None]:
    """Return a message's sample id, stream, capture time and that of the sample before it."""
    if isinstance(message, FrameMessage):
        return message.frame_id, Stream.VIDEO.value, message.captured_at, message.previous_captured_at
    return message.window_id, Stream.AUDIO.value, message.ended_at, message.previous_ended_at


def drop(message: Message, reason: str) -> Dropped:
    """Note that a message's sample was not analysed."""
    sample_id, stream, captured_at, _ = sample_of(message)
    DROPPED.labels(stream, reason).inc()
    return Dropped(message.session_id, sample_id, stream, captured_at, reason)


def analyse(
    messages: Iterable[Message],
    *,
    contexts: Mapping[str, SessionContext],
    pipeline: Pipeline,
    store: FrameStore,
    now: float,
) -> dict[str, SessionBatch]:
    """Measure the samples that messages of one stream name; return per session what was found and what was dropped.

    What is past its deadline is dropped before its bytes are fetched. A sample that cannot be read is dropped alone.
    """
    batches = {session_id: SessionBatch(context) for session_id, context in contexts.items()}
    fresh: list[Message] = []
    for message in messages:
        if message.session_id not in contexts:
            drop(message, UNKNOWN)
        elif message.deadline < now:
            batches[message.session_id].dropped.append(drop(message, STALE))
        else:
            fresh.append(message)
    jobs = _jobs(fresh, contexts, store, batches)
    for message, observation in zip(jobs, _measure(pipeline, jobs, batches), strict=False):
        _, stream, _, previous_at = sample_of(message)
        batches[message.session_id].observations.append(replace(observation, previous_at=previous_at))
        ANALYSED.labels(stream).inc()
    return {session_id: batch for session_id, batch in batches.items() if batch.observations or batch.dropped}


def _jobs(
    messages: list[Message],
    contexts: Mapping[str, SessionContext],
    store: FrameStore,
    batches: Mapping[str, SessionBatch],
) -> dict[Message, FrameJob | AudioJob]:
    """Fetch and decode; the sessions' hints come in the same round trip."""
    if not messages:
        return {}
    session_ids = list({message.session_id for message in messages})
    try:
        values = store.get_many([m.key for m in messages] + [attentive_key(session_id) for session_id in session_ids])
    except RedisError as error:
        logger.error("%d samples cannot be fetched: %s", len(messages), error)
        values = [None] * (len(messages) + len(session_ids))
    attentive = {name for name, hint in zip(session_ids, values[len(messages) :], strict=True) if hint is not None}
    jobs: dict[Message, FrameJob | AudioJob] = {}
    for message, data in zip(messages, values, strict=False):
        context = contexts[message.session_id]
        if data is None:
            batches[message.session_id].dropped.append(drop(message, MISSING))
            continue
        try:
            jobs[message] = _job(message, data, context, store, attentive=message.session_id in attentive)
        except (ImageError, ValueError) as error:
            logger.warning("A sample of session %s cannot be read: %s", message.session_id, error)
            batches[message.session_id].dropped.append(drop(message, UNREADABLE))
    return jobs


def _job(
    message: Message, data: bytes, context: SessionContext, store: FrameStore, *, attentive: bool
) -> FrameJob | AudioJob:
    if isinstance(message, FrameMessage):
        frame = Frame(message.frame_id, decode_frame(data), message.captured_at)
        return FrameJob(
            frame,
            context.template,
            message.previous_captured_at,
            context.policy,
            attentive,
            context.template_model,
            _phase(message.session_id),
        )
    window = AudioWindow(
        message.window_id, pcm16_to_float(data), message.lead_in_samples, message.started_at, message.ended_at
    )
    past = partial(_past, message, store)
    return AudioJob(window, context.policy, message.previous_ended_at, past, _phase(message.session_id))


def _phase(session_id: str) -> float:
    """Spread the sessions' slower looks over the interval: eight at one moment would hold up every alert."""
    return (UUID(session_id).int & 0xFFFF) / 0x10000


def _past(message: AudioMessage, store: FrameStore) -> NDArray[np.float32]:
    """Fetch the sound before a window, as far back as all of it is still there."""
    try:
        values = store.get_many([audio_key(message.session_id, window_id) for window_id, _ in message.past])
    except RedisError as error:
        logger.error("The sound before a window of session %s cannot be fetched: %s", message.session_id, error)
        values = []
    parts: list[NDArray[np.float32]] = []
    for (_, lead_in_samples), data in zip(reversed(message.past), reversed(values), strict=False):
        if data is None:
            break
        parts.insert(0, pcm16_to_float(data)[lead_in_samples:])
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def _measure(
    pipeline: Pipeline, jobs: Mapping[Message, FrameJob | AudioJob], batches: Mapping[str, SessionBatch]
) -> list[Observation]:
    """Run the detectors; each looks after its own failures. Should the pipeline fail, all samples are dropped."""
    try:
        frames = [job for job in jobs.values() if isinstance(job, FrameJob)]
        windows = [job for job in jobs.values() if isinstance(job, AudioJob)]
        return pipeline.analyse_frames(frames) if frames else pipeline.analyse_audio(windows)
    except Exception:
        logger.exception("The pipeline failed on %d samples", len(jobs))
        for message in jobs:
            batches[message.session_id].dropped.append(drop(message, FAILED))
        return []
