"""Files become what the product gets to see: upright pictures, sampled frames, gapless windows."""

from __future__ import annotations

import wave

import av
import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from detection.engine.media import SAMPLE_RATE_HZ
from detection.evaluation import media
from detection.evaluation.media import EPOCH, MediaError


def halves(height: int = 64, width: int = 96) -> np.ndarray:
    """A picture that is white above and black below."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2] = 255
    return picture


def brightness(picture: np.ndarray) -> tuple[float, float, float, float]:
    """Mean of the upper, lower, left and right half."""
    h, w = picture.shape[:2]
    return (
        picture[: h // 2].mean(),
        picture[h // 2 :].mean(),
        picture[:, : w // 2].mean(),
        picture[:, w // 2 :].mean(),
    )


@pytest.mark.parametrize("name", ["p.png", "p.bmp", "p.tiff", "p.ppm", "p.webp", "p.jpg"])
def test_stills_of_any_kind_are_read(tmp_path, name):
    assert cv2.imwrite(str(tmp_path / name), halves())
    picture = media.read_image(tmp_path / name)
    assert picture.shape == (64, 96, 3)
    assert brightness(picture)[0] > 250
    assert media.is_still(tmp_path / name)


def test_a_grey_picture_of_16_bits_becomes_bgr(tmp_path):
    cv2.imwrite(str(tmp_path / "p.png"), np.full((20, 20), 32768, np.uint16))
    assert media.read_image(tmp_path / "p.png").shape == (20, 20, 3)


def test_a_sideways_photograph_is_turned_upright(tmp_path):
    exif = Pillow.Exif()
    exif[0x0112] = 6  # stored turned to the left: to be shown turned to the right
    turned = np.rot90(halves())
    Pillow.fromarray(turned).save(tmp_path / "p.jpg", exif=exif, quality=95)
    upper, lower, *_ = brightness(media.read_image(tmp_path / "p.jpg"))
    assert (upper, lower) == pytest.approx((255, 0), abs=5)


def test_a_huge_photograph_is_read_and_scaled_down(tmp_path):
    cv2.imwrite(str(tmp_path / "p.jpg"), np.full((6000, 8000, 3), 90, np.uint8))
    picture = media.read_image(tmp_path / "p.jpg")
    assert picture.shape == (3072, 4096, 3)
    assert picture.mean() == pytest.approx(90, abs=1)


def test_a_torn_photograph_is_a_photograph_all_the_same(tmp_path):
    cv2.imwrite(str(tmp_path / "p.jpg"), np.random.default_rng(1).integers(0, 255, (200, 200, 3)).astype(np.uint8))
    (tmp_path / "p.jpg").write_bytes((tmp_path / "p.jpg").read_bytes()[:5000])
    assert media.is_still(tmp_path / "p.jpg")
    with pytest.raises(MediaError, match="breaks off"):
        media.read_image(tmp_path / "p.jpg")


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff\xd8\xff\xe0 torn", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture_says_so(tmp_path, content):
    (tmp_path / "p.jpg").write_bytes(content)
    with pytest.raises(MediaError):
        media.read_image(tmp_path / "p.jpg")


# --- Video


def test_frames_come_at_the_products_rate(write_clip):
    path = write_clip("c.mkv", [np.full((48, 64, 3), 10 * index, np.uint8) for index in range(21)])
    frames = list(media.read_frames(path, 2.0))
    assert [frame.captured_at - EPOCH for frame in frames] == pytest.approx([0, 0.5, 1.0, 1.5, 2.0])
    assert [frame.image.mean() for frame in frames] == pytest.approx([0, 50, 100, 150, 200], abs=4)
    assert len({frame.frame_id for frame in frames}) == 5


@pytest.mark.parametrize(("degrees", "side"), [(0, 0), (90, 3), (180, 1), (270, 2)])
def test_a_containers_rotation_is_applied(write_clip, tmp_path, degrees, side):
    """``side``: which half is bright when shown: 0 upper, 1 lower, 2 left, 3 right."""
    path = write_clip("c.mkv", [halves(64, 64)] * 3)
    rotated = tmp_path / "rotated.mov"
    rewrite_rotated(path, rotated, degrees)
    (frame,) = media.read_frames(rotated, 2.0)
    assert int(np.argmax(brightness(frame.image))) == side


def rewrite_rotated(source, target, degrees: int) -> None:
    """Copy a video into a QuickTime file whose track header asks players to turn it clockwise."""
    import av

    with av.open(str(source)) as given, av.open(str(target), "w", format="mov") as made:
        stream = made.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(given.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                made.mux(packet)
    data = bytearray(target.read_bytes())
    turn = {0: (1, 0, 0, 1), 90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}[degrees]
    a, b, c, d = (value << 16 for value in turn)
    identity = b"".join(int(v).to_bytes(4, "big", signed=True) for v in (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30))
    matrix = b"".join(int(v).to_bytes(4, "big", signed=True) for v in (a, b, 0, c, d, 0, 0, 0, 1 << 30))
    at = data.index(identity, data.index(b"tkhd"))
    data[at : at + len(matrix)] = matrix
    target.write_bytes(data)


@pytest.mark.parametrize("content", [b"", b"not a video", b"\x1aE\xdf\xa3" + bytes(100)])
def test_what_is_no_clip_says_so(tmp_path, content):
    (tmp_path / "c.mkv").write_bytes(content)
    with pytest.raises(MediaError):
        list(media.read_frames(tmp_path / "c.mkv", 2.0))
    with pytest.raises(MediaError):
        media.read_sound(tmp_path / "c.mkv")


def test_a_clip_that_breaks_off_counts_up_to_there(write_clip):
    path = write_clip("c.mkv", [np.random.default_rng(1).integers(0, 255, (48, 64, 3)).astype(np.uint8)] * 40)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert 3 <= len(list(media.read_frames(path, 2.0))) <= 5


def test_damage_within_a_clip_costs_what_is_damaged_and_is_told(write_clip, caplog):
    noise = np.random.default_rng(1).integers(0, 255, (48, 64, 3)).astype(np.uint8)
    path = write_clip("c.mkv", [noise] * 41, codec=("ffv1", "yuv420p"))
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for at, size in packets[10:20]:
        data[at + 20 : at + size] = bytes(size - 20)
    path.write_bytes(data)
    times = [frame.captured_at - EPOCH for frame in media.read_frames(path, 2.0)]
    assert times[:2] == pytest.approx([0, 0.5])
    assert 3.5 <= times[-1] <= 4
    assert 6 <= len(times) < 9
    assert "c.mkv is damaged" in caplog.text


# --- Sound


def tone(seconds: float, rate: int, hertz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


@pytest.fixture
def write_sound(tmp_path):
    """Return a function that writes float32 ``(channels, N)`` as a WAV of floating point."""

    def write(name, channels, rate):
        layout = "stereo" if len(channels) == 2 else "mono"
        with av.open(str(tmp_path / name), "w") as container:
            stream = container.add_stream("pcm_f32le", rate=rate, layout=layout)
            packed = np.ascontiguousarray(channels.T.reshape(1, -1), np.float32)
            frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=layout)
            frame.sample_rate = rate
            container.mux([*stream.encode(frame), *stream.encode(None)])
        return tmp_path / name

    return write


def test_sound_becomes_16_khz_mono(tmp_path):
    stereo = np.stack([tone(1.0, 8000), tone(1.0, 8000)], axis=1)
    with wave.open(str(tmp_path / "s.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes((stereo * 32767).astype("<i2").tobytes())
    sound = media.read_sound(tmp_path / "s.wav")
    assert sound.dtype == np.float32
    assert abs(len(sound) - SAMPLE_RATE_HZ) <= 2
    assert np.corrcoef(sound[1000:15000], tone(1.0, SAMPLE_RATE_HZ)[1000:15000])[0, 1] > 0.999


def test_two_like_channels_are_as_loud_as_one(write_sound):
    sound = media.read_sound(write_sound("s.wav", np.stack([tone(1.0, 48_000)] * 2), 48_000))
    assert np.abs(sound[2000:14_000]).max() == pytest.approx(0.5, abs=0.01)


def test_what_is_no_number_or_beyond_all_bounds_spoils_nothing_else(write_sound):
    samples = tone(1.0, 48_000)
    samples[1000:1100] = (np.nan, np.inf, -np.inf, 3e38) * 25
    sound = media.read_sound(write_sound("s.wav", samples[None], 48_000))
    assert np.isfinite(sound).all()
    assert np.corrcoef(sound[1000:15_000], tone(1.0, SAMPLE_RATE_HZ)[1000:15_000])[0, 1] > 0.999


def test_a_clip_without_sound_is_silent_and_one_without_pictures_has_none(write_clip):
    assert len(media.read_sound(write_clip("v.mkv", [halves()] * 5))) == 0
    with pytest.raises(MediaError, match="no video"):
        list(media.read_frames(write_clip("a.mkv", [], tone(1.0, 16_000)), 2.0))


def test_windows_join_without_a_gap_and_carry_what_came_before():
    sound = np.arange(40_000, dtype=np.float32) / 65536
    first, second, third = media.windows(sound, 1.0)
    assert [w.lead_in_samples for w in (first, second, third)] == [0, 8000, 8000]
    assert [w.started_at - EPOCH for w in (first, second, third)] == [0, 1, 2]
    assert third.ended_at - EPOCH == 3
    assert np.array_equal(second.samples[:8000], first.samples[8000:])
    assert len(third.samples) == 24_000
    assert np.allclose(third.samples[8000:16_000], sound[32_000:], atol=1e-4)
    assert not third.samples[16_000:].any()


def test_what_is_no_number_is_silence(tmp_path):
    sound = media.as_sent(np.array([0.5, np.nan, np.inf, -np.inf, 7.0], np.float32))
    assert sound == pytest.approx([0.5, 0, 1, -1, 1], abs=1e-4)
