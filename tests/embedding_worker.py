"""A real worker for the enrolment queue, in a thread of the test process: real queue, real Redis, real models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from celery.contrib.testing.worker import start_worker

from detection.messages import QUEUE_ENROLLMENT
from proctor_site.celery import app


@pytest.fixture(scope="session")
def embedding_worker(weights_dir: Path) -> Iterator[None]:
    """Keep a worker running that embeds pictures."""
    queues = [QUEUE_ENROLLMENT]
    # An idle worker looks up from its queues every ten seconds, and only then sees that it is to stop.
    with start_worker(app, pool="solo", perform_ping_check=False, queues=queues, shutdown_timeout=60):
        yield


@pytest.fixture(scope="session")
def photographs(weights_dir: Path) -> dict[str, bytes]:
    """Return the credited photographs by name: two of A and of B, one of C and of D."""
    found = {path.stem: path.read_bytes() for path in (weights_dir / "photographs").glob("*.jpg")}
    if not found:
        pytest.fail("There are no photographs: run `make weights`.")
    return found


def altered(photograph: bytes, change: str) -> bytes:
    """Return a photograph made worse in one way: blurred, dark, bright, small, doubled, empty or turned."""
    image = cv2.imdecode(np.frombuffer(photograph, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    changes = {
        "blurred": lambda: cv2.GaussianBlur(image, (0, 0), 14),
        "dark": lambda: (image * 0.1).astype(np.uint8),
        "bright": lambda: (image * 0.1 + 229).astype(np.uint8),
        "small": lambda: cv2.resize(image, None, fx=0.15, fy=0.15, interpolation=cv2.INTER_AREA),
        "doubled": lambda: np.hstack([image, image]),
        "empty": lambda: np.full_like(image, 127),
    }
    done, encoded = cv2.imencode(".jpg", changes[change](), [cv2.IMWRITE_JPEG_QUALITY, 92])
    assert done
    return encoded.tobytes()
