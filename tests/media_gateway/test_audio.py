"""Windows of sound: every sample in its place."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import av
import numpy as np
import pytest
from aiortc.rtp import RtpPacket
from numpy.typing import NDArray

from media_gateway import audio
from media_gateway.audio import AudioIntake, WindowBuilder, opus_duration
from tests.media_gateway.world import eventually

RATE = 48_000
DELAY = 312
"""Opus' own delay at 48 kHz (6.5 ms): what goes in comes out this much later."""


def opus(sound: NDArray[np.int16], *, ptime_ms: int = 20) -> list[tuple[int, bytes]]:
    """Encode mono sound at 48 kHz; return positions and packets."""
    context: Any = av.CodecContext.create("libopus", "w")
    context.sample_rate, context.format, context.layout, context.bit_rate = RATE, "s16", "mono", 96_000
    context.options = {"application": "voip", "frame_duration": str(ptime_ms)}
    context.open()
    size, packets = context.frame_size, []
    for start in range(0, len(sound) - size + 1, size):
        frame = av.AudioFrame.from_ndarray(sound[None, start : start + size], format="s16", layout="mono")
        frame.sample_rate, frame.pts = RATE, start
        packets += [(start, bytes(packet)) for packet in context.encode(frame)]
    return packets


def clicks(seconds: float, *, each_s: float = 0.25) -> NDArray[np.int16]:
    """Return bursts of 5 ms of a tone at each ``each_s``."""
    t = np.arange(round(seconds * RATE)) / RATE
    return np.where(t % each_s < 0.005, 16_000 * np.sin(2 * np.pi * 2000 * t), 0).astype(np.int16)


def onsets(samples: NDArray[np.int16]) -> list[float]:
    """Return the seconds at which a burst begins in sound at 16 kHz."""
    loud = np.flatnonzero(np.abs(samples.astype(int)) > 4000)
    return [float(at) / 16_000 for i, at in enumerate(loud) if i == 0 or at - loud[i - 1] > 800]


@pytest.mark.parametrize("ptime_ms", [10, 20, 40, 60])
def test_the_length_of_a_packet_is_read_from_it(ptime_ms: int) -> None:
    packets = opus(clicks(1.0), ptime_ms=ptime_ms)
    assert len(packets) >= 10
    assert {opus_duration(payload) for _, payload in packets} == {ptime_ms * 48}


@pytest.mark.parametrize(
    ("payload", "samples"),
    [
        (b"", 0),
        (b"\x03", 0),  # a count of frames is announced and missing
        (b"\x00", 480),  # SILK, 10 ms, one frame
        (b"\x19", 5760),  # SILK, 60 ms, two frames
        (b"\x63\x03", 1440),  # hybrid, 10 ms, three frames
        (b"\x80", 120),  # CELT, 2.5 ms
        (b"\xfb\x3f", 5760),  # sixty-three frames of 20 ms: no packet is longer than 120 ms
    ],
)
def test_any_first_bytes_have_a_length(payload: bytes, samples: int) -> None:
    assert opus_duration(payload) == samples


def windows_of(packets: list[tuple[int, bytes]], *, count: int, origin: int = 0) -> list[audio.Window]:
    """Build consecutive windows of a second, as ``AudioIntake`` has them built."""
    builder, built = WindowBuilder(), []
    for number in range(count):
        start, stop = number * RATE, (number + 1) * RATE
        taken = [(p + origin, data) for p, data in packets if p < stop + 480 and (number == 0 or p >= start + 480)]
        built.append(builder.build(taken, start + origin, stop + origin))
    return built


@pytest.mark.parametrize("ptime_ms", [20, 60])
def test_every_sound_is_where_it_belongs(ptime_ms: int) -> None:
    windows = windows_of(opus(clicks(4.2), ptime_ms=ptime_ms), count=4, origin=123_456_789)
    assert [window.lead_in_samples for window in windows] == [0, 8000, 8000, 8000]
    for number, window in enumerate(windows):
        samples = window.samples[window.lead_in_samples :]
        assert len(samples) == 16_000
        expected = [DELAY / RATE + k * 0.25 for k in range(4)]
        assert onsets(samples) == pytest.approx(expected, abs=0.002), number


def test_a_lost_packet_leaves_silence_and_moves_nothing() -> None:
    packets = opus(clicks(3.2))
    kept = [packet for packet in packets if not 24_000 - 960 <= packet[0] < 24_000 + 1920]  # the burst at 0.5 s
    first, second, _ = windows_of(kept, count=3)
    assert onsets(first.samples) == pytest.approx([DELAY / RATE + k * 0.25 for k in (0, 1, 3)], abs=0.002)
    assert onsets(second.samples[8000:]) == pytest.approx([DELAY / RATE + k * 0.25 for k in range(4)], abs=0.002)
    assert not first.samples[8100:8400].any() or np.abs(first.samples[8100:8400]).max() <= 2


def test_broken_packets_are_silence() -> None:
    packets = [(position, b"\xff\xff\xff\xff") for position in range(0, RATE + 960, 960)]
    window = WindowBuilder().build(packets, 0, RATE)
    assert len(window.samples) == 16_000


def test_a_window_elsewhere_begins_without_the_lead_in_of_another() -> None:
    packets, builder = opus(clicks(3.2)), WindowBuilder()
    builder.build(packets[:52], 0, RATE)
    assert builder.build([(p, d) for p, d in packets if p >= 2 * RATE], 2 * RATE, 3 * RATE).lead_in_samples == 0


def test_stereo_becomes_mono() -> None:
    context: Any = av.CodecContext.create("libopus", "w")
    context.sample_rate, context.format, context.layout = RATE, "s16", "stereo"
    context.open()
    t = np.arange(RATE) / RATE
    left = (8000 * np.sin(2 * np.pi * 500 * t)).astype(np.int16)
    packets = []
    for start in range(0, RATE, 960):
        both = np.stack([left[start : start + 960], left[start : start + 960]], axis=1).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(both), format="s16", layout="stereo")
        frame.sample_rate, frame.pts = RATE, start
        packets += [(start, bytes(packet)) for packet in context.encode(frame)]
    window = WindowBuilder().build(packets, 0, RATE)
    assert np.abs(window.samples[2000:14000]).max() == pytest.approx(8000, rel=0.1)


@dataclass
class Sink:
    windows: list[tuple[float, float, int, bytes]] = field(default_factory=list)
    skipped: list[tuple[float, float, str]] = field(default_factory=list)
    reason: str | None = None

    def refusal(self) -> str | None:
        return self.reason

    def offer(self, *window: Any) -> None:
        self.windows.append(window)

    def skip(self, *window: Any) -> None:
        self.skipped.append(window)

    def seen(self, captured_at: float) -> None:
        pass


class Line:
    """An intake whose packets arrive at times of our making."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_800_000_000.0
        monkeypatch.setattr(audio.time, "time", lambda: self.now)
        self.sink = Sink()
        self.executor = ThreadPoolExecutor(1)
        self.intake = AudioIntake(codecs={111: "OPUS"}, window_s=1.0, executor=self.executor, sink=self.sink)

    async def send(self, packets: list[tuple[int, bytes]], *, ssrc: int = 1, offset: int = 0) -> None:
        """Send packets at the pace of their positions."""
        begin, first = self.now, packets[0][0] if packets else 0
        for position, payload in packets:
            self.now = begin + (position - first + 960) / RATE
            packet = RtpPacket(111, 0, 0, (position + offset) & 0xFFFFFFFF, ssrc, payload)
            packet._data = payload  # type: ignore[attr-defined]
            self.intake.add(packet)
            await asyncio.sleep(0)
        await eventually(lambda: self.intake._job is None, pause_s=0.005)

    @property
    def starts(self) -> list[float]:
        return [window[0] - 1_800_000_000.0 for window in self.sink.windows]


async def test_a_short_gap_is_silence_within_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    line, packets = Line(monkeypatch), opus(clicks(4.0))
    await line.send([p for p in packets if not 1.3 * RATE < p[0] < 2.1 * RATE])
    assert line.starts == pytest.approx([0.0, 1.0, 2.0], abs=0.001)
    assert all(len(window[3]) == 2 * (16_000 + window[2]) for window in line.sink.windows)


async def test_a_long_gap_begins_another_window(monkeypatch: pytest.MonkeyPatch) -> None:
    line, packets = Line(monkeypatch), opus(clicks(6.0))
    await line.send([p for p in packets if not 1.3 * RATE <= p[0] < 3.5 * RATE])
    assert line.starts == pytest.approx([0.0, 1.0, 3.5, 4.5], abs=0.001)
    assert [window[2] for window in line.sink.windows] == [0, 8000, 0, 8000]
    before_gap = np.frombuffer(line.sink.windows[1][3], "<i2")[8000:]
    assert onsets(before_gap) == pytest.approx([DELAY / RATE, 0.25 + DELAY / RATE], abs=0.002)


async def test_timestamps_that_jump_begin_another_window_at_the_right_time(monkeypatch: pytest.MonkeyPatch) -> None:
    line, packets = Line(monkeypatch), opus(clicks(5.0))
    half = [p for p in packets if p[0] < 2.5 * RATE]
    await line.send(half)
    await line.send([p for p in packets if p[0] >= 2.5 * RATE], offset=-1_000_000_000)
    assert line.starts == pytest.approx([0.0, 1.0, 2.0, 2.5, 3.5], abs=0.001)


async def test_another_source_takes_over_only_when_the_first_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    line, packets = Line(monkeypatch), opus(clicks(3.2))
    mixed = [(p[0], p[1]) for p in packets if p[0] < 1.2 * RATE]
    await line.send(mixed)
    await line.send([(0, packets[0][1])], ssrc=2, offset=777)
    assert line.intake._source.ssrc == 1
    line.now += 2.0
    await line.send(packets, ssrc=2, offset=999_999)
    assert line.intake._source.ssrc == 2
    assert len(line.sink.windows) >= 4


async def test_windows_nobody_wants_are_counted_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    line, packets = Line(monkeypatch), opus(clicks(4.2))
    line.sink.reason = "redis_unavailable"
    await line.send([p for p in packets if p[0] < 2.2 * RATE])
    line.sink.reason = None
    await line.send([p for p in packets if p[0] >= 2.2 * RATE])
    assert [round(start - 1_800_000_000.0, 2) for start, _, _ in line.sink.skipped] == [0.0, 1.0]
    assert {reason for _, _, reason in line.sink.skipped} == {"redis_unavailable"}
    assert line.starts == pytest.approx([2.0, 3.0], abs=0.001)
    assert [window[2] for window in line.sink.windows] == [0, 8000]


async def test_packets_that_never_fill_a_window_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    line = Line(monkeypatch)
    await line.send([(position, b"\x00\x00") for position in range(5000)])
    assert len(line.intake._packets) <= 2000


async def test_a_window_whose_decoding_breaks_is_counted_and_the_next_ones_are_decoded(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    line, packets = Line(monkeypatch), opus(clicks(5.0))
    build, calls = WindowBuilder.build, []

    def breaks_twice(self: WindowBuilder, *arguments: Any) -> audio.Window:
        calls.append(arguments)
        if len(calls) <= 2:
            raise MemoryError("no memory for a window")
        return build(self, *arguments)

    monkeypatch.setattr(WindowBuilder, "build", breaks_twice)
    await line.send(packets)
    assert [window[2] for window in line.sink.skipped] == ["failed", "failed"]
    assert line.starts == pytest.approx([2.0, 3.0], abs=0.001)
    assert caplog.text.count("logged once per peer") == 1
