"""Bytes into pictures and sound: every odd file gets an answer, none gets memory."""

from __future__ import annotations

import contextlib
import struct
import time
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detection.engine.image_header import MAX_JPEG_SCANS, MAX_PNG_COMPRESSED, read_header
from detection.engine.media import ImageError, decode_frame, decode_image, pcm16_to_float
from tests.engine.scenes import encoded, jpeg

LOSSLESS_WEBP = [cv2.IMWRITE_WEBP_QUALITY, 101]


def picture(width: int = 60, height: int = 40) -> np.ndarray:
    """Four flat quarters: red, green, blue, white; they survive every codec."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2] = (0, 0, 255)
    image[: height // 2, width // 2 :] = (0, 255, 0)
    image[height // 2 :, : width // 2] = (255, 0, 0)
    image[height // 2 :, width // 2 :] = 255
    return image


def quarters(image: np.ndarray) -> list[str]:
    """Name the colours of the quarters, from top left by rows."""
    height, width = image.shape[:2]
    names = {(0, 0, 1): "red", (0, 1, 0): "green", (1, 0, 0): "blue", (1, 1, 1): "white"}
    middles = [(height // 4, width // 4), (height // 4, -width // 4), (-height // 4, width // 4)]
    middles.append((-height // 4, -width // 4))
    return [names[tuple(int(v > 127) for v in image[y, x])] for y, x in middles]


def with_orientation(jpeg_bytes: bytes, orientation: int) -> bytes:
    """Insert an EXIF segment with that orientation tag behind the start of image."""
    tiff = b"MM\0*\0\0\0\x08" + struct.pack(">HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 0)
    body = b"Exif\0\0" + tiff
    return jpeg_bytes[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg_bytes[2:]


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_claiming(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", b"x") + png_chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("extension", "options"),
    [
        (".jpg", []),
        (".jpg", [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]),
        (".jpg", [cv2.IMWRITE_JPEG_RST_INTERVAL, 1]),
        (".png", []),
        (".webp", []),
        (".webp", LOSSLESS_WEBP),
    ],
)
def test_jpeg_png_and_webp_are_read(extension, options):
    data = encoded(picture(), extension, options)
    image = decode_image(data)
    assert (image.shape, image.dtype) == ((40, 60, 3), np.uint8)
    assert quarters(image) == ["red", "green", "blue", "white"]
    header = read_header(data)
    assert (header.width, header.height) == (60, 40)


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        (1, ["red", "green", "blue", "white"]),
        (2, ["green", "red", "white", "blue"]),
        (3, ["white", "blue", "green", "red"]),
        (4, ["blue", "white", "red", "green"]),
        (5, ["red", "blue", "green", "white"]),
        (6, ["blue", "red", "white", "green"]),
        (7, ["white", "green", "blue", "red"]),
        (8, ["green", "white", "red", "blue"]),
    ],
)
def test_rotation_tags_are_applied(orientation, expected):
    image = decode_image(with_orientation(jpeg(picture(), 95), orientation))
    assert quarters(image) == expected
    assert image.shape == ((40, 60, 3) if orientation <= 4 else (60, 40, 3))


@pytest.mark.parametrize("extension", [".jpg", ".png", ".webp"])
def test_grey_becomes_colour(extension):
    image = decode_image(encoded(np.full((20, 30), 77, np.uint8), extension))
    assert image.shape == (20, 30, 3)
    assert abs(int(image.mean()) - 77) <= 2


def test_sixteen_bits_become_eight():
    image = decode_image(encoded(np.full((20, 30, 3), 200 * 257, np.uint16), ".png"))
    assert (image.dtype, int(image.min()), int(image.max())) == (np.uint8, 200, 200)


@pytest.mark.parametrize(("extension", "options"), [(".png", []), (".webp", LOSSLESS_WEBP)])
def test_alpha_is_dropped(extension, options):
    image = decode_image(encoded(np.dstack([picture(), np.full((40, 60), 128, np.uint8)]), extension, options))
    assert quarters(image) == ["red", "green", "blue", "white"]


def test_one_pixel_is_a_picture():
    assert decode_image(encoded(np.full((1, 1, 3), 9, np.uint8), ".png")).shape == (1, 1, 3)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        b"not a picture at all",
        b"GIF89a" + bytes(50),
        b"\xff\xd8",
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        b"RIFF\x04\0\0\0WEBP",
        b"BM" + bytes(60),
        png_claiming(0, 5),
        png_claiming(5, 5),
        png_claiming(2_000_000, 1),
    ],
)
def test_what_is_no_picture_is_said_to_be_none(data):
    with pytest.raises(ImageError) as caught:
        decode_image(data)
    assert caught.value.code == "image_invalid"
    assert caught.value.message.endswith(".")


@pytest.mark.parametrize(
    ("extension", "options"),
    [(".jpg", []), (".jpg", [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]), (".png", []), (".webp", []), (".webp", LOSSLESS_WEBP)],
)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_file_that_breaks_off_is_no_picture(extension, options, share):
    noise = np.random.default_rng(1).integers(0, 255, (80, 80, 3)).astype(np.uint8)
    data = encoded(noise, extension, options)
    with pytest.raises(ImageError) as caught:
        decode_image(data[: int(len(data) * share)])
    assert caught.value.code == "image_invalid"


def test_what_cameras_append_to_a_jpeg_does_not_matter():
    assert quarters(decode_image(jpeg(picture()) + b"MotionPhoto\xff\xd8" + bytes(500)))[0] == "red"


def test_a_thumbnail_inside_does_not_pass_for_the_end_of_a_torn_off_jpeg():
    whole = jpeg(picture())
    thumbnail = b"Exif\0\0" + jpeg(picture(8, 8))
    segment = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    data = whole[:2] + segment + whole[2:]
    assert read_header(data).width == 60
    with pytest.raises(ImageError):
        decode_image(data[:-40])


@pytest.mark.parametrize(
    "bomb",
    [png_claiming(50_000, 50_000), png_claiming(2**31 - 1, 2**31 - 1), b"huge jpeg", b"huge webp"],
    ids=["png", "png of 4e18 pixels", "jpeg", "webp"],
)
def test_a_bomb_is_refused_from_its_header(bomb):
    if bomb == b"huge jpeg":
        small = bytearray(jpeg(picture()))
        frame_at = small.index(b"\xff\xc0")
        small[frame_at + 5 : frame_at + 9] = struct.pack(">HH", 65_500, 65_500)
        bomb = bytes(small)
    if bomb == b"huge webp":
        body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + (16_000_000).to_bytes(3, "little") * 2
        bomb = b"RIFF" + struct.pack("<I", len(body)) + body
    tracemalloc.start()
    started = time.process_time()
    with pytest.raises(ImageError) as caught:
        decode_image(bomb)
    elapsed_s, (_, peak) = time.process_time() - started, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert caught.value.code == "image_too_large"
    assert elapsed_s < 0.05
    assert peak < 1_000_000


def test_the_limit_is_the_callers():
    data = encoded(picture(), ".png")
    assert decode_image(data, max_pixels=2400).shape == (40, 60, 3)
    with pytest.raises(ImageError, match="60 x 40"):
        decode_image(data, max_pixels=2399)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_files_are_pictures_or_refused_never_anything_else(data):
    whole = bytearray(encoded(picture(), data.draw(st.sampled_from([".jpg", ".png", ".webp"]))))
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ImageError):
        image = decode_image(bytes(whole[: data.draw(st.integers(0, len(whole)))]), max_pixels=1_000_000)
        assert (image.dtype, image.ndim) == (np.uint8, 3)


def test_our_own_jpegs_are_read_fast_and_alike():
    image = decode_frame(jpeg(picture(), 95))
    assert quarters(image) == ["red", "green", "blue", "white"]
    grey = decode_frame(encoded(np.full((20, 30), 77, np.uint8), ".jpg"))
    assert grey.shape == (20, 30, 3)


@pytest.mark.parametrize("data", [b"", b"junk", jpeg(picture())[:200], encoded(picture(), ".png")])
def test_a_frame_that_is_no_jpeg_is_invalid(data):
    with pytest.raises(ImageError) as caught:
        decode_frame(data)
    assert caught.value.code == "image_invalid"


def test_pcm_becomes_float():
    samples = pcm16_to_float(np.array([0, 16384, -32768, 32767], "<i2").tobytes())
    assert samples.dtype == np.float32
    np.testing.assert_allclose(samples, [0, 0.5, -1, 1], atol=1e-4)
    assert len(pcm16_to_float(b"")) == 0
    with pytest.raises(ValueError, match="multiple"):
        pcm16_to_float(b"\0\0\0")


def progressive(*, repeats: int, side: int = 2000) -> tuple[bytes, int]:
    """Return a progressive JPEG whose last scan is repeated, and how many scans it has."""
    data = encoded(np.full((side, side, 3), 90, np.uint8), ".jpg", [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * repeats + data[-2:], data.count(b"\xff\xda") + repeats


def test_a_jpeg_of_very_many_scans_is_refused_without_decoding_them():
    bomb, scans = progressive(repeats=5000)
    assert scans > 5000
    started = time.process_time()
    with pytest.raises(ImageError) as caught:
        decode_image(bomb)
    assert caught.value.code == "image_invalid"
    assert time.process_time() - started < 0.5


def test_a_jpeg_of_as_many_scans_as_are_allowed_is_read_soon():
    _, plain = progressive(repeats=0)
    data, scans = progressive(repeats=MAX_JPEG_SCANS - plain)
    assert scans == MAX_JPEG_SCANS
    started = time.process_time()
    assert decode_image(data).shape == (2000, 2000, 3)
    assert time.process_time() - started < 5


@pytest.mark.parametrize(("texts", "fits"), [(MAX_PNG_COMPRESSED, True), (1000, False)])
def test_a_png_of_very_many_compressed_texts_is_refused_without_unpacking_them(texts, fits):
    png = encoded(picture(), ".png")
    body = b"zTXtComment\0\0" + zlib.compress(bytes(7_900_000), 9)
    text = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    started = time.process_time()
    with contextlib.nullcontext() if fits else pytest.raises(ImageError, match="compressed texts"):
        decode_image(png[:33] + text * texts + png[33:])
    assert time.process_time() - started < 10
