"""Sound: keep the packets, and once a window is full decode it in one go to 16 kHz mono."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Protocol

import av
import numpy as np
import soxr
from aiortc.rtp import RtpPacket
from numpy.typing import NDArray

from media_gateway import metrics
from media_gateway.clock import MediaClock
from media_gateway.source import Source
from media_gateway.tap import payload_of

logger = logging.getLogger(__name__)

RATE_HZ = 48_000  # of Opus' timestamps, whatever it was made from (RFC 7587, 4.1)
OUTPUT_HZ = 16_000
_RATIO = RATE_HZ // OUTPUT_HZ
LEAD_IN_S = 0.5
_CONTEXT = 480  # 10 ms on either side for the resampling filter, so that windows join without a seam
_REORDER = 1920  # 40 ms more before a window is closed, for packets that overtook one another
_LONG_GAP = RATE_HZ  # a second without sound ends the window, a shorter gap is silence in it
_MAX_PACKETS = 2000
_MAX_JOBS = 4

Samples = NDArray[np.int16]


def opus_duration(payload: bytes) -> int:
    """Return the length of an Opus packet in samples at 48 kHz, from its first bytes (RFC 6716, 3.1 and 3.2)."""
    if not payload:
        return 0
    config, count_code = payload[0] >> 3, payload[0] & 3
    if config < 12:
        size = (480, 960, 1920, 2880)[config & 3]
    elif config < 16:
        size = (480, 960)[config & 1]
    else:
        size = 120 << (config & 3)
    if count_code < 3:
        return size * (1, 2, 2)[count_code]
    count = payload[1] & 0x3F if len(payload) > 1 else 0
    return min(size * count, 5760)


@dataclass(frozen=True, slots=True)
class Window:
    """Sound at 16 kHz. The first ``lead_in_samples`` repeat what came before the window."""

    samples: Samples
    lead_in_samples: int


class AudioSink(Protocol):
    """Where windows go."""

    def refusal(self) -> str | None:
        """Return why no window is wanted now, or None."""

    def offer(self, started_at: float, ended_at: float, lead_in_samples: int, pcm: bytes) -> None:
        """Take a window: 16-bit little-endian mono at 16 kHz, the lead-in included."""

    def skip(self, started_at: float, ended_at: float, reason: str) -> None:
        """Note a window that is not delivered."""

    def seen(self, captured_at: float) -> None:
        """Note that there is sound."""


class WindowBuilder:
    """The decoder of one stream. Its calls run in a thread, never two at once.

    Every packet is put where its timestamp says, so that a lost one leaves silence and nothing ever moves in time.
    """

    def __init__(self) -> None:
        # Kept: soxr.resample would make one for each window, and leave strings in the interpreter's caches.
        self._resampler = soxr.ResampleStream(RATE_HZ, OUTPUT_HZ, 1, dtype="int16")
        self._decoder: Any = None
        self._next: int | None = None
        self._origin = 0  # position of the first sample of ``_pcm``
        self._pcm: Samples = np.zeros(0, np.int16)
        self._lead_in: Samples = np.zeros(0, np.int16)

    def build(self, packets: Sequence[tuple[int, bytes]], start: int, stop: int) -> Window:
        """Return the sound from position ``start`` to ``stop``, decoding ``packets`` (position, payload; in order).

        They may reach beyond ``stop``: the rest is kept for the next window, if that starts at ``stop``.
        """
        started = time.thread_time()
        if start != self._next:
            self._restart(start)
        pcm = np.zeros(stop + _CONTEXT + 5760 - self._origin, np.int16)
        pcm[: len(self._pcm)] = self._pcm[: len(pcm)]
        for position, payload in packets:
            self._place(pcm, position - self._origin, payload)
        samples = self._resample(pcm, start - self._origin, stop - self._origin)
        window = Window(np.concatenate([self._lead_in, samples]), len(self._lead_in))
        self._keep(pcm, samples, stop)
        metrics.DECODE_SECONDS.labels("audio").inc(time.thread_time() - started)
        return window

    def _restart(self, start: int) -> None:
        self._decoder = av.CodecContext.create("libopus", "r")
        self._decoder.sample_rate = RATE_HZ
        self._decoder.format = "s16"
        self._decoder.layout = "mono"  # libopus mixes stereo down as it decodes
        self._origin = start - _CONTEXT
        self._pcm = np.zeros(_CONTEXT, np.int16)
        self._lead_in = np.zeros(0, np.int16)

    def _place(self, pcm: Samples, at: int, payload: bytes) -> None:
        try:
            decoded = [frame.to_ndarray()[0] for frame in self._decoder.decode(av.Packet(payload))]
        except av.FFmpegError as error:
            logger.debug("An Opus packet could not be decoded: %s", error)
            return
        for samples in decoded:
            begin, end = max(at, 0), min(at + len(samples), len(pcm))
            if begin < end:
                pcm[begin:end] = samples[begin - at : end - at]
            at += len(samples)

    def _resample(self, pcm: Samples, begin: int, end: int) -> Samples:
        length = (end - begin) // _RATIO
        skip = _CONTEXT // _RATIO
        self._resampler.clear()  # each window is a signal of its own, with context on both sides
        samples = self._resampler.resample_chunk(pcm[begin - _CONTEXT : end + _CONTEXT], last=True)
        return np.asarray(samples[skip : skip + length], np.int16)

    def _keep(self, pcm: Samples, samples: Samples, stop: int) -> None:
        self._next = stop
        self._pcm = pcm[stop - _CONTEXT - self._origin :].copy()
        self._origin = stop - _CONTEXT
        lead_in = np.concatenate([self._lead_in, samples])
        self._lead_in = lead_in[-round(LEAD_IN_S * OUTPUT_HZ) :].copy()


@dataclass(frozen=True, slots=True)
class _Job:
    packets: list[tuple[int, bytes]]
    start: int
    stop: int
    started_at: float
    ended_at: float


class AudioIntake:
    """Takes the packets of a peer's microphone and gives its sink windows of ``window_s`` seconds, without a gap."""

    def __init__(self, *, codecs: Mapping[int, str], window_s: float, executor: Executor, sink: AudioSink) -> None:
        """Take packets whose payload type is in ``codecs``."""
        self._codecs = codecs
        self._length = round(window_s * OUTPUT_HZ) * _RATIO
        self._executor = executor
        self._sink = sink
        self._source = Source()
        self._clock = MediaClock(RATE_HZ)
        self._packets: dict[int, bytes] = {}
        self._start: int | None = None
        self._started_at = 0.0
        self._end = 0
        self._taken_to: int | None = None  # what lies before this position has been decoded or given up
        self._builder = WindowBuilder()
        self._waiting: deque[_Job] = deque()
        self._job: asyncio.Future[Window] | None = None
        self._has_failed = False
        self._closed = False

    def add(self, packet: RtpPacket) -> tuple[bool, None]:
        """Take in a packet, see ``tap.PacketTap``."""
        now = time.time()
        payload = payload_of(packet)
        if self._closed or not payload or packet.payload_type not in self._codecs:
            return False, None
        known = self._source.ssrc
        if not self._source.accept(packet.ssrc, now):
            return False, None
        if self._source.ssrc != known:
            self._break()
            self._clock = MediaClock(RATE_HZ)
        duration, epoch = opus_duration(payload), self._clock.epoch
        position = self._clock.note(packet.timestamp, now, duration=duration)
        if self._clock.epoch != epoch or position - self._end > _LONG_GAP:
            self._break()
        self._sink.seen(self._clock.captured_at(position))
        self._keep(position, duration, payload)
        return False, None

    def flush(self, now: float) -> None:
        """Close the window that is not full, if all its time has passed: nothing more will come for it."""
        if self._start is not None and self._started_at + self._length / RATE_HZ <= now:
            self._break()

    def close(self) -> None:
        """Take nothing more; a window in the decoder is forgotten when it is done."""
        self._closed = True
        self._packets.clear()
        self._waiting.clear()

    def _keep(self, position: int, duration: int, payload: bytes) -> None:
        if self._start is None:
            self._start = self._taken_to = position
            self._end = position
        if position < (self._taken_to or 0) or len(self._packets) >= _MAX_PACKETS:
            metrics.LATE_PACKETS.labels("audio").inc()
            return
        self._packets[position] = payload
        self._end = max(self._end, position + duration)
        self._started_at = self._clock.captured_at(self._start)
        while self._end >= self._start + self._length + _CONTEXT + _REORDER:
            self._cut()
            self._start += self._length
            self._started_at = self._clock.captured_at(self._start)

    def _cut(self) -> None:
        """Hand the window that begins at ``_start`` to the decoder."""
        assert self._start is not None
        start, stop = self._start, self._start + self._length
        self._taken_to = stop + _CONTEXT
        taken = sorted(position for position in self._packets if position < self._taken_to)
        packets = [(position, self._packets.pop(position)) for position in taken]
        job = _Job(packets, start, stop, self._started_at, self._started_at + self._length / RATE_HZ)
        reason = self._sink.refusal() or ("overloaded" if len(self._waiting) >= _MAX_JOBS else None)
        if reason is not None:
            self._sink.skip(job.started_at, job.ended_at, reason)
            return
        self._waiting.append(job)
        self._work()

    def _break(self) -> None:
        """End the window as it is, with silence to its end, and let the next packet begin another one."""
        if self._packets:
            self._cut()
        self._packets.clear()
        self._start = self._taken_to = None

    def _work(self) -> None:
        if self._job is not None or not self._waiting or self._closed:
            return
        job = self._waiting.popleft()
        loop = asyncio.get_running_loop()
        self._job = loop.run_in_executor(self._executor, self._builder.build, job.packets, job.start, job.stop)
        self._job.add_done_callback(lambda done: self._finish(done, job))

    def _finish(self, done: asyncio.Future[Window], job: _Job) -> None:
        self._job = None
        if self._closed or done.cancelled():
            return
        error = done.exception()
        if error is not None:
            self._fail(error, job)
        else:
            window = done.result()
            pcm = window.samples.astype("<i2").tobytes()
            self._sink.offer(job.started_at, job.ended_at, window.lead_in_samples, pcm)
        self._work()

    def _fail(self, error: BaseException, job: _Job) -> None:
        """Count the window as failed, and decode the next one afresh; the first such error is logged."""
        if not self._has_failed:
            logger.error("Decoding sound failed in a way nobody expected; logged once per peer.", exc_info=error)
        self._has_failed = True
        self._builder = WindowBuilder()
        self._sink.skip(job.started_at, job.ended_at, "failed")
