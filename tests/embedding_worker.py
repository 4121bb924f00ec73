"""A real worker for the enrolment queue: real process, real queue, real Redis, real models."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from django.conf import settings
from redis import Redis

from detection.messages import QUEUE_ENROLLMENT, worker_heartbeat_key

ROOT = Path(__file__).resolve().parent.parent
START_TIMEOUT_S = 60.0


@pytest.fixture(scope="module")
def embedding_worker(weights_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep a worker running that embeds pictures."""
    command = ["celery", "-A", "proctor_site", "worker", "-P", "solo", "-Q", QUEUE_ENROLLMENT, "-n", "embedding@%h"]
    log = tmp_path_factory.mktemp("embedding") / "worker.log"
    with log.open("wb") as output:
        worker = subprocess.Popen(
            [sys.executable, "-m", *command, "--without-gossip", "--without-mingle"],
            cwd=ROOT,
            stdout=output,
            stderr=output,
        )
    with Redis.from_url(settings.REDIS_URL) as redis:
        try:
            _wait_for_heart(redis, worker, log)
            yield
        finally:
            worker.kill()  # it holds nothing that somebody waits for
            worker.wait()
            redis.delete("nothing", *redis.scan_iter(_heart(worker)))


def _heart(worker: subprocess.Popen[bytes]) -> str:
    return worker_heartbeat_key(f"*:{worker.pid}")


def _wait_for_heart(redis: Redis, worker: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until its models are loaded."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while not any(redis.scan_iter(_heart(worker))):
        if worker.poll() is not None or time.monotonic() > deadline:
            worker.kill()
            pytest.fail(f"The worker for embeddings does not start: {log.read_text()[-2000:]}")
        time.sleep(0.1)


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
