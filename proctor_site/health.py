"""Whether the parts work: ``/.well-known/health`` asks each of them, ``/.well-known/live`` only answers."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, Final

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from redis.exceptions import RedisError

from accounts.redis_client import get_redis
from alerts import kafka_producer
from detection import messages
from proctor_site import heartbeats
from proctor_site.answers import reads_only

logger = logging.getLogger(__name__)

PROBE_TIMEOUT_S: Final = 1.0
SWEPT_LATELY_S: Final = 30.0
UP: Final = "up"
DOWN: Final = "down"
DEGRADED: Final = "degraded"

Part = dict[str, Any]


@reads_only
def live(request: HttpRequest) -> HttpResponse:
    """Answer that this process runs; it asks nobody else."""
    return JsonResponse({"status": UP})


@reads_only
def health(request: HttpRequest) -> HttpResponse:
    """Ask every part, each for at most ``PROBE_TIMEOUT_S``; 503 when one is down that nothing goes without."""
    running = {name: probe.start() for name, probe in _PROBES.items() if _is_configured(name)}
    deadline = time.monotonic() + PROBE_TIMEOUT_S
    parts = {name: _result(name, future, deadline) for name, future in running.items()}
    statuses = {part["status"] for part in parts.values()}
    status = next((status for status in (DOWN, DEGRADED) if status in statuses), UP)
    return JsonResponse(
        {"status": status, "parts": parts},
        status=503 if status == DOWN else 200,
        headers={"Cache-Control": "no-store"},
    )


def _is_configured(name: str) -> bool:
    return name != "kafka" or bool(settings.KAFKA_BOOTSTRAP_SERVERS)


def _result(name: str, future: Future[Part], deadline: float) -> Part:
    try:
        return future.result(timeout=max(0.0, deadline - time.monotonic()))
    except FutureTimeout:
        return {"status": _absent(name), "reason": f"no answer within {PROBE_TIMEOUT_S:g} s"}
    except (DatabaseError, RedisError, OSError) as error:
        # The message may carry addresses and user names: it goes to the log, not to whoever asks.
        logger.warning("Health: %s is down: %s", name, error)
        return {"status": _absent(name), "reason": "it does not answer"}


def _absent(name: str) -> str:
    """Return how to call a part that does not answer. Without Kafka nothing is lost: its alerts wait."""
    return DEGRADED if name == "kafka" else DOWN


class Probe:
    """One question that may hang. While an answer is out, everybody waits for that one: no threads pile up."""

    def __init__(self, ask: Callable[[], Part]) -> None:
        self._ask = ask
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="health")
        self._lock = threading.Lock()
        self._pending: Future[Part] | None = None

    def start(self) -> Future[Part]:
        """Ask, or join whoever is asking already."""
        with self._lock:
            if self._pending is None or self._pending.done():
                self._pending = self._executor.submit(self._ask)
            return self._pending


def database_part() -> Part:
    """Ask PostgreSQL on a connection of its own, closed afterwards."""
    started = time.perf_counter()
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchone()
    finally:
        connection.close()
    return {"status": UP, "ms": _ms_since(started)}


def redis_part() -> Part:
    """Ask Redis."""
    started = time.perf_counter()
    get_redis().ping()
    return {"status": UP, "ms": _ms_since(started)}


def workers_part() -> Part:
    """List the workers that gave a sign of life lately, with each model, its actual provider and its mean time."""
    workers = [_worker(beat) for beat in _heartbeats(messages.worker_heartbeat_key("*"))]
    if not workers:
        return {"status": DOWN, "reason": "no worker gave a sign of life", "workers": []}
    degraded = any(worker["fallback"] or worker["unavailable"] for worker in workers)
    return {"status": DEGRADED if degraded else UP, "workers": workers}


def gateway_part() -> Part:
    """List the gateways that gave a sign of life lately."""
    gateways = [_scalars(beat) for beat in _heartbeats(messages.gateway_heartbeat_key("*"))]
    if not gateways:
        return {"status": DOWN, "reason": "no gateway gave a sign of life", "gateways": []}
    return {"status": UP, "gateways": gateways}


def alerts_part() -> Part:
    """List the workers of the alerts queue that gave a sign of life lately."""
    workers = [_scalars(beat) for beat in _heartbeats(heartbeats.alerts_heartbeat_key("*"))]
    if not workers:
        return {"status": DOWN, "reason": "no alerts worker gave a sign of life", "workers": []}
    return {"status": UP, "workers": workers}


def stream_part() -> Part:
    """List the gRPC servers that gave a sign of life lately; without one, platforms that follow alerts wait."""
    if not settings.GRPC_PORT:
        return {"status": UP, "reason": "switched off", "servers": []}
    servers = [_scalars(beat) for beat in _heartbeats(messages.stream_heartbeat_key("*"))]
    if not servers:
        return {"status": DEGRADED, "reason": "no gRPC server gave a sign of life", "servers": []}
    return {"status": UP, "servers": servers}


def kafka_part() -> Part:
    """Ask the cluster how many brokers it has."""
    started = time.perf_counter()
    brokers = kafka_producer.brokers(PROBE_TIMEOUT_S)
    return {"status": UP, "brokers": brokers, "ms": _ms_since(started)}


def sweeps_part() -> Part:
    """Tell when each sweep was last finished: down without one, degraded when it was not lately."""
    times = {task: _swept_at(task) for task in heartbeats.SWEEPS}
    never = [task for task, at in times.items() if at is None]
    oldest = time.time() - SWEPT_LATELY_S
    late = [task for task, at in times.items() if at is not None and at < oldest]
    if never:
        return {"status": DOWN, "reason": f"not run: {', '.join(never)}", "swept_at": times}
    if late:
        return {"status": DEGRADED, "reason": f"not run lately: {', '.join(late)}", "swept_at": times}
    return {"status": UP, "swept_at": times}


def _swept_at(task: str) -> float | None:
    return next((float(sign["at"]) for sign in _heartbeats(heartbeats.swept_key(task))), None)


def beat_part() -> Part:
    """Tell whether beat queued something lately."""
    schedulers = [_scalars(beat) for beat in _heartbeats(heartbeats.beat_heartbeat_key("*"))]
    if not schedulers:
        return {"status": DOWN, "reason": "beat queues nothing", "schedulers": []}
    return {"status": UP, "schedulers": schedulers}


def _worker(beat: dict[str, Any]) -> dict[str, Any]:
    """Return what is shown of a worker.

    ``fallback``: it was to use a GPU and a model of it runs on the CPU. ``unavailable``: detectors without weights.
    ``not_installed``: optional ones that were not asked for, and what would install them: nothing is amiss.
    """
    models = {
        str(name): {"provider": model.get("provider"), "mean_ms": model.get("mean_ms")}
        for name, model in beat.get("models", {}).items()
    }
    wants_gpu = beat.get("device") == "cuda"
    fallback = wants_gpu and any("CUDA" not in str(model["provider"]) for model in models.values())
    shown = _scalars(beat) | {"fallback": fallback, "models": models}
    return (
        shown
        | {"queues": beat.get("queues", []), "unavailable": sorted(beat.get("unavailable", {}))}
        | {"not_installed": beat.get("not_installed", {})}
    )


_SHOWN: Final = ("hostname", "pid", "device", "peers", "sessions", "at", "version", "load")


def _scalars(beat: dict[str, Any]) -> dict[str, Any]:
    """Return the plain facts of a heartbeat that are meant to be seen."""
    return {name: beat[name] for name in _SHOWN if isinstance(beat.get(name), str | int | float)}


def _heartbeats(pattern: str) -> list[dict[str, Any]]:
    redis = get_redis()
    keys = sorted(redis.scan_iter(match=pattern, count=1000))
    values = redis.mget(keys) if keys else []
    return [json.loads(value) for value in values if value is not None]


def _ms_since(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 1)


_PROBES: Final[dict[str, Probe]] = {
    "database": Probe(database_part),
    "redis": Probe(redis_part),
    "workers": Probe(workers_part),
    "gateway": Probe(gateway_part),
    "alerts": Probe(alerts_part),
    "stream": Probe(stream_part),
    "beat": Probe(beat_part),
    "sweeps": Probe(sweeps_part),
    "kafka": Probe(kafka_part),
}
