"""Pictures: which are sampled, how they are encoded, what is not decoded at all."""

from __future__ import annotations

import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
import simplejpeg
from aiortc.codecs.vpx import Vp8Encoder
from aiortc.rtp import RtpPacket

from media_gateway import video
from media_gateway.assembly import EncodedFrame
from media_gateway.video import FrameDecoder, JpegEncoder, Sampler, VideoIntake
from tests.media_gateway.world import eventually


def picture(width: int = 320, height: int = 240, colour: tuple[int, int, int] = (30, 120, 210)) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(np.full((height, width, 3), colour, np.uint8), format="bgr24")


def vp8_frames(count: int, *, width: int = 320, height: int = 240, colours: Any = None) -> list[bytes]:
    """Encode a film of plain pictures."""
    context: Any = av.CodecContext.create("libvpx", "w")
    context.width, context.height, context.pix_fmt = width, height, "yuv420p"
    context.time_base, context.gop_size, context.thread_count = Fraction(1, 15), 1000, 1
    context.options = {"deadline": "realtime", "cpu-used": "-6", "lag-in-frames": "0"}
    frames = []
    for number in range(count):
        frame = picture(width, height, colours(number) if colours else (30, 120, 210)).reformat(format="yuv420p")
        frame.pts = number
        frames += [bytes(packet) for packet in context.encode(frame)]
    return frames


def due_at(sampler: Sampler, times: list[float]) -> list[float]:
    return [at for at in times if sampler.is_due(at)]


@pytest.mark.parametrize("fps", [5, 10, 15, 24, 29.97, 30])
def test_the_sampled_rate_is_the_one_asked_for(fps: float) -> None:
    times = [n / fps for n in range(round(60 * fps))]
    assert len(due_at(Sampler(2.0), times)) == pytest.approx(120, abs=2)


def test_a_slow_camera_is_sampled_whole() -> None:
    times = [float(n) for n in range(60)]
    assert due_at(Sampler(2.0), times) == times


def test_a_pause_is_not_made_up_for() -> None:
    due = due_at(Sampler(2.0), [n / 15 for n in range(30)] + [10 + n / 15 for n in range(30)])
    after = [at for at in due if at >= 10]
    assert len(after) <= 5
    assert after[0] == 10


def test_a_clock_set_back_does_not_silence_the_stream() -> None:
    sampler = Sampler(2.0)
    due_at(sampler, [100 + n / 15 for n in range(30)])
    assert len(due_at(sampler, [50 + n / 15 for n in range(30)])) >= 3


@pytest.mark.parametrize(
    ("size", "expected"),
    [((640, 480), (640, 480)), ((1920, 1080), (1280, 720)), ((720, 1280), (720, 1280)), ((1080, 1920), (720, 1280))],
)
def test_pictures_keep_their_shape_and_are_not_too_large(size: tuple[int, int], expected: tuple[int, int]) -> None:
    jpeg = JpegEncoder().encode(picture(*size).reformat(format="yuv420p"))
    height, width, *_ = simplejpeg.decode_jpeg_header(jpeg)
    assert (width, height) == expected


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (30, 120, 210), (200, 60, 20), (60, 200, 90)])
def test_colours_survive(colour: tuple[int, int, int]) -> None:
    decoded = simplejpeg.decode_jpeg(JpegEncoder().encode(picture(colour=colour).reformat(format="yuv420p")), "BGR")
    assert decoded.reshape(-1, 3).mean(axis=0) == pytest.approx(colour, abs=6)


def test_pictures_of_odd_size_and_other_formats_are_encoded() -> None:
    encoder = JpegEncoder()
    for frame in (picture(321, 241), picture(2000, 3), picture(64, 64).reformat(format="yuv444p")):
        height, width, *_ = simplejpeg.decode_jpeg_header(encoder.encode(frame))
        assert 0 < max(width, height) <= 1280


def test_a_picture_that_lies_on_its_side_is_set_upright() -> None:
    """A display matrix of 90 degrees counter-clockwise, as a phone's stream may carry."""

    class Lying:
        """What a decoder gives where the stream has a display matrix; av cannot make such a frame."""

        def __init__(self, frame: av.VideoFrame) -> None:
            self.width, self.height, self.rotation = frame.width, frame.height, 90
            self.frame = frame

    image = np.zeros((240, 320, 3), np.uint8)
    image[:, 160:] = 255  # its right half is bright: turned counter-clockwise, its upper half
    frame = Lying(av.VideoFrame.from_ndarray(image, format="bgr24").reformat(format="yuv420p"))
    encoder = JpegEncoder()
    reformat = encoder._reformatter.reformat

    class Unwrap:
        def reformat(self, lying: Lying, **options: Any) -> av.VideoFrame:
            return reformat(lying.frame, **options)

    encoder._reformatter = Unwrap()  # type: ignore[assignment]
    decoded = simplejpeg.decode_jpeg(encoder.encode(frame), "GRAY")[:, :, 0]  # type: ignore[arg-type]
    assert decoded.shape == (320, 240)
    assert decoded[:150].mean() > 240
    assert decoded[170:].mean() < 15


def encoded(data: bytes, number: int, *, clean: bool = True) -> EncodedFrame:
    return EncodedFrame("VP8", data, number * 6000, number == 0, clean)


def test_a_batch_gives_its_last_picture() -> None:
    frames = [encoded(d, n) for n, d in enumerate(vp8_frames(8, colours=lambda n: (0, 0, 30 * n)))]
    decoded = FrameDecoder().run(frames, encode=True)
    assert not decoded.failed
    assert decoded.picture is not None
    assert decoded.picture.position == 7 * 6000
    assert decoded.picture.jpeg is not None
    assert simplejpeg.decode_jpeg(decoded.picture.jpeg, "BGR")[:, :, 2].mean() == pytest.approx(210, abs=6)


def test_damaged_pictures_are_not_sampled() -> None:
    frames = [encoded(d, n, clean=n < 3) for n, d in enumerate(vp8_frames(5))]
    decoded = FrameDecoder().run(frames, encode=True)
    assert decoded.picture is not None
    assert (decoded.picture.clean, decoded.picture.jpeg) == (False, None)


def test_nonsense_is_a_failure_and_not_the_end() -> None:
    decoder = FrameDecoder()
    good = vp8_frames(3)
    assert decoder.run([encoded(b"\x00" * 50, 0)], encode=True).failed
    decoded = decoder.run([encoded(d, n) for n, d in enumerate(good)], encode=True)
    assert decoded.picture is not None


def test_a_key_frame_of_enormous_size_is_not_decoded() -> None:
    data = bytearray(vp8_frames(1)[0])
    data[6:10] = struct.pack("<HH", 16_000, 16_000)
    decoded = FrameDecoder().run([encoded(bytes(data), 0)], encode=True)
    assert (decoded.failed, decoded.picture) == (True, None)


def test_h264_of_enormous_size_is_not_decoded() -> None:
    context: Any = av.CodecContext.create("libx264", "w")
    context.width, context.height, context.pix_fmt, context.time_base = 4096, 4096, "yuv420p", Fraction(1, 15)
    context.options = {"tune": "zerolatency", "preset": "ultrafast"}
    frame = picture(4096, 4096).reformat(format="yuv420p")
    frame.pts = 0
    data = b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])
    decoded = FrameDecoder().run([EncodedFrame("H264", data, 0, True, True)], encode=True)
    assert (decoded.failed, decoded.picture) == (True, None)


@dataclass
class Sink:
    samples: list[tuple[float, bytes]] = field(default_factory=list)
    skipped: list[tuple[float, str]] = field(default_factory=list)
    reason: str | None = None

    def refusal(self) -> str | None:
        return self.reason

    def offer(self, captured_at: float, jpeg: bytes) -> None:
        self.samples.append((captured_at, jpeg))

    def skip(self, captured_at: float, reason: str) -> None:
        self.skipped.append((captured_at, reason))

    def seen(self, captured_at: float) -> None:
        pass


class Line:
    """An intake whose packets arrive at times of our making."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, per_second: float = 2.0) -> None:
        self.now = 1_800_000_000.0
        monkeypatch.setattr(video.time, "time", lambda: self.now)
        self.sink, self.executor, self.sequence = Sink(), ThreadPoolExecutor(1), 0
        self.intake = VideoIntake(codecs={96: "VP8"}, per_second=per_second, executor=self.executor, sink=self.sink)

    async def send(self, frames: list[bytes], *, first: int = 0, wait: bool = True) -> int:
        """Send frames at 15 a second; return how often a key frame was asked for."""
        asked = 0
        for number, data in enumerate(frames, first):
            self.now = 1_800_000_000.0 + number / 15
            payloads = Vp8Encoder._packetize(data, number)
            for payload in payloads:
                packet = RtpPacket(96, payload is payloads[-1], self.sequence & 0xFFFF, number * 6000, 1, payload)
                packet._data = payload[4:]  # type: ignore[attr-defined]
                self.sequence += 1
                asked += self.intake.add(packet)[0]
            if wait:
                await eventually(lambda: not self.intake.is_busy, pause_s=0.001)
        return asked


async def test_samples_nobody_wants_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    line, frames = Line(monkeypatch), vp8_frames(60)
    line.sink.reason = "queue_full"
    await line.send(frames[:30])
    line.sink.reason = None
    await line.send(frames[30:], first=30)
    assert [reason for _, reason in line.sink.skipped] == ["queue_full"] * 4
    assert [at - 1_800_000_000.0 for at, _ in line.sink.samples] == pytest.approx([2.0, 2.5, 3.0, 3.5], abs=0.07)


async def test_behind_a_busy_decoder_newer_samples_replace_older_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    line, frames = Line(monkeypatch), vp8_frames(60)
    await line.send(frames[:1])
    release = threading.Event()
    line.executor.submit(release.wait)
    await line.send(frames[1:], first=1, wait=False)
    release.set()
    await eventually(lambda: not line.intake.is_busy)
    assert {reason for _, reason in line.sink.skipped} == {"busy"}
    assert len(line.sink.samples) + len(line.sink.skipped) == 8
    assert line.sink.samples[-1][0] == pytest.approx(1_800_000_000.0 + 59 / 15, abs=0.01)


async def test_a_decoder_far_behind_drops_everything_and_asks_for_a_key_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    line, film = Line(monkeypatch), vp8_frames(26)
    film += film[1:] * 9
    await line.send(film[:1])
    release = threading.Event()
    line.executor.submit(release.wait)
    asked = await line.send(film[1:], first=1, wait=False)
    assert len(line.intake._pending) <= 181
    assert asked >= 1
    assert "overloaded" in {reason for _, reason in line.sink.skipped}
    release.set()
    await eventually(lambda: not line.intake.is_busy)
    before = len(line.sink.samples)
    await line.send(vp8_frames(10), first=300)
    assert len(line.sink.samples) > before


async def test_a_closed_intake_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    line, frames = Line(monkeypatch), vp8_frames(20)
    await line.send(frames[:1])
    line.intake.close()
    await line.send(frames[1:], first=1)
    assert len(line.sink.samples) == 1


async def test_a_decoder_that_breaks_is_replaced_and_what_was_due_is_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    line, film = Line(monkeypatch), vp8_frames(15)

    def broken(*_: Any, **__: Any) -> Any:
        raise MemoryError("no memory for a picture")

    with monkeypatch.context() as patch:
        patch.setattr(video.FrameDecoder, "run", broken)
        await line.send(film)
        await line.send(film, first=15)
    assert [reason for _, reason in line.sink.skipped] == ["failed"] * len(line.sink.skipped)
    assert len(line.sink.skipped) >= 2
    assert caplog.text.count("logged once per peer") == 1
    await line.send(film, first=30)  # it begins with a key frame
    await line.send(film, first=45)
    assert len(line.sink.samples) >= 2
