"""Breaks real parts under a real worker and prints what came of it; a test runs this as a program of its own.

It has a PostgreSQL, a Redis and a Celery worker to itself, and sends frames as the gateway does, through its publisher.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import psutil
import redis

from detection.engine.policy import EventType
from tests.plays import ROOT, Servers, play, wait_for

RATE = 4.0


class Parts(Servers):
    """The servers and the worker, each to be stopped and started again."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.worker: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the servers and the worker."""
        super().start()
        self.start_worker()

    def start_worker(self) -> None:
        """Start the worker and wait until it takes messages and its models are loaded."""
        command = ["celery", "-A", "proctor_site", "worker", "-Q", "vision,audio", "-c", "1", "--loglevel", "INFO"]
        command += ["--without-gossip", "--without-mingle"]
        path = self.directory / "worker.log"
        starts = path.read_text().count(" ready.") if path.exists() else 0
        with path.open("ab") as log:
            self.worker = subprocess.Popen(
                [sys.executable, "-m", *command], cwd=ROOT, stdout=log, stderr=log, start_new_session=True
            )
        with redis.Redis.from_url(os.environ["REDIS_URL"]) as client:
            wait_for("the worker", lambda: path.read_text().count(" ready.") > starts)
            wait_for("its models", lambda: any(self.beats(client)))

    def beats(self, client: redis.Redis) -> list[bytes]:
        """Return the heartbeats of this worker's processes."""
        assert self.worker is not None
        pids = [child.pid for child in psutil.Process(self.worker.pid).children()]
        return [key for key in client.scan_iter("heartbeat:worker:*") if int(key.rsplit(b":", 1)[1]) in pids]

    def kill_child(self) -> None:
        """SIGKILL the process that analyses."""
        assert self.worker is not None
        psutil.Process(self.worker.pid).children()[0].kill()

    def kill_worker(self) -> None:
        """SIGKILL the whole worker."""
        assert self.worker is not None
        os.killpg(self.worker.pid, signal.SIGKILL)
        self.worker.wait()

    def stop(self) -> None:
        """Stop everything."""
        if self.worker is not None and self.worker.poll() is None:
            self.kill_worker()
        super().stop()


class Gateway(threading.Thread):
    """Sends a candidate's frames at ``RATE`` as a gateway does: who is seen when is ``gone``, in seconds."""

    def __init__(self, session_id: str, *, seconds: float, gone: list[tuple[float, float]]) -> None:
        super().__init__(name="gateway", daemon=True)
        self.began_at = 0.0
        self.offered = 0
        self._session_id = session_id
        self._seconds = seconds
        self._gone = gone
        self._pictures = pictures()

    @property
    def elapsed_s(self) -> float:
        """Return how long the exam has been running."""
        return time.time() - self.began_at if self.began_at else 0.0

    def run(self) -> None:
        asyncio.run(self._send())

    async def _send(self) -> None:
        from detection.messages import Technical, TechnicalMessage
        from media_gateway.publisher import Publisher, connect

        client = connect(os.environ["REDIS_URL"])
        publisher = Publisher(client, origin="scenario", queue_limit=1000)
        self.began_at = time.time()
        running = asyncio.create_task(publisher.run())
        publisher.note(TechnicalMessage(self._session_id, Technical.PEER_CONNECTED, self.began_at, peer_id="p"))
        for number in range(round(self._seconds * RATE)):
            at_s = number / RATE
            await asyncio.sleep(max(0.0, at_s - self.elapsed_s))
            somebody = not any(start <= at_s < end for start, end in self._gone)
            publisher.offer_frame(self._session_id, self.began_at + at_s, self._pictures[somebody])
            self.offered += 1
        await asyncio.sleep(2)  # gaps are told of when they are over
        while not running.done():  # asyncio.wait_for of Python 3.11, which redis-py uses, may swallow a cancellation
            running.cancel()
            await asyncio.wait([running], timeout=0.1)
        await publisher.finish(timeout_s=15)
        await client.aclose()


def pictures() -> tuple[bytes, bytes]:
    """Return JPEGs of the empty room, and of person A in it."""
    from demo.material import film
    from demo.script import A_ALONE, NOBODY, Scene, Script

    frames = [next(film(Script("scenario", 1.0, (Scene(-9.0, places),)))) for places in (NOBODY, A_ALONE)]
    empty, seen = (cv2.imencode(".jpg", frame)[1].tobytes() for frame in frames)
    return empty, seen


def make_session() -> str:
    """Start a session whose policy asks for what these tests are about alone: their pictures are stills that stand."""
    from tests import factories

    asked = {EventType.NO_FACE, EventType.CONNECTION_LOST, EventType.CAMERA_LOST}
    overrides = {
        "rules": {event.value: {"enabled": False} for event in EventType if event not in asked},
        "sampling": {"frames_per_second": RATE},
    }
    return str(factories.make_session(overrides=overrides).id)


def result(gateway: Gateway, session_id: str) -> dict[str, Any]:
    """Return what the database says of the exam."""
    from datetime import timedelta

    from django.db import connection

    from alerts.models import Alert, Incident
    from detection.gaps import gaps_fill
    from detection.models import Detection
    from sessions.models import MediaGap

    connection.close()  # the server may be another one by now
    gaps_fill(settled=timedelta(0))
    since = gateway.began_at
    return {
        "offered": gateway.offered,
        "detections": Detection.objects.filter(session_id=session_id).count(),
        "incidents": [
            [
                i.event_type,
                round(i.started_at.timestamp() - since, 2),
                i.ended_at and round(i.ended_at.timestamp() - since, 2),
            ]
            for i in Incident.objects.filter(session_id=session_id).order_by("started_at")
        ],
        "sequences": list(
            Alert.objects.filter(session_id=session_id).order_by("sequence").values_list("sequence", flat=True)
        ),
        "gaps": [
            [g.reason, g.skipped, round(g.started_at.timestamp() - since, 2), round(g.ended_at.timestamp() - since, 2)]
            for g in MediaGap.objects.filter(session_id=session_id).order_by("started_at")
        ],
    }


def queue_is_empty() -> bool:
    """Tell whether every sample and message was taken and done with."""
    with redis.Redis.from_url(os.environ["REDIS_URL"]) as client:
        return not any(client.llen(queue) for queue in ("vision", "audio")) and not client.hlen("unacked")


def killed_processes(parts: Parts) -> dict[str, Any]:
    """SIGKILL the analysing process at 4 s and the whole worker at 8 s of an exam."""
    session_id = make_session()
    gateway = Gateway(session_id, seconds=22, gone=[(3, 7.5), (12, 17)])
    gateway.start()
    wait_for("four seconds", lambda: gateway.elapsed_s >= 4)
    parts.kill_child()
    wait_for("eight seconds", lambda: gateway.elapsed_s >= 8)
    parts.kill_worker()
    parts.start_worker()
    gateway.join()
    with redis.Redis.from_url(os.environ["REDIS_URL"]) as client:
        wait_for("the queue", lambda: not client.llen("vision") and not client.llen("audio"))
    time.sleep(2)
    return result(gateway, session_id)


def postgres_away(parts: Parts) -> dict[str, Any]:
    """Stop PostgreSQL from 5 s to 15 s of an exam; somebody leaves shortly before."""
    session_id = make_session()
    gateway = Gateway(session_id, seconds=26, gone=[(4, 20)])
    gateway.start()
    wait_for("five seconds", lambda: gateway.elapsed_s >= 5)
    parts.postgres.stop()
    wait_for("fifteen seconds", lambda: gateway.elapsed_s >= 15)
    parts.postgres.start()
    gateway.join()
    wait_for("the queue", queue_is_empty)
    return result(gateway, session_id)


def redis_away(parts: Parts) -> dict[str, Any]:
    """Stop Redis, which forgets everything, from 4 s to 14 s of an exam; somebody leaves afterwards."""
    session_id = make_session()
    gateway = Gateway(session_id, seconds=34, gone=[(26, 31)])
    gateway.start()
    wait_for("four seconds", lambda: gateway.elapsed_s >= 4)
    parts.valkey.stop()
    wait_for("fourteen seconds", lambda: gateway.elapsed_s >= 14)
    parts.valkey.start()
    gateway.join()
    wait_for("the queue", queue_is_empty)
    return result(gateway, session_id)


SCENARIOS = {scenario.__name__: scenario for scenario in (killed_processes, postgres_away, redis_away)}


@contextmanager
def running(directory: Path) -> Iterator[Parts]:
    """Run all parts, logging to ``directory``."""
    parts = Parts(directory)
    try:
        parts.start()
        yield parts
    finally:
        parts.stop()


if __name__ == "__main__":
    play(SCENARIOS, running)
