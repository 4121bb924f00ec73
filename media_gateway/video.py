"""Pictures: decode every frame, keep two a second, as JPEG."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Protocol

import av
import numpy as np
import simplejpeg
from aiortc.rtp import RtpPacket
from av.codec.context import Flags
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from numpy.typing import NDArray

from media_gateway import metrics
from media_gateway.assembly import EncodedFrame, FrameAssembler
from media_gateway.clock import MediaClock
from media_gateway.source import Source
from media_gateway.tap import payload_of

logger = logging.getLogger(__name__)

RATE_HZ = 90_000
MAX_SIDE_PX = 1280
JPEG_QUALITY = 85
MAX_PIXELS = 4096 * 2304
"""Larger pictures are refused before they are decoded: no camera sends them, and they cost memory."""
_MAX_PENDING = 180
"""Encoded frames that wait for the decoder: six seconds at 30 a second. More, and it will not catch up."""
_MAX_BATCH_S = 1.0

_DECODERS = {"VP8": "libvpx", "H264": "h264"}


@dataclass(frozen=True, slots=True)
class Picture:
    """The newest picture of a batch. ``jpeg`` is None where none was asked for."""

    position: int
    clean: bool
    jpeg: bytes | None


@dataclass(frozen=True, slots=True)
class Decoded:
    """What became of a batch of encoded frames."""

    picture: Picture | None
    failed: bool


class VideoSink(Protocol):
    """Where samples go."""

    def refusal(self) -> str | None:
        """Return why no sample is wanted now, or None."""

    def offer(self, captured_at: float, jpeg: bytes) -> None:
        """Take a sample."""

    def skip(self, captured_at: float, reason: str) -> None:
        """Note a sample that was due and is not delivered."""

    def seen(self, captured_at: float) -> None:
        """Note that there is a picture."""


class Sampler:
    """Says which frames are due so that the mean rate is ``per_second``, however the frames are spaced."""

    def __init__(self, per_second: float) -> None:
        self._interval_s = 1.0 / per_second
        self._due_at: float | None = None

    def is_due(self, captured_at: float) -> bool:
        """Tell whether to sample the frame captured at this time."""
        if self._due_at is not None and captured_at < self._due_at:
            # A clock that was set back must not silence the stream.
            if self._due_at - captured_at <= 2 * self._interval_s:
                return False
            self._due_at = captured_at
        steady = self._due_at if self._due_at is not None else captured_at
        # Half an interval at least, so that a pause is not followed by a burst.
        self._due_at = max(steady + self._interval_s, captured_at + self._interval_s / 2)
        return True


class JpegEncoder:
    """Encodes pictures, upright, their long side at most ``MAX_SIDE_PX``. For one thread at a time."""

    def __init__(self) -> None:
        # Kept, because setting up a conversion costs more than a picture.
        self._reformatter = VideoReformatter()

    def encode(self, frame: VideoFrame) -> bytes:
        """Return ``frame`` as JPEG, from its YUV planes; the conversion to RGB and back is left out."""
        scale = min(1.0, MAX_SIDE_PX / max(frame.width, frame.height))
        # Cameras send limited-range YUV; JPEG has the full range.
        full = self._reformatter.reformat(
            frame,
            width=max(2, round(frame.width * scale / 2) * 2),
            height=max(2, round(frame.height * scale / 2) * 2),
            format="yuvj420p",
            dst_colorspace=Colorspace.ITU601,
            dst_color_range=ColorRange.JPEG,
            threads=1,
        )
        turns = round(frame.rotation / 90) % 4
        planes = [np.ascontiguousarray(np.rot90(_plane(plane), turns)) for plane in full.planes]
        return bytes(simplejpeg.encode_jpeg_yuv_planes(*planes, JPEG_QUALITY))


def _plane(plane: Any) -> NDArray[np.uint8]:
    return np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]


class FrameDecoder:
    """The decoder of one stream. Its calls run in a thread, never two at once."""

    def __init__(self) -> None:
        self._codec_name = ""
        self._codec: Any = None
        self._jpeg = JpegEncoder()

    def run(self, frames: Sequence[EncodedFrame], *, encode: bool) -> Decoded:
        """Decode all ``frames`` in order and return the last picture, as JPEG if ``encode``."""
        started = time.thread_time()
        last: VideoFrame | None = None
        failed, clean = False, True
        for frame in frames:
            try:
                pictures = self._decode(frame)
            except (av.FFmpegError, ValueError) as error:
                logger.debug("A %s frame could not be decoded: %s", frame.codec, error)
                failed = True
                continue
            metrics.DECODED.inc(len(pictures))
            if pictures:
                last = pictures[-1]
                clean = frame.clean and not last.is_corrupt
        picture = None
        if last is not None:
            picture = Picture(int(last.pts or 0), clean, self._jpeg.encode(last) if encode and clean else None)
        metrics.DECODE_SECONDS.labels("video").inc(time.thread_time() - started)
        return Decoded(picture, failed)

    def _decode(self, frame: EncodedFrame) -> list[VideoFrame]:
        if frame.codec != self._codec_name:
            self._codec = self._open(frame.codec)
            self._codec_name = frame.codec
        if frame.codec == "VP8" and frame.is_key:
            _refuse_huge_vp8(frame.data)
        packet = av.Packet(frame.data)
        packet.pts = frame.position
        return list(self._codec.decode(packet))

    @staticmethod
    def _open(codec: str) -> Any:
        context = av.CodecContext.create(_DECODERS[codec], "r")
        context.thread_count = 1  # streams run side by side; threads inside one would only delay its frames
        context.flags |= Flags.low_delay
        context.options = {"max_pixels": str(MAX_PIXELS)}
        return context


def _refuse_huge_vp8(data: bytes) -> None:
    """Raise ``ValueError`` where a key frame's header (RFC 6386, 9.1) announces a senseless size: libvpx would try."""
    if len(data) < 10:
        raise ValueError("a key frame without a header")
    width = int.from_bytes(data[6:8], "little") & 0x3FFF
    height = int.from_bytes(data[8:10], "little") & 0x3FFF
    if not 0 < width * height <= MAX_PIXELS:
        raise ValueError(f"a key frame of {width}x{height}")


class VideoIntake:
    """Takes the packets of a peer's camera and gives its sink samples.

    Every frame must be decoded, since each builds on the one before, but only when a sample is due: then all that came
    since the last one are decoded in one go, in a thread. Behind a busy decoder samples are replaced by newer ones;
    behind one that has fallen far back everything is dropped and a key frame asked for.
    """

    def __init__(self, *, codecs: Mapping[int, str], per_second: float, executor: Executor, sink: VideoSink) -> None:
        """Take packets whose payload type is in ``codecs`` (to ``VP8`` or ``H264``)."""
        self._codecs = codecs
        self._executor = executor
        self._sink = sink
        self._source = Source()
        self._sampler = Sampler(per_second)
        self._decoder = FrameDecoder()
        self._clock = MediaClock(RATE_HZ)
        self._assembler = FrameAssembler()
        self._pending: list[EncodedFrame] = []
        self._due: list[float] = []
        self._job: asyncio.Future[Decoded] | None = None
        self._job_due: list[float] = []
        self._job_clock = self._clock
        self._has_failed = False
        self._closed = False

    @property
    def is_busy(self) -> bool:
        """Whether frames have been received that are not decoded yet."""
        return self._job is not None

    def add(self, packet: RtpPacket) -> tuple[bool, None]:
        """Take in a packet, see ``tap.PacketTap``."""
        now = time.time()
        codec = self._codecs.get(packet.payload_type)
        if self._closed or codec is None:
            return False, None
        known = self._source.ssrc
        if not self._source.accept(packet.ssrc, now):
            return False, None
        if self._source.ssrc != known:
            self._clock, self._assembler = MediaClock(RATE_HZ), FrameAssembler()
        # Padding carries no picture, and its timestamp says nothing.
        position = self._clock.note(packet.timestamp, now) if payload_of(packet) else 0
        for frame in self._assembler.add(codec, packet, position, now):
            self._take(frame, now)
        return self._assembler.wants_key_frame(now), None

    def close(self) -> None:
        """Take nothing more; a batch in the decoder is forgotten when it is done."""
        self._closed = True
        self._pending.clear()
        self._due.clear()

    def _take(self, frame: EncodedFrame, now: float) -> None:
        captured_at = self._clock.captured_at(frame.position)
        self._pending.append(frame)
        if self._sampler.is_due(captured_at):
            self._due.append(captured_at)
        if len(self._pending) > _MAX_PENDING:
            self._pending.clear()
            self._skip(self._due, "overloaded")
            self._due = []
            self._assembler = FrameAssembler()  # nothing counts until the next key frame
        elif self._due or captured_at - self._clock.captured_at(self._pending[0].position) > _MAX_BATCH_S:
            self._start()

    def _start(self) -> None:
        if self._job is not None or not self._pending or self._closed:
            return
        frames, self._pending = self._pending, []
        due, self._due = self._due, []
        refusal = self._sink.refusal() if due else None
        if refusal is not None:
            self._skip(due, refusal)
            due = []
        self._job_due = due
        self._job_clock = self._clock  # positions mean nothing on the clock of another source
        loop = asyncio.get_running_loop()
        self._job = loop.run_in_executor(self._executor, lambda: self._decoder.run(frames, encode=bool(due)))
        self._job.add_done_callback(self._finish)

    def _finish(self, job: asyncio.Future[Decoded]) -> None:
        self._job = None
        due, self._job_due = self._job_due, []
        if self._closed or job.cancelled():
            return
        error = job.exception()
        if error is not None:
            self._fail(error, due)
        else:
            self._take_decoded(job.result(), due)
        self._start_if_due()

    def _fail(self, error: BaseException, due: list[float]) -> None:
        """Count what was due as failed, and begin anew at the next key frame; the first such error is logged."""
        if not self._has_failed:
            logger.error("Decoding video failed in a way nobody expected; logged once per peer.", exc_info=error)
        self._has_failed = True
        self._decoder = FrameDecoder()
        self._assembler.damage(time.time())
        self._skip(due, "failed")

    def _take_decoded(self, decoded: Decoded, due: list[float]) -> None:
        if decoded.failed:
            self._assembler.damage(time.time())
        if decoded.picture is not None:
            self._deliver(decoded.picture, due)
        else:
            self._skip(due, "damaged")

    def _deliver(self, picture: Picture, due: list[float]) -> None:
        captured_at = self._job_clock.captured_at(picture.position)
        self._sink.seen(captured_at)
        if picture.jpeg is not None:
            self._skip(due[:-1], "busy")
            self._sink.offer(captured_at, picture.jpeg)
        else:
            self._skip(due, "damaged")

    def _start_if_due(self) -> None:
        if self._due:
            self._start()

    def _skip(self, due: Sequence[float], reason: str) -> None:
        for captured_at in due:
            self._sink.skip(captured_at, reason)
