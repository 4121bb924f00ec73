"""From messages to rows, with real models: stale, missing and broken samples are gaps and hold up nobody."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from redis import ConnectionError as RedisConnectionError
from redis import Redis

from detection import analysis, services
from detection.analysis import Message, analyse
from detection.contexts import SessionContexts
from detection.engine.pipeline import Pipeline
from detection.frame_store import FrameStore
from detection.messages import AudioMessage, FrameMessage, attentive_key, audio_key, frame_key
from detection.models import Detection
from sessions.models import ExamSession, MediaGap
from tests.detection.scenario import pictures
from tests.factories import make_session

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def pipeline(weights_dir: Any) -> Pipeline:
    return Pipeline.load()


@pytest.fixture(scope="module")
def jpegs(weights_dir: Any) -> tuple[bytes, bytes]:
    return pictures()


Send = Callable[..., Any]


@pytest.fixture
def store(redis_client: Redis) -> FrameStore:
    return FrameStore(redis_client)


def frame_message(session: ExamSession, at: float, *, age_s: float = 0.5) -> FrameMessage:
    """Return the message of a frame captured ``at`` seconds into an exam, now ``age_s`` old."""
    name = uuid.uuid4().hex
    captured_at = 1_790_000_000 + at
    return FrameMessage(
        session_id=str(session.id),
        frame_id=name,
        key=frame_key(str(session.id), name),
        captured_at=captured_at,
        previous_captured_at=captured_at - 0.5,
        deadline=time.time() + 10 - age_s,
    )


def window_message(session: ExamSession, at: float) -> AudioMessage:
    name = uuid.uuid4().hex
    return AudioMessage(
        session_id=str(session.id),
        window_id=name,
        key=audio_key(str(session.id), name),
        started_at=1_790_000_000 + at,
        ended_at=1_790_000_001 + at,
        lead_in_samples=0,
        deadline=time.time() + 10,
        previous_ended_at=1_790_000_000 + at,
    )


def run(messages: Sequence[Message], pipeline: Pipeline) -> None:
    services.samples_analyse(messages=messages, pipeline=pipeline)


def gaps(session: ExamSession) -> list[tuple[str, str, int]]:
    return list(MediaGap.objects.filter(session=session).values_list("stream", "reason", "skipped"))


def test_frames_of_several_candidates_are_measured_in_one_batch(
    pipeline: Pipeline, store: FrameStore, jpegs: tuple[bytes, bytes]
) -> None:
    here, gone = make_session(), make_session()
    messages = [frame_message(session, n / 2) for n in range(2) for session in (here, gone)]
    for message in messages:
        store.put(message.key, jpegs[message.session_id == str(here.id)])

    run(messages, pipeline)

    counts = {
        str(session.id): [d.measures["faces"]["count"] for d in Detection.objects.filter(session=session)]
        for session in (here, gone)
    }
    assert counts == {str(here.id): [1, 1], str(gone.id): [0, 0]}
    row = Detection.objects.get(sample_id=messages[0].frame_id)
    assert row.previous_at is not None
    assert (row.captured_at - row.previous_at).total_seconds() == 0.5
    assert row.organisation_id == here.organisation_id


def test_windows_of_several_candidates_are_heard_in_one_batch(pipeline: Pipeline, store: FrameStore) -> None:
    sessions = [make_session() for _ in range(3)]
    messages = [window_message(session, 0) for session in sessions]
    noise = (np.random.default_rng(1).normal(0, 300, 16000)).astype("<i2").tobytes()
    for message in messages:
        store.put(message.key, noise)

    run(messages, pipeline)

    rows = list(Detection.objects.filter(session__in=sessions))
    assert [row.stream for row in rows] == ["audio"] * 3
    assert all(-45 < row.measures["level"]["rms_dbfs"] < -35 for row in rows)
    assert all(row.measures["speech"]["share"] == 0 for row in rows)


def test_what_is_past_its_deadline_is_dropped_before_its_bytes_are_fetched(
    pipeline: Pipeline, jpegs: tuple[bytes, bytes]
) -> None:
    session = make_session()
    fetched: list[str] = []

    class Store(FrameStore):
        def __init__(self) -> None: ...

        def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
            fetched.extend(keys)
            return [jpegs[1] if key.startswith("frame:") else None for key in keys]

    stale, fresh = frame_message(session, 0, age_s=10.1), frame_message(session, 0.5)

    batches = analyse(
        [stale, fresh],
        contexts=SessionContexts().get([str(session.id)]),
        pipeline=pipeline,
        store=Store(),
        now=time.time(),
    )

    assert fetched == [fresh.key, attentive_key(str(session.id))]
    batch = batches[str(session.id)]
    assert [observation.sample_id for observation in batch.observations] == [fresh.frame_id]
    assert [(d.sample_id, d.reason) for d in batch.dropped] == [(stale.frame_id, "stale")]


def test_missing_and_broken_samples_are_gaps_and_the_others_are_analysed(
    pipeline: Pipeline, store: FrameStore, jpegs: tuple[bytes, bytes]
) -> None:
    session = make_session()
    good, missing, broken, truncated = (frame_message(session, n / 2) for n in range(4))
    store.put(good.key, jpegs[1])
    store.put(broken.key, b"not a picture")
    store.put(truncated.key, jpegs[1][: len(jpegs[1]) // 2])

    run([good, missing, broken, truncated], pipeline)

    assert good.frame_id in Detection.objects.filter(session=session).values_list("sample_id", flat=True)
    found = {reason: skipped for _, reason, skipped in gaps(session)}
    assert found["missing"] == 1
    assert found["unreadable"] >= 1
    assert sum(found.values()) + Detection.objects.filter(session=session).count() == 4


def test_sound_of_half_a_sample_is_a_gap(pipeline: Pipeline, store: FrameStore) -> None:
    session = make_session()
    message = window_message(session, 0)
    store.put(message.key, b"\x00\x01\x02")

    run([message], pipeline)

    assert gaps(session) == [("audio", "unreadable", 1)]


def test_a_redis_that_answers_no_more_is_a_gap(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, redis_client: Redis
) -> None:
    session = make_session()

    def away(*_: object) -> None:
        raise RedisConnectionError("refused")

    monkeypatch.setattr(FrameStore, "get_many", away)

    run([frame_message(session, 0), frame_message(session, 0.5)], pipeline)

    assert gaps(session) == [("video", "missing", 2)]


def test_an_unknown_session_is_counted_and_the_others_go_on(
    pipeline: Pipeline, store: FrameStore, jpegs: tuple[bytes, bytes]
) -> None:
    session = make_session()
    known = frame_message(session, 0)
    stray = replace(known, session_id=str(uuid.uuid4()), frame_id=uuid.uuid4().hex)
    store.put(known.key, jpegs[1])

    run([stray, known], pipeline)

    assert Detection.objects.count() == 1


def test_a_message_twice_in_a_batch_is_analysed_once(
    pipeline: Pipeline, store: FrameStore, jpegs: tuple[bytes, bytes]
) -> None:
    session = make_session()
    message = frame_message(session, 0)
    store.put(message.key, jpegs[1])

    run([message, message], pipeline)

    assert Detection.objects.filter(session=session).count() == 1
    assert gaps(session) == []


def test_a_doubt_has_every_face_compared(
    pipeline: Pipeline, store: FrameStore, redis_client: Redis, jpegs: tuple[bytes, bytes]
) -> None:
    doubtful, calm = make_session(), make_session()
    redis_client.set(attentive_key(str(doubtful.id)), b"1")
    messages = [frame_message(session, 1.0) for session in (doubtful, calm)]
    # Right after the frame before, no look falls due in between, whatever the session's phase.
    messages = [replace(message, previous_captured_at=message.captured_at) for message in messages]
    for message in messages:
        store.put(message.key, jpegs[1])

    run(messages, pipeline)

    compared = {
        str(d.session_id): "identity" in d.measures for d in Detection.objects.filter(session__in=(doubtful, calm))
    }
    assert compared == {str(doubtful.id): True, str(calm.id): False}


def test_a_pipeline_that_fails_altogether_leaves_a_gap(store: FrameStore, jpegs: tuple[bytes, bytes]) -> None:
    class Broken(Pipeline):
        def __init__(self) -> None: ...

        def analyse_frames(self, jobs: Any) -> Any:
            raise MemoryError("no more")

    session = make_session()
    message = frame_message(session, 0)
    store.put(message.key, jpegs[1])

    run([message], Broken())

    assert gaps(session) == [("video", "failed", 1)]


def test_a_window_knows_the_sound_before_it_as_far_back_as_it_is_there(store: FrameStore) -> None:
    session = make_session()
    names = [uuid.uuid4().hex for _ in range(3)]
    for number, name in enumerate(names):
        pcm = np.full(16_000 + 800, 1000 * (number + 1), "<i2")  # the first 800 repeat what came before
        store.put(audio_key(str(session.id), name), pcm.tobytes())
    message = replace(window_message(session, 3), past=tuple((name, 800) for name in names))
    assert AudioMessage.from_dict(json.loads(json.dumps(message.to_dict()))) == message
    past = analysis._past(message, store)
    assert [round(float(value) * 32768) for value in past[[0, 15_999, 16_000, -1]]] == [1000, 1000, 2000, 3000]
    assert len(past) == 48_000
    store.drop([audio_key(str(session.id), names[1])])
    assert len(analysis._past(message, store)) == 16_000
    assert len(analysis._past(replace(message, past=()), store)) == 0
