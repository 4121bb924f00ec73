"""Real peers over loopback: what a worker gets of what they send."""

from __future__ import annotations

import asyncio
import itertools
import statistics

import numpy as np
import pytest
import simplejpeg
from numpy.typing import NDArray

from detection.messages import SAMPLE_DEADLINE_S, audio_key, frame_key
from tests.media_gateway.publishers import Camera, Microphone, plain_picture, tone
from tests.media_gateway.world import GatewayUnderTest, Inbox, eventually


def mean_colour(jpeg: bytes) -> list[float]:
    image = simplejpeg.decode_jpeg(jpeg, "BGR")
    return [float(value) for value in image.reshape(-1, 3).mean(axis=0)]


def sound(inbox: Inbox, window: object) -> NDArray[np.float64]:
    return np.frombuffer(inbox.data(window), "<i2").astype(float)  # type: ignore[arg-type]


def loudest_hz(samples: NDArray[np.float64]) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.fft.rfftfreq(len(samples), 1 / 16_000)[spectrum.argmax()])


@pytest.mark.parametrize("codec", ["VP8", "H264"])
async def test_a_stream_yields_pictures_of_the_right_content_at_the_sampled_rate(
    gateway: GatewayUnderTest, inbox: Inbox, codec: str
) -> None:
    colours = [(200, 40, 40), (40, 200, 40), (40, 40, 200)]
    camera = Camera(lambda seconds: plain_picture(colours[int(seconds) % 3]), fps=15)
    async with gateway.publisher(camera, fps=4.0, video_codec=codec) as publisher:
        await publisher.publish()
        await eventually(lambda: len(inbox.collect().frames) >= 14, what="the fourteenth frame")
    times = [frame.captured_at for frame in inbox.frames]
    assert times == sorted(set(times))
    assert statistics.mean(np.diff(times)) == pytest.approx(0.25, abs=0.03)
    assert camera.started_at is not None
    for frame in inbox.frames:
        seconds = frame.captured_at - camera.started_at
        assert frame.key == frame_key(publisher.session_id, frame.frame_id)
        assert frame.deadline == pytest.approx(frame.captured_at + SAMPLE_DEADLINE_S)
        if 0.15 < seconds % 1 < 0.85:  # not at a change of colour
            assert mean_colour(inbox.data(frame)) == pytest.approx(colours[int(seconds) % 3], abs=30), seconds
    assert [f.previous_captured_at for f in inbox.frames] == [None, *times[:-1]]


async def test_windows_of_sound_join_without_a_seam_and_hold_what_was_said(
    gateway: GatewayUnderTest, inbox: Inbox
) -> None:
    microphone = Microphone(tone(1000))
    camera = Camera(lambda seconds: plain_picture((90, 90, 90)))
    async with gateway.publisher(camera, microphone) as publisher:
        await publisher.publish()
        await eventually(lambda: len(inbox.collect().windows) >= 4, what="the fourth window")
    windows = inbox.windows
    assert microphone.started_at is not None
    assert windows[0].started_at == pytest.approx(microphone.started_at, abs=0.1)
    assert [w.lead_in_samples for w in windows] == [0] + [8000] * (len(windows) - 1)
    assert [w.previous_ended_at for w in windows] == [None, *(w.ended_at for w in windows[:-1])]
    for window in windows:
        assert window.key == audio_key(publisher.session_id, window.window_id)
        assert window.ended_at - window.started_at == pytest.approx(1.0)
        samples = sound(inbox, window)
        assert len(samples) == 16_000 + window.lead_in_samples
        assert loudest_hz(samples) == pytest.approx(1000, abs=2)
    for before, after in itertools.pairwise(windows):
        assert after.started_at == pytest.approx(before.ended_at, abs=0.05)
        assert (sound(inbox, after)[:8000] == sound(inbox, before)[-8000:]).all()
    whole = np.concatenate([sound(inbox, w)[w.lead_in_samples :] for w in windows])[8000:]
    # A sine has no jump anywhere: at 1 kHz and this level one sample differs from the next by at most 3500.
    assert np.abs(np.diff(whole)).max() < 4200
    assert np.abs(np.diff(whole, 2)).max() < 2 * np.median(np.sort(np.abs(np.diff(whole, 2)))[-len(whole) // 10 :])


async def test_picture_and_sound_share_one_clock(gateway: GatewayUnderTest, inbox: Inbox) -> None:
    """A flash and a beep that belong together are captured at the same time."""
    period, length = 2.0, 0.5

    def picture(seconds: float) -> NDArray[np.uint8]:
        return plain_picture((255, 255, 255) if seconds % period < length else (0, 0, 0))

    def beep(seconds: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(seconds % period < length, 0.5 * np.sin(2 * np.pi * 700 * seconds), 0.0)

    camera, microphone = Camera(picture, fps=15), Microphone(beep)
    async with gateway.publisher(camera, microphone, fps=15.0) as publisher:
        await publisher.publish()
        await eventually(lambda: len(inbox.collect().windows) >= 7, what="the seventh window")
    assert camera.started_at is not None
    assert microphone.started_at is not None
    started_apart = microphone.started_at - camera.started_at
    frames = [(f.captured_at, mean_colour(inbox.data(f))[0] > 128) for f in inbox.frames]
    flashes = [now for (_, was), (now, is_) in itertools.pairwise(frames) if is_ and not was]
    pcm = np.concatenate([sound(inbox, w)[w.lead_in_samples :] for w in inbox.windows])
    times = np.concatenate([w.started_at + np.arange(16_000) / 16_000 for w in inbox.windows])
    loud = np.abs(pcm) > 3000
    onsets = times[1:][loud[1:] & ~loud[:-1]]
    beeps = [t for i, t in enumerate(onsets) if i == 0 or t - onsets[i - 1] > 0.3]
    pairs = [(flash, beep) for flash in flashes for beep in beeps if abs(flash - beep) < 0.8]
    assert len(pairs) >= 2, (flashes, beeps)
    for flash_at, beep_at in pairs:
        assert abs(beep_at - flash_at - started_apart) < 0.15
        # Also on the true clock: the flash was painted a whole number of periods after the camera started.
        off = (flash_at - camera.started_at + period / 2) % period - period / 2
        assert abs(off) < 0.15


async def test_large_pictures_are_scaled_down(gateway: GatewayUnderTest, inbox: Inbox) -> None:
    camera = Camera(lambda seconds: plain_picture((10, 120, 200), size_wh=(1920, 1080)), fps=4)
    async with gateway.publisher(camera) as publisher:
        await publisher.publish()
        await eventually(lambda: inbox.collect().frames, what="a frame")
    height, width, *_ = simplejpeg.decode_jpeg_header(inbox.data(inbox.frames[0]))
    assert (width, height) == (1280, 720)


async def test_a_change_of_resolution_goes_on(gateway: GatewayUnderTest, inbox: Inbox) -> None:
    camera = Camera(
        lambda seconds: plain_picture((10, 120, 200), size_wh=(320, 240) if seconds < 1.5 else (480, 360)), fps=10
    )
    async with gateway.publisher(camera) as publisher:
        await publisher.publish()
        await eventually(lambda: len(inbox.collect().frames) >= 6, what="the sixth frame")
    sizes = [simplejpeg.decode_jpeg_header(inbox.data(frame))[:2] for frame in inbox.frames]
    assert sizes[0] == (240, 320)
    assert sizes[-1] == (360, 480)


async def test_two_streams_do_not_mix(gateway: GatewayUnderTest, inbox: Inbox) -> None:
    red, blue = Camera(lambda s: plain_picture((0, 0, 230))), Camera(lambda s: plain_picture((230, 0, 0)))
    async with gateway.publisher(red) as first, gateway.publisher(blue) as second:
        await asyncio.gather(first.publish(), second.publish())
        await eventually(lambda: len(inbox.collect().frames) >= 8, what="frames of both")
    by_session = {first.session_id: 2, second.session_id: 0}
    assert {frame.session_id for frame in inbox.frames} == set(by_session)
    for frame in inbox.frames:
        assert int(np.argmax(mean_colour(inbox.data(frame)))) == by_session[frame.session_id]
