"""Hand samples and technical messages to the queue, and survive its absence."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from detection.frame_store import AsyncFrameStore
from detection.messages import (
    QUEUE_AUDIO,
    QUEUE_VISION,
    SAMPLE_DEADLINE_S,
    SAMPLES,
    SAMPLES_PER_MESSAGE,
    TASK_ANALYSE_AUDIO,
    TASK_ANALYSE_FRAMES,
    TASK_NOTE_TECHNICAL,
    AudioMessage,
    FrameMessage,
    Stream,
    TechnicalMessage,
    audio_key,
    frame_key,
)
from media_gateway import metrics
from media_gateway.envelope import task_message
from media_gateway.gaps import GapLedger
from media_gateway.metrics import BACKLOG, QUEUE_FULL, REDIS_AWAY
from media_gateway.past import PastWindows

logger = logging.getLogger(__name__)

_QUEUES: Mapping[Stream, str] = {Stream.VIDEO: QUEUE_VISION, Stream.AUDIO: QUEUE_AUDIO}
_TASKS: Mapping[Stream, str] = {Stream.VIDEO: TASK_ANALYSE_FRAMES, Stream.AUDIO: TASK_ANALYSE_AUDIO}
_TIMEOUT_S = 2.0
_TICK_S = 0.5
_LINGER_S = 0.12
"""Samples wait so long for others to travel with: what a message costs, here, in Redis and in the worker that takes it,
is mostly the round trip. The worker waits as much less for its batch to fill."""
_CHECK_INTERVAL_S = 1.0
_BATCH = 64
_MAX_SAMPLES = 512
_MAX_SAMPLE_BYTES = 64_000_000
_MAX_TECHNICAL = 1000
"""Technical messages kept for one session while the queue is away: hours of a camera that comes and goes."""
_PUSH_ONCE = """
if redis.call('SET', KEYS[2], 1, 'NX', 'EX', ARGV[2]) then redis.call('LPUSH', KEYS[1], ARGV[1]) end
"""
_REMEMBERED_S = 600
"""How long Redis remembers a technical message, to know it when it comes again."""
_FULL_UNTIL = 0.8
"""A queue that was too long is used again below this share of the limit."""


def connect(url: str) -> Redis:
    """Return a client that fails soon and leaves trying again to its caller. Nothing is sent yet."""
    return Redis.from_url(
        url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S, retry=Retry(NoBackoff(), 0)
    )


@dataclass(frozen=True, slots=True)
class _Note:
    id: str
    message: TechnicalMessage


@dataclass(frozen=True, slots=True)
class _Sample:
    session_id: str
    stream: Stream
    started_at: float
    ended_at: float
    lead_in_samples: int
    data: bytes
    offered: float


class Publisher:
    """Everything but ``run`` and ``finish`` returns at once.

    Samples are worth seconds: while Redis does not answer, or a queue is too long, they are skipped and counted, and a
    gap is reported once that is over. Technical messages are kept, in order, and sent when Redis is back: each once,
    even if Redis had taken one before and could not say so. Samples in that position are counted as skipped.
    """

    def __init__(self, redis: Redis, *, origin: str, queue_limit: int) -> None:
        self._redis = redis
        self._store = AsyncFrameStore(redis)
        self._origin = origin
        self._queue_limit = queue_limit
        self._samples: deque[_Sample] = deque()
        self._sample_bytes = 0
        self._technical: dict[str, deque[_Note]] = {}
        self._gaps = GapLedger()
        self._last_at: dict[tuple[str, Stream], float] = {}  # end of the sample handed on last
        self._past: dict[str, PastWindows] = {}
        self._full: dict[Stream, bool] = dict.fromkeys(_QUEUES, False)
        self._away_since: float | None = None
        self._check_at = 0.0
        self._wake = asyncio.Event()

    @property
    def is_away(self) -> bool:
        """Whether Redis did not answer last time."""
        return self._away_since is not None

    def refusal(self, stream: Stream) -> str | None:
        """Return why a sample of ``stream`` would be skipped now, or None. Saves making it."""
        if self.is_away:
            return REDIS_AWAY
        return QUEUE_FULL if self._full[stream] else None

    def offer_frame(self, session_id: str, captured_at: float, jpeg: bytes) -> None:
        """Take a JPEG; newer samples push out the oldest when too many wait."""
        self._offer(_Sample(session_id, Stream.VIDEO, captured_at, captured_at, 0, jpeg, time.monotonic()))

    def offer_window(
        self, session_id: str, started_at: float, ended_at: float, lead_in_samples: int, pcm: bytes
    ) -> None:
        """Take a window of sound as ``messages.audio_key`` describes it."""
        self._offer(_Sample(session_id, Stream.AUDIO, started_at, ended_at, lead_in_samples, pcm, time.monotonic()))

    def skip(self, session_id: str, stream: Stream, started_at: float, ended_at: float, reason: str) -> None:
        """Count a sample that is not handed on; a gap will tell of it."""
        metrics.SKIPPED.labels(stream, reason).inc()
        self._gaps.skip(session_id, stream, reason, started_at=started_at, ended_at=ended_at, now=time.monotonic())

    def note(self, message: TechnicalMessage) -> None:
        """Take a technical message: it will be sent."""
        waiting = self._technical.setdefault(message.session_id, deque())
        if len(waiting) >= _MAX_TECHNICAL:
            waiting.popleft()
            metrics.TECHNICAL_DROPPED.inc()
            logger.error(
                "Session %s: a technical message is lost, %d wait already.", message.session_id, _MAX_TECHNICAL
            )
        waiting.append(_Note(uuid.uuid4().hex, message))
        self._wake.set()

    def forget(self, session_id: str) -> None:
        """Forget the session's last samples. What waits to be sent is still sent."""
        for stream in Stream:
            self._last_at.pop((session_id, stream), None)
        self._past.pop(session_id, None)

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            try:
                async with asyncio.timeout(_TICK_S):
                    await self._wake.wait()
            except TimeoutError:
                pass
            if self._samples and not self._technical:
                await asyncio.sleep(_LINGER_S)
            self._wake.clear()
            await self._step(time.monotonic())

    async def finish(self, *, timeout_s: float) -> None:
        """Send what is left, gaps included; say so if it cannot be sent in time. ``run`` must have ended."""
        for gap in self._gaps.take_all():
            self.note(gap)
        try:
            async with asyncio.timeout(timeout_s):
                while self._samples or self._technical:
                    await self._step(time.monotonic())
                    if self.is_away:
                        await asyncio.sleep(_TICK_S / 2)
        except TimeoutError:
            left = sum(map(len, self._technical.values()))
            logger.error("Redis did not answer: %d technical messages and %d samples lost.", left, len(self._samples))

    def _offer(self, sample: _Sample) -> None:
        reason = self.refusal(sample.stream)
        if reason is not None:
            self._skip_sample(sample, reason)
            return
        self._samples.append(sample)
        self._sample_bytes += len(sample.data)
        while len(self._samples) > _MAX_SAMPLES or self._sample_bytes > _MAX_SAMPLE_BYTES:
            self._skip_sample(self._take_sample(), BACKLOG)
        self._wake.set()

    def _take_sample(self) -> _Sample:
        sample = self._samples.popleft()
        self._sample_bytes -= len(sample.data)
        return sample

    def _skip_sample(self, sample: _Sample, reason: str) -> None:
        self.skip(sample.session_id, sample.stream, sample.started_at, sample.ended_at, reason)

    async def _step(self, now: float) -> None:
        """Look after the queues when it is time, then send all there is; note Redis' absence and return."""
        try:
            if now >= self._check_at:
                self._check_at = now + _CHECK_INTERVAL_S
                await self._check_queues()
            elif self.is_away:
                return
            while self._samples or self._technical:
                await self._send_batch()
        except (RedisError, OSError, TimeoutError) as error:
            self._lose(error)

    async def _check_queues(self) -> None:
        """Learn how long the queues are; an answer means that Redis is back."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            for queue in _QUEUES.values():
                pipeline.llen(queue)
            lengths = await pipeline.execute()
        for (stream, queue), length in zip(_QUEUES.items(), lengths, strict=True):
            metrics.QUEUE_LENGTH.labels(queue).set(length)
            self._judge_queue(stream, queue, length)
        if self._away_since is not None:
            logger.warning("Redis is back after %.1f s.", time.monotonic() - self._away_since)
            self._away_since = None
        for gap in self._gaps.take_finished(time.monotonic()):
            self.note(gap)

    def _judge_queue(self, stream: Stream, queue: str, length: int) -> None:
        full = length > self._queue_limit * (_FULL_UNTIL if self._full[stream] else 1)
        if full != self._full[stream]:
            log = logger.warning if full else logger.info
            log("Queue %s holds %d messages: samples are %s.", queue, length, "skipped" if full else "sent again")
            self._full[stream] = full

    async def _send_batch(self) -> None:
        technical = {session_id: list(waiting)[:_BATCH] for session_id, waiting in self._technical.items()}
        samples = [self._take_sample() for _ in range(min(_BATCH, len(self._samples)))]
        last_at = dict[tuple[str, Stream], float]()
        try:
            async with self._redis.pipeline(transaction=True) as pipeline:
                for notes in technical.values():
                    for note in notes:
                        self._push_once(pipeline, note)
                for stream in _TASKS:
                    messages = [self._stage(pipeline, s, last_at) for s in samples if s.stream is stream]
                    self._push(pipeline, stream, messages)
                await pipeline.execute()
        except BaseException:
            for sample in samples:
                self._skip_sample(sample, REDIS_AWAY)
            raise
        self._last_at |= last_at
        self._count(samples, technical)

    def _stage(
        self, pipeline: Pipeline, sample: _Sample, last_at: dict[tuple[str, Stream], float]
    ) -> FrameMessage | AudioMessage:
        """Add the bytes of ``sample``, note its end in ``last_at``; return its message."""
        session_id, sample_id = sample.session_id, uuid.uuid4().hex
        previous_at = last_at.get((session_id, sample.stream), self._last_at.get((session_id, sample.stream)))
        last_at[session_id, sample.stream] = sample.ended_at
        deadline = sample.ended_at + SAMPLE_DEADLINE_S
        message: FrameMessage | AudioMessage
        if sample.stream is Stream.VIDEO:
            key = frame_key(session_id, sample_id)
            message = FrameMessage(session_id, sample_id, key, sample.started_at, previous_at, deadline)
        else:
            key = audio_key(session_id, sample_id)
            past = self._past.setdefault(session_id, PastWindows())
            message = AudioMessage(
                session_id,
                sample_id,
                key,
                sample.started_at,
                sample.ended_at,
                sample.lead_in_samples,
                deadline,
                previous_at,
                past.before(sample.started_at),
            )
            past.add(sample_id, sample.lead_in_samples, sample.started_at, sample.ended_at)
        self._store.stage(pipeline, key, sample.data)
        return message

    def _push(self, pipeline: Pipeline, stream: Stream, messages: list[FrameMessage | AudioMessage]) -> None:
        queue = _QUEUES[stream]
        for start in range(0, len(messages), SAMPLES_PER_MESSAGE):
            samples = [message.to_dict() for message in messages[start : start + SAMPLES_PER_MESSAGE]]
            pipeline.lpush(queue, task_message(_TASKS[stream], {SAMPLES: samples}, queue=queue, origin=self._origin))

    def _push_once(self, pipeline: Pipeline, note: _Note) -> None:
        message = task_message(TASK_NOTE_TECHNICAL, note.message.to_dict(), queue=QUEUE_AUDIO, origin=self._origin)
        pipeline.eval(_PUSH_ONCE, 2, QUEUE_AUDIO, f"noted:{note.id}", message, _REMEMBERED_S)

    def _count(self, samples: list[_Sample], technical: dict[str, list[_Note]]) -> None:
        now = time.monotonic()
        for sample in samples:
            metrics.PUBLISHED.labels(sample.stream).inc()
            metrics.PUBLISH_SECONDS.observe(now - sample.offered)
        for session_id, notes in technical.items():
            waiting = self._technical[session_id]
            for note in notes:
                metrics.TECHNICAL.labels(note.message.kind).inc()
                if waiting and waiting[0] is note:  # unless pushed out meanwhile
                    waiting.popleft()
            if not waiting:
                del self._technical[session_id]

    def _lose(self, error: BaseException) -> None:
        if self._away_since is None:
            self._away_since = time.monotonic()
            logger.error(
                "Redis does not answer (%s): samples are skipped until it does.", error or type(error).__name__
            )
        while self._samples:
            self._skip_sample(self._take_sample(), REDIS_AWAY)
