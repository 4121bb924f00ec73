"""Leave of a JPEG what makes the picture: no EXIF with a position, no comments, nothing before it or behind it."""

from __future__ import annotations

from typing import Final

_START: Final = b"\xff\xd8"
_END: Final = 0xD9
_SCAN: Final = 0xDA
_COMMENT: Final = 0xFE
_APPLICATION: Final = range(0xE0, 0xF0)
_KEPT: Final = frozenset({0xE0, 0xEE})
"""JFIF, and Adobe's mark, without which some pictures would have other colours."""
_IN_SCAN: Final = frozenset({0x00, *range(0xD0, 0xD8)})
"""What may follow 0xFF within a scan: a stuffed byte, a restart."""


def without_metadata(jpeg: bytes) -> bytes:
    """Return the same picture, its coded data unchanged; raise ``ValueError`` when it is no whole JPEG."""
    if not jpeg.startswith(_START):
        raise ValueError("It does not begin as a JPEG.")
    parts, at = [_START], len(_START)
    while True:
        marker = _marker(jpeg, at)
        if marker == _END:
            return b"".join([*parts, jpeg[at : at + 2]])
        end = at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
        if end > len(jpeg) or end < at + 4:
            raise ValueError(f"The part at {at} is longer than the file.")
        if marker == _SCAN:
            end = _scan_end(jpeg, end)
        if marker != _COMMENT and (marker not in _APPLICATION or marker in _KEPT):
            parts.append(jpeg[at:end])
        at = end


def _marker(jpeg: bytes, at: int) -> int:
    if at + 2 > len(jpeg) or jpeg[at] != 0xFF:
        raise ValueError(f"There is no marker at {at}.")
    return jpeg[at + 1]


def _scan_end(jpeg: bytes, start: int) -> int:
    """Return where the next marker after a scan's coded data is."""
    at = jpeg.find(b"\xff", start)
    while 0 <= at < len(jpeg) - 1:
        if jpeg[at + 1] not in _IN_SCAN:
            return at
        at = jpeg.find(b"\xff", at + 2)
    raise ValueError("It has no end.")
