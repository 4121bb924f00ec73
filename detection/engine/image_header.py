"""Read format and size of a JPEG, PNG or WebP from its bytes without decoding, and notice a file that breaks off.

A decoder must allocate what the header claims, so a picture of a few bytes can claim gigabytes; and decoders fill what
is missing of a truncated file with grey and call it a success.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from detection.engine.media_errors import ImageError

_JPEG_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_STANDALONE_MARKERS = frozenset({0x01, *range(0xD0, 0xD8)})
_JPEG_START_OF_SCAN, _JPEG_END = 0xDA, 0xD9
MAX_JPEG_SCANS = 100
"""Encoders write ten or so. Each scan costs a pass over the whole picture, even if it is a few bytes in the file."""
_PNG_COMPRESSED = frozenset({b"zTXt", b"iTXt", b"iCCP"})
MAX_PNG_COMPRESSED = 16
"""Chunks beside the picture that the decoder unpacks too: up to 8 MB of each, out of a thousandth of that."""


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What a file says of itself. ``format``: ``JPEG``, ``PNG`` or ``WebP``; sizes in pixels, before rotation."""

    format: str
    width: int
    height: int


def read_header(data: bytes) -> ImageHeader:
    """Read the header of a complete file; raise ``ImageError`` (image_invalid) for other formats and torn-off files."""
    try:
        header = _read(data)
    except (struct.error, IndexError):
        raise _invalid("The picture breaks off: it was not transferred completely.") from None
    if header.width < 1 or header.height < 1:
        raise _invalid("The picture has no pixels.")
    return header


def _invalid(message: str) -> ImageError:
    return ImageError("image_invalid", message)


def _read(data: bytes) -> ImageHeader:
    if data[:2] == b"\xff\xd8":
        return _read_jpeg(data)
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return _read_png(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _read_webp(data)
    raise _invalid("This is no picture in a format that is read: JPEG, PNG or WebP.")


def _read_jpeg(data: bytes) -> ImageHeader:
    """Walk from marker to marker to the end-of-image marker; what cameras append after it does not matter."""
    header: ImageHeader | None = None
    scans = 0
    at = 2
    while True:
        marker, at = _next_marker(data, at)
        if marker == _JPEG_END:
            if header is None:
                raise _invalid("The picture has no pixels.")
            return header
        if marker in _JPEG_STANDALONE_MARKERS:
            continue
        (length,) = struct.unpack_from(">H", data, at)
        if marker in _JPEG_FRAME_MARKERS and header is None:
            height, width = struct.unpack_from(">HH", data, at + 3)
            header = ImageHeader("JPEG", width, height)
        at += length
        if marker == _JPEG_START_OF_SCAN:
            scans += 1
            if scans > MAX_JPEG_SCANS:
                raise _invalid(f"The picture is stored in more than {MAX_JPEG_SCANS} scans.")
            at = _end_of_scan(data, at)


def _next_marker(data: bytes, at: int) -> tuple[int, int]:
    """Return the marker at or after ``at`` and the position behind it; fill bytes and stray ones are skipped."""
    at = data.find(b"\xff", at)
    if at < 0:
        raise IndexError
    while data[at] == 0xFF:
        at += 1
    return data[at], at + 1


def _end_of_scan(data: bytes, at: int) -> int:
    """Return the position of the next marker that is no stuffed byte and no restart."""
    while True:
        at = data.find(b"\xff", at)
        if at < 0:
            raise IndexError
        following = data[at + 1]
        if following != 0 and not 0xD0 <= following <= 0xD7 and following != 0xFF:
            return at
        at += 1 if following == 0xFF else 2


def _read_png(data: bytes) -> ImageHeader:
    """Take the size from the first chunk, then walk to the end chunk."""
    if data[12:16] != b"IHDR":
        raise _invalid("The picture has no PNG header.")
    width, height = struct.unpack_from(">II", data, 16)
    at, compressed = 8, 0
    while True:
        length, kind = struct.unpack_from(">I4s", data, at)
        at += 12 + length
        compressed += kind in _PNG_COMPRESSED
        if compressed > MAX_PNG_COMPRESSED:
            raise _invalid(f"The picture has more than {MAX_PNG_COMPRESSED} compressed texts.")
        if kind == b"IEND":
            return ImageHeader("PNG", width, height)


def _read_webp(data: bytes) -> ImageHeader:
    """Take the size from whichever of the three kinds of first chunk there is (RFC 9649)."""
    (riff_size,) = struct.unpack_from("<I", data, 4)
    if len(data) < riff_size + 8:
        raise IndexError
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    elif kind == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    else:
        raise _invalid("The picture has no WebP header.")
    return ImageHeader("WebP", width, height)
