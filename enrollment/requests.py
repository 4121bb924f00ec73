"""Read bodies that carry pictures: as files in a form, or as base64 in JSON, both bounded."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from rest_framework.parsers import MultiPartParser

from accounts.parsers import BoundedJSONParser
from accounts.problems import Problem


class PicturesJSONParser(BoundedJSONParser):
    """JSON large enough for five pictures in base64."""

    max_bytes: ClassVar[int] = settings.BODY_MAX_BYTES


PARSERS = [MultiPartParser, PicturesJSONParser]


def images_require_small(images: list[bytes]) -> None:
    """Raise ``Problem`` (``image_too_large``) naming the first picture of more than ``IMAGE_MAX_BYTES``."""
    for index, image in enumerate(images):
        if len(image) > settings.IMAGE_MAX_BYTES:
            raise Problem(
                "image_too_large",
                f"Picture {index + 1} has {len(image)} bytes; at most {settings.IMAGE_MAX_BYTES} are read.",
                image=index,
                measured=len(image),
                threshold=settings.IMAGE_MAX_BYTES,
            )
