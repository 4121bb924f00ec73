"""A worker process: its models, loaded once and after the fork, and its heartbeat. Knows no Django."""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import threading
import time
from pathlib import Path
from typing import Any

import psutil
from celery import current_app, signals
from prometheus_client import Gauge
from prometheus_client.multiprocess import mark_process_dead
from redis import Redis
from redis.exceptions import RedisError

from detection.engine.adapters import chosen_models, with_chosen
from detection.engine.detectors import DETECTORS
from detection.engine.pipeline import Pipeline
from detection.engine.runtime import DEVICES
from detection.engine.weights import WeightsError
from detection.messages import (
    HEARTBEAT_INTERVAL_S,
    HEARTBEAT_TTL_S,
    QUEUE_AUDIO,
    QUEUE_ENROLLMENT,
    QUEUE_VISION,
    worker_heartbeat_key,
)

logger = logging.getLogger(__name__)

ENGINE_QUEUES = frozenset({QUEUE_VISION, QUEUE_AUDIO, QUEUE_ENROLLMENT})
"""A worker that takes none of these loads no model."""

WATCH_INTERVAL_S = 1.0

MODEL_MILLISECONDS = Gauge(
    "sdproctor_model_milliseconds",
    "Recent mean of milliseconds per run, by model and by where it really runs.",
    ["model", "provider"],
    multiprocess_mode="livemax",
)
DETECTORS_MISSING = Gauge(
    "sdproctor_detectors_missing", "Detectors switched off for want of weights.", multiprocess_mode="livemax"
)

_lock = threading.Lock()
_engine: tuple[int, Pipeline] | None = None
_heart: Heart | None = None


def device() -> str:
    """Return where models are to run: ``MODEL_DEVICE``, ``cpu`` or ``cuda``."""
    return os.environ.get("MODEL_DEVICE") or "cpu"


def get_engine() -> Pipeline:
    """Return this process's pipeline; the first call in a process loads the models, which takes a second or two."""
    global _engine
    with _lock:
        if _engine is None or _engine[0] != os.getpid():
            pipeline = Pipeline.load(device=device())
            for model in pipeline.models:
                logger.info("Model %s runs on %s", model.name, model.provider)
            _engine = os.getpid(), pipeline
        return _engine[1]


class Heart(threading.Thread):
    """Tells Redis and the metrics every few seconds that this process lives, and what it runs."""

    def __init__(self, redis: Redis, *, queues: list[str], pipeline: Pipeline) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._redis = redis
        self._queues = queues
        self._pipeline = pipeline
        self._key = worker_heartbeat_key(f"{socket.gethostname()}:{os.getpid()}")
        self._stopping = threading.Event()

    def run(self) -> None:
        """Beat until stopped; Redis may come and go."""
        while True:
            try:
                self.beat()
            except RedisError as error:
                logger.warning("Redis does not take the heartbeat: %s", error)
            if self._stopping.wait(HEARTBEAT_INTERVAL_S):
                return

    def beat(self) -> None:
        """Say once what this process is."""
        DETECTORS_MISSING.set(len(self._pipeline.unavailable))
        for model in self._pipeline.models:
            MODEL_MILLISECONDS.labels(model.name, model.provider).set(model.mean_ms)
        self._redis.set(self._key, json.dumps(self.document()), ex=HEARTBEAT_TTL_S)

    def document(self) -> dict[str, Any]:
        """Return what the health check reads."""
        return {
            "hostname": socket.gethostname(),
            "pid": os.getpid(),
            "at": time.time(),
            "device": device(),
            "queues": self._queues,
            "models": {
                model.name: {"provider": model.provider, "mean_ms": round(model.mean_ms, 2)}
                for model in self._pipeline.models
            },
            "unavailable": dict(self._pipeline.unavailable),
            "not_installed": dict(self._pipeline.not_installed),
        }

    def stop(self) -> None:
        """Stop, and take the sign of life back."""
        self._stopping.set()
        try:
            self._redis.delete(self._key)
        except RedisError as error:
            logger.warning("Redis does not take the heartbeat back, it expires: %s", error)


@signals.worker_init.connect
def check_models(**_signal: Any) -> None:
    """Refuse to start where ``MODEL_DEVICE`` or ``DETECTOR_MODELS`` means nothing: every pool process would fail."""
    if device() not in DEVICES:
        raise SystemExit(f"MODEL_DEVICE must be one of {', '.join(DEVICES)}, not {device()!r}.")
    try:
        with_chosen(DETECTORS, chosen_models())
    except WeightsError as error:
        raise SystemExit(str(error)) from None


@signals.worker_ready.connect
def watch_processes(sender: Any, **_signal: Any) -> None:
    """Look for dead pool processes every second, in the worker's main process.

    Celery is told of a death before the process can be waited for, and then looks again only after five seconds: half
    of the time in which a sample is of use.
    """
    sender.timer.call_repeatedly(WATCH_INTERVAL_S, sender.pool.maintain_pool)


@signals.worker_process_init.connect
def start_process(**_signal: Any) -> None:
    """Load the models and start the heart of a pool process, if its worker takes samples at all."""
    global _heart
    forget_dead_processes()
    queues = sorted(current_app.amqp.queues.consume_from)
    if not ENGINE_QUEUES.intersection(queues):
        return
    redis = Redis.from_url(current_app.conf.broker_url, socket_timeout=5, socket_connect_timeout=5)
    _heart = Heart(redis, queues=queues, pipeline=get_engine())
    _heart.start()


@signals.worker_process_shutdown.connect
def stop_process(**_signal: Any) -> None:
    """Take back what says that this pool process lives."""
    if _heart is not None:
        _heart.stop()
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        mark_process_dead(os.getpid())  # type: ignore[no-untyped-call]


def forget_dead_processes() -> None:
    """Remove the gauges of processes that were killed, so that ``/metrics`` shows living ones only."""
    directory = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if not directory:
        return
    for path in Path(directory).glob("gauge_live*_*.db"):
        match = re.search(r"_(\d+)\.db$", path.name)
        if match and not psutil.pid_exists(int(match[1])):
            mark_process_dead(int(match[1]))  # type: ignore[no-untyped-call]
