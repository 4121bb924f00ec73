"""Have a worker embed pictures, and wait for it: the web process never loads a model.

The pictures lie in Redis for as long as the caller waits, the answer until it is fetched; both sealed, because Redis
may write its memory to disk. The answer comes back over a Redis list, where a blocked pop wakes exactly the one who
asked.
"""

from __future__ import annotations

import base64
import json
import math
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np
from celery import current_app
from django.conf import settings
from django.db import connection
from numpy.typing import NDArray
from prometheus_client import Histogram

from accounts.keys import open_secret, seal_transit
from accounts.problems import Problem
from accounts.redis_client import ANSWER_TIMEOUT_S, get_redis, new_redis

TASK_EMBED: Final = "enrollment.embed"
RETRY_AFTER_S: Final = 5
_PURPOSE_IMAGE: Final = "enrollment.embed.image"
_PURPOSE_REPLY: Final = "enrollment.embed.reply"
_REPLY_TTL_S: Final = 10
_PUBLISH_ONCE_MORE: Final = {"max_retries": 1, "interval_start": 0.0, "interval_step": 0.1}
_DTYPE: Final = np.dtype("<f4")

EMBEDDING_SECONDS = Histogram("sdproctor_embedding_seconds", "How long the web waits for a worker to read pictures.")


@dataclass(frozen=True, slots=True)
class ImageProblem:
    """What is wrong with a picture. ``measured`` missed ``threshold``; both None where nothing was measured."""

    code: str
    detail: str
    measured: float | None = None
    threshold: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ImageReading:
    """What a worker read in one picture.

    ``embedding`` is float32, L2-normalised; None when ``problems`` say why there is none. ``quality`` is the gate's
    measures of the face, empty when there is no face.
    """

    embedding: NDArray[np.float32] | None
    model: str
    quality: dict[str, float]
    problems: tuple[ImageProblem, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-able form that ``from_dict`` reads."""
        encoded = None
        if self.embedding is not None:
            encoded = base64.b64encode(self.embedding.astype(_DTYPE).tobytes()).decode()
        return {
            "embedding": encoded,
            "model": self.model,
            "quality": self.quality,
            "problems": [asdict(problem) for problem in self.problems],
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ImageReading:
        """Build from ``to_dict``'s result."""
        encoded = data["embedding"]
        embedding = None
        if encoded is not None:
            embedding = np.frombuffer(base64.b64decode(encoded), dtype=_DTYPE).astype(np.float32)
        problems = tuple(ImageProblem(**problem) for problem in data["problems"])
        return cls(embedding, data["model"], data["quality"], problems)


def _image_key(request_id: str, index: int) -> str:
    return f"enroll:{request_id}:{index}"


def _reply_key(request_id: str) -> str:
    return f"enroll:{request_id}:reply"


# --- The web's side ---------------------------------------------------------------------------------------------------
@EMBEDDING_SECONDS.time()
def images_embed(images: Sequence[bytes]) -> list[ImageReading]:
    """Have a worker read ``images``; return one reading per picture, in their order.

    Raises ``Problem`` (``workers_unavailable``) when none answered within ``ENROLL_TIMEOUT_S``, and redis-py's errors
    when Redis is away.
    """
    request_id = uuid.uuid4().hex
    if not connection.in_atomic_block:
        connection.close()  # PostgreSQL need not wait along: an exam that begins enrols hundreds at once
    wait_s: float = settings.ENROLL_TIMEOUT_S
    with new_redis(settings.REDIS_URL, answer_timeout_s=wait_s + ANSWER_TIMEOUT_S) as redis:
        keys = [_image_key(request_id, index) for index in range(len(images))]
        try:
            for index, (key, image) in enumerate(zip(keys, images, strict=True)):
                sealed = seal_transit(image, purpose=_PURPOSE_IMAGE, row=f"{request_id}/{index}")
                redis.set(key, sealed, ex=math.ceil(wait_s))
            _ask(request_id, len(images), wait_s)
            answer: Any = redis.blpop([_reply_key(request_id)], timeout=wait_s)
        finally:
            redis.delete(*keys)
    if answer is None:
        raise Problem("workers_unavailable", f"No worker answered within {wait_s:g} s.", retry_after_s=RETRY_AFTER_S)
    return _readings(request_id, answer[1])


def _ask(request_id: str, count: int, wait_s: float) -> None:
    current_app.send_task(
        TASK_EMBED,
        kwargs={"request_id": request_id, "count": count},
        expires=wait_s,
        ignore_result=True,
        retry=True,
        retry_policy=_PUBLISH_ONCE_MORE,
    )


def _readings(request_id: str, sealed: bytes) -> list[ImageReading]:
    reply = json.loads(open_secret(sealed, purpose=_PURPOSE_REPLY, row=request_id))
    if reply is None:
        raise Problem("internal_error", "The worker failed on the images.")
    return [ImageReading.from_dict(reading) for reading in reply]


# --- The worker's side ------------------------------------------------------------------------------------------------
def images_fetch(request_id: str, count: int) -> list[bytes] | None:
    """Return the pictures of a request, or None when whoever asked waits no more."""
    stored: Any = get_redis().mget([_image_key(request_id, index) for index in range(count)])
    if any(sealed is None for sealed in stored):
        return None
    return [
        open_secret(sealed, purpose=_PURPOSE_IMAGE, row=f"{request_id}/{index}") for index, sealed in enumerate(stored)
    ]


def readings_send(request_id: str, readings: Sequence[ImageReading] | None) -> None:
    """Answer a request; None tells that the worker failed."""
    reply = None if readings is None else [reading.to_dict() for reading in readings]
    sealed = seal_transit(json.dumps(reply).encode(), purpose=_PURPOSE_REPLY, row=request_id)
    with get_redis().pipeline() as pipeline:
        pipeline.rpush(_reply_key(request_id), sealed)
        pipeline.expire(_reply_key(request_id), _REPLY_TTL_S)
        pipeline.execute()
