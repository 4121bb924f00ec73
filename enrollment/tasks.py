"""The worker's part of enrolling: read pictures, say what is wrong with them, embed the face; keep the galleries."""

from __future__ import annotations

import logging
from typing import Final

from celery import shared_task
from celery.exceptions import SoftTimeLimitExceeded
from django.conf import settings

from detection.engine import enrolling
from detection.engine.detectors.identity import MODEL_NAME
from detection.engine.media import ImageError, decode_image
from detection.engine.pipeline import Pipeline
from detection.worker import get_engine
from enrollment import gallery_keeping
from enrollment.embedding import TASK_EMBED, ImageProblem, ImageReading, images_fetch, readings_send
from enrollment.search_settings import TASK_GALLERIES_SWEEP

logger = logging.getLogger(__name__)

_SOFT_LIMIT_S: Final = 0.75 * settings.ENROLL_TIMEOUT_S
"""Then the pictures are refused. A decoder that does not even notice is killed once nobody waits for it any more."""

_PROTECTED_AT_ONCE: Final = 5000


@shared_task(name=TASK_GALLERIES_SWEEP, ignore_result=True)
def galleries_sweep() -> None:
    """Protect templates that lack it, finish rotations of search keys, and drop galleries nobody searches any more."""
    gallery_keeping.galleries_sweep(most=_PROTECTED_AT_ONCE)


@shared_task(name=TASK_EMBED, soft_time_limit=_SOFT_LIMIT_S, time_limit=settings.ENROLL_TIMEOUT_S)
def embed(*, request_id: str, count: int) -> None:
    """Read the pictures of a request and answer it; if that fails, tell whoever waits before failing."""
    images = images_fetch(request_id, count)
    if images is None:
        logger.info("Nobody waits for the embedding %s any more.", request_id)
        return
    try:
        engine = get_engine()
        readings = [image_read(image, engine=engine) for image in images]
    except SoftTimeLimitExceeded:
        logger.warning("The pictures of the embedding %s were given up after %g s.", request_id, _SOFT_LIMIT_S)
        problem = ImageProblem("image_invalid", f"The pictures could not be read within {_SOFT_LIMIT_S:g} s.")
        readings = [_unusable(problem) for _ in images]
    except Exception:
        readings_send(request_id, None)
        raise
    readings_send(request_id, readings)


def image_read(data: bytes, *, engine: Pipeline) -> ImageReading:
    """Read one picture: embedding and quality, or the problems that forbid using it."""
    try:
        image = decode_image(data)
    except ImageError as error:
        return _unusable(ImageProblem(error.code, error.message))
    reading = enrolling.read(engine, image)
    if reading.probe is None:
        problems = (ImageProblem(p.code, p.message, p.measured, p.threshold) for p in reading.problems)
        return _unusable(*problems)
    return ImageReading(reading.probe.embedding, engine.embedder.model_name, reading.probe.quality.to_dict())


def _unusable(*problems: ImageProblem) -> ImageReading:
    return ImageReading(None, MODEL_NAME, {}, problems)
