"""The one error of reading pictures."""

from __future__ import annotations


class ImageError(ValueError):
    """A picture that cannot be used. ``code``: ``image_invalid`` or ``image_too_large``; ``message`` is for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
