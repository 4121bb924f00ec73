"""A worker process: models once and after the fork, a heartbeat while it lives, no gauges of the dead."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from prometheus_client import REGISTRY
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from detection import worker
from detection.engine.pipeline import Pipeline
from detection.messages import HEARTBEAT_TTL_S, worker_heartbeat_key
from detection.worker import Heart, forget_dead_processes, get_engine
from tests.detection.scenario import ROOT, wait_for


class Model:
    name, provider, mean_ms, batches = "sface-2021dec", "CPUExecutionProvider", 13.8765, False


class Engine(Pipeline):
    unavailable = {"speech": "silero_vad.onnx is not in var/weights: run `make weights`."}
    not_installed: dict[str, str] = {}
    models = [Model()]  # type: ignore[assignment]

    def __init__(self) -> None: ...


def key() -> str:
    return worker_heartbeat_key(f"{socket.gethostname()}:{os.getpid()}")


def test_a_heartbeat_says_what_runs_where(redis_client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_DEVICE", "cuda")

    Heart(redis_client, queues=["vision"], pipeline=Engine()).beat()

    beat = json.loads(redis_client.get(key()) or b"")
    assert beat["pid"] == os.getpid()
    assert beat["device"] == "cuda"
    assert beat["queues"] == ["vision"]
    assert beat["models"] == {"sface-2021dec": {"provider": "CPUExecutionProvider", "mean_ms": 13.88}}
    assert beat["unavailable"] == Engine.unavailable
    assert time.time() - beat["at"] < 2
    assert 0 < redis_client.ttl(key()) <= HEARTBEAT_TTL_S


def test_the_metrics_say_what_a_model_costs_and_where_it_runs(redis_client: Redis) -> None:
    Heart(redis_client, queues=["vision"], pipeline=Engine()).beat()
    where = {"model": "sface-2021dec", "provider": "CPUExecutionProvider"}
    assert REGISTRY.get_sample_value("sdproctor_model_milliseconds", where) == 13.8765
    assert REGISTRY.get_sample_value("sdproctor_detectors_missing") == 1


def test_a_heart_that_stops_takes_its_sign_of_life_back(redis_client: Redis) -> None:
    heart = Heart(redis_client, queues=["vision"], pipeline=Engine())
    heart.start()
    wait_for("the first beat", lambda: bool(redis_client.exists(key())), timeout_s=5)

    heart.stop()
    heart.join(5)

    assert not heart.is_alive()
    assert not redis_client.exists(key())


def test_a_heart_goes_on_when_redis_comes_back(redis_client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "HEARTBEAT_INTERVAL_S", 0.02)
    heart = Heart(redis_client, queues=["vision"], pipeline=Engine())
    send, away = heart.beat, iter([True, True])

    def beat() -> None:
        if next(away, False):
            raise RedisConnectionError("refused")
        send()

    monkeypatch.setattr(heart, "beat", beat)
    heart.start()

    wait_for("a beat", lambda: bool(redis_client.exists(key())), timeout_s=5)
    heart.stop()
    heart.join(5)


def test_the_models_are_loaded_once_in_a_process(weights_dir: Path) -> None:
    assert get_engine() is get_engine()
    assert not get_engine().unavailable


@pytest.fixture
def metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    return tmp_path


def test_gauges_of_killed_processes_are_forgotten(metrics: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    names = [f"gauge_livemax_{ended.pid}.db", f"gauge_livemax_{os.getpid()}.db", f"counter_{ended.pid}.db"]
    for name in names:
        (metrics / name).touch()

    forget_dead_processes()

    assert sorted(path.name for path in metrics.iterdir()) == sorted(names[1:])


def hearts(redis_client: Redis) -> list[dict[str, Any]]:
    """Return the signs of life of workers, but for that of one that other tests may keep in this process."""
    beats = [json.loads(redis_client.get(name) or b"{}") for name in redis_client.keys("heartbeat:worker:*")]
    return [beat for beat in beats if beat and beat["pid"] != os.getpid()]


@pytest.mark.parametrize(("queues", "loads"), [("vision,audio", True), ("alerts", False)])
def test_a_real_worker_loads_its_models_only_where_they_are_needed(
    queues: str, loads: bool, redis_client: Redis, tmp_path: Path, weights_dir: Path
) -> None:
    log = tmp_path / "worker.log"
    command = [sys.executable, "-m", "celery", "-A", "proctor_site", "worker", "-Q", queues, "-c", "1"]
    with log.open("wb") as file:
        running = subprocess.Popen(
            [*command, "--loglevel", "INFO", "--without-mingle", "--without-gossip"], cwd=ROOT, stdout=file, stderr=file
        )
    try:
        wait_for("the worker", lambda: " ready." in log.read_text())
        children = [child.pid for child in psutil.Process(running.pid).children()]
        if loads:
            wait_for("its heart", lambda: bool(hearts(redis_client)))
        beats = hearts(redis_client)
        assert [beat["pid"] for beat in beats] == (children if loads else [])
        assert all({"yunet-2023mar", "sface-2021dec", "silero-vad-16k"} <= beat["models"].keys() for beat in beats)
    finally:
        running.terminate()
        running.wait(20)
    assert not hearts(redis_client)


def test_a_device_that_there_is_not_stops_the_worker_with_its_name() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "proctor_site", "worker", "-Q", "vision", "-c", "1"],
        cwd=ROOT,
        env=os.environ | {"MODEL_DEVICE": "tpu"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode != 0
    assert "MODEL_DEVICE must be one of cpu, cuda, not 'tpu'." in done.stderr
