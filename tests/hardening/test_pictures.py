"""Pictures made wrong, huge, or two things at once: each has an answer, and memory is given back."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import psutil
import pytest
from PIL import Image

from detection.engine.media import ImageError, decode_image
from tests.hardening.mutate import mutated
from tests.hardening.strain import MEGABYTE, grown_bytes

MAY_GROW = 24 * MEGABYTE
HUGE = 100_000


def encoded(kind: str, *, size: tuple[int, int] = (64, 48), **options: object) -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(1).integers(0, 255, (size[1], size[0], 3), np.uint8)
    Image.fromarray(noise).save(buffer, kind, **options)
    return buffer.getvalue()


def animated(kind: str) -> bytes:
    frames = [Image.new("RGB", (64, 48), (shade, 0, 0)) for shade in (10, 120, 240)]
    buffer = io.BytesIO()
    frames[0].save(buffer, kind, save_all=True, append_images=frames[1:], duration=50)
    return buffer.getvalue()


def with_position() -> bytes:
    exif = Image.Exif()
    exif.get_ifd(0x8825)[1] = "N"
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)
    return encoded("JPEG", exif=exif)


def png(width: int, height: int, *, pixels: bytes = b"x") -> bytes:
    """Return a PNG of a few bytes that claims to be large."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", pixels), (b"IEND", b"")]
    made = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + made


ORIGINALS = [encoded("JPEG"), encoded("JPEG", progressive=True), encoded("PNG"), encoded("WEBP"), with_position()]
HTML = b"<html><script>alert(document.domain)</script></html>"


def outcome(data: bytes) -> str:
    """Return the code of the refusal, or that there is a picture; anything else that is raised is a fault."""
    try:
        image = decode_image(data)
    except ImageError as error:
        return str(error.code)
    assert image.ndim == 3
    assert image.dtype == np.uint8
    return "picture"


def test_thousands_of_pictures_made_wrong_are_refused_or_read_and_not_kept() -> None:
    outcomes: set[str] = set()

    def work() -> None:
        outcomes.update(outcome(data) for data in mutated(ORIGINALS, 3000, seed=7))

    assert grown_bytes(work) < MAY_GROW
    assert outcomes >= {"picture", "image_invalid"}


@pytest.mark.parametrize("original", ORIGINALS, ids=["jpeg", "progressive", "png", "webp", "position"])
def test_a_picture_that_breaks_off_anywhere_is_refused(original: bytes) -> None:
    ends = range(0, len(original) - 12, max(1, len(original) // 150))
    assert {outcome(original[:end]) for end in ends} == {"image_invalid"}


@pytest.mark.parametrize(
    "bomb",
    [
        png(HUGE, HUGE),
        png(2**31 - 1, 1),
        png(HUGE, 500, pixels=zlib.compress(bytes(10 * MEGABYTE), 9)),
        encoded("JPEG").replace(struct.pack(">HH", 48, 64), struct.pack(">HH", 65_535, 65_535), 1),
    ],
    ids=["square", "line", "compressed", "jpeg"],
)
def test_a_bomb_is_refused_before_anything_is_allocated(bomb: bytes) -> None:
    before = psutil.Process().memory_info().rss
    assert outcome(bomb) == "image_too_large"
    assert psutil.Process().memory_info().rss - before < 4 * MEGABYTE


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_an_animation_is_one_picture_or_refused(kind: str) -> None:
    data = animated(kind)
    assert len(data) > 100
    if outcome(data) == "picture":
        assert decode_image(data).shape == (48, 64, 3)


def test_an_animated_gif_and_everything_else_is_no_picture() -> None:
    script = b"GIF89a/*" + b"*/=1;alert(1)"
    others = [
        animated("GIF"),
        script,
        b"%PDF-1.4",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        HTML,
        b"PK\x03\x04",
        b"",
    ]
    assert {outcome(data) for data in others} == {"image_invalid"}


def test_a_picture_that_is_a_page_as_well_is_only_its_pixels() -> None:
    for original in ORIGINALS[:3]:
        both = original + HTML
        if outcome(both) == "picture":
            assert HTML not in decode_image(both).tobytes()
    comment = ORIGINALS[0][:2] + b"\xff\xfe" + struct.pack(">H", len(HTML) + 2) + HTML + ORIGINALS[0][2:]
    assert np.array_equal(decode_image(comment), decode_image(ORIGINALS[0]))


def test_a_position_in_a_picture_is_lost_with_its_file() -> None:
    assert b"Exif" in with_position()
    assert np.array_equal(decode_image(with_position()), decode_image(ORIGINALS[0]))
