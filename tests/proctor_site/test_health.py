"""Health, liveness and metrics."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from prometheus_client import Counter
from redis import Redis

from detection.messages import gateway_heartbeat_key, stream_heartbeat_key, worker_heartbeat_key
from proctor_site import health
from proctor_site.embedded.ports import free_port
from proctor_site.heartbeats import SWEEPS, alerts_heartbeat_key, beat_heartbeat_key, swept_key
from tests.alerts.kafka_peers import running

pytestmark = pytest.mark.django_db(transaction=True)

WORKER = {
    "hostname": "box",
    "pid": 7,
    "device": "cpu",
    "queues": ["audio", "vision"],
    "models": {"yunet": {"provider": "CPUExecutionProvider", "mean_ms": 7.5}},
    "unavailable": {},
    "secret": "must not be shown",
}


def ask() -> tuple[int, dict[str, Any]]:
    response = Client().get("/.well-known/health")
    return response.status_code, response.json()


@pytest.fixture
def beats(redis_client: Redis) -> Redis:
    """Let a worker and a gateway give signs of life."""
    redis_client.set(worker_heartbeat_key("box:7"), json.dumps(WORKER))
    redis_client.set(gateway_heartbeat_key("g1"), json.dumps({"hostname": "box", "peers": 3}))
    sign = json.dumps({"hostname": "box", "pid": 8, "at": time.time()})
    for key in (
        alerts_heartbeat_key("box:8"),
        stream_heartbeat_key("box:6"),
        beat_heartbeat_key("box:9"),
        *map(swept_key, SWEEPS),
    ):
        redis_client.set(key, sign)
    return redis_client


@pytest.mark.usefixtures("beats")
def test_when_all_parts_work_it_is_200_and_lists_models_with_their_provider() -> None:
    status, document = ask()
    assert (status, document["status"]) == (200, "up")
    parts = document["parts"]
    assert set(parts) == {"database", "redis", "workers", "gateway", "alerts", "stream", "beat", "sweeps"}
    assert {part["status"] for part in parts.values()} == {"up"}
    assert parts["workers"]["workers"][0]["models"] == {"yunet": {"provider": "CPUExecutionProvider", "mean_ms": 7.5}}
    assert parts["gateway"]["gateways"] == [{"hostname": "box", "peers": 3}]
    assert parts["database"]["ms"] > 0
    assert "must not be shown" not in json.dumps(document)


@pytest.mark.parametrize("missing", ["worker", "gateway", "alerts", "beat"])
def test_without_one_of_the_processes_it_is_503(beats: Redis, missing: str) -> None:
    beats.delete(*beats.keys(f"heartbeat:{missing}:*"))  # type: ignore[misc]
    status, document = ask()
    assert (status, document["status"]) == (503, "down")
    part = "workers" if missing == "worker" else missing
    assert {name for name, found in document["parts"].items() if found["status"] == "down"} == {part}


@pytest.mark.parametrize("sweep", SWEEPS)
def test_when_a_sweep_does_not_run_it_is_503_though_everybody_lives(beats: Redis, sweep: str) -> None:
    beats.delete(swept_key(sweep))
    status, document = ask()
    assert (status, document["parts"]["sweeps"]["reason"]) == (503, f"not run: {sweep}")
    assert document["parts"]["beat"]["status"] == "up"


def test_when_the_sweep_is_held_up_it_is_degraded(beats: Redis) -> None:
    beats.set(swept_key("alerts.sweep"), json.dumps({"at": time.time() - 40}))
    status, document = ask()
    assert (status, document["status"], document["parts"]["sweeps"]["status"]) == (200, "degraded", "degraded")


@pytest.mark.parametrize(
    "change",
    [
        {"device": "cuda"},
        {"unavailable": {"speech": "there are no weights in /somewhere"}},
    ],
)
def test_a_fallback_or_a_missing_detector_is_degraded_not_hidden(beats: Redis, change: dict[str, Any]) -> None:
    beats.set(worker_heartbeat_key("box:7"), json.dumps(WORKER | change))
    status, document = ask()
    assert (status, document["status"], document["parts"]["workers"]["status"]) == (200, "degraded", "degraded")
    assert "/somewhere" not in json.dumps(document)


def test_an_optional_detector_that_is_not_installed_is_named_and_not_amiss(beats: Redis) -> None:
    missing = {"transcript": "its weights are not fetched"}
    beats.set(worker_heartbeat_key("box:7"), json.dumps(WORKER | {"not_installed": missing}))
    _, document = ask()
    assert document["parts"]["workers"]["status"] == "up"
    assert missing in [worker["not_installed"] for worker in document["parts"]["workers"]["workers"]]


def test_models_on_a_gpu_are_no_fallback(beats: Redis) -> None:
    models = {"yunet": {"provider": "CUDAExecutionProvider", "mean_ms": 1.0}}
    beats.set(worker_heartbeat_key("box:7"), json.dumps(WORKER | {"device": "cuda", "models": models}))
    assert ask()[1]["status"] == "up"


def test_without_redis_it_says_so_without_addresses(settings: Any) -> None:
    port = free_port()
    settings.REDIS_URL = f"redis://:hidden-password@127.0.0.1:{port}/0"
    status, document = ask()
    assert status == 503
    assert document["parts"]["database"]["status"] == "up"
    assert {
        document["parts"][name]["status"]
        for name in ("redis", "workers", "gateway", "alerts", "stream", "beat", "sweeps")
    } == {"down"}
    assert str(port) not in json.dumps(document)
    assert "hidden-password" not in json.dumps(document)


@pytest.fixture
def hanging_port() -> Iterator[int]:
    """Listen and never answer, as a stopped server does."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        yield listener.getsockname()[1]


def test_a_redis_that_hangs_is_not_waited_for(settings: Any, hanging_port: int) -> None:
    settings.REDIS_URL = f"redis://127.0.0.1:{hanging_port}/0"
    started = time.monotonic()
    status, document = ask()
    assert time.monotonic() - started < 2.0
    assert status == 503
    assert document["parts"]["redis"]["reason"] == "no answer within 1 s"


@pytest.mark.usefixtures("beats")
class TestKafka:
    def test_a_cluster_that_answers_is_up(self, settings: Any) -> None:
        with running() as broker:
            settings.KAFKA_BOOTSTRAP_SERVERS = broker.servers
            status, document = ask()
        part = document["parts"]["kafka"]
        assert (status, document["status"], part["status"], part["brokers"]) == (200, "up", "up", 1)

    def test_one_that_is_away_is_degraded_for_alerts_wait(self, settings: Any) -> None:
        settings.KAFKA_BOOTSTRAP_SERVERS = f"127.0.0.1:{free_port()}"
        status, document = ask()
        assert (status, document["status"], document["parts"]["kafka"]["status"]) == (200, "degraded", "degraded")
        assert settings.KAFKA_BOOTSTRAP_SERVERS not in json.dumps(document)

    def test_one_that_hangs_is_degraded_too(self, settings: Any, hanging_port: int) -> None:
        settings.KAFKA_BOOTSTRAP_SERVERS = f"127.0.0.1:{hanging_port}"
        assert ask()[1]["parts"]["kafka"]["status"] == "degraded"

    def test_settings_that_no_client_can_be_made_of_are_degraded_and_not_shown(self, settings: Any) -> None:
        settings.KAFKA_BOOTSTRAP_SERVERS = "kafka:9092"
        settings.KAFKA_CONFIG = {"sasl.pasword": "hidden-password"}
        status, document = ask()
        assert (status, document["parts"]["kafka"]) == (200, {"status": "degraded", "reason": "it does not answer"})


def test_a_database_that_hangs_is_not_waited_for_and_no_threads_pile_up(
    monkeypatch: pytest.MonkeyPatch, beats: Redis
) -> None:
    released = threading.Event()

    def hang() -> dict[str, Any]:
        released.wait(20)
        return {"status": "up"}

    monkeypatch.setitem(health._PROBES, "database", health.Probe(hang))
    started, threads = time.monotonic(), threading.active_count()
    for _ in range(3):
        status, document = ask()
        assert (status, document["parts"]["database"]["status"]) == (503, "down")
    assert time.monotonic() - started < 5.0
    assert threading.active_count() <= threads + 7
    released.set()


def test_without_a_database_it_says_so(monkeypatch: pytest.MonkeyPatch, beats: Redis) -> None:
    monkeypatch.setitem(connection.settings_dict, "PORT", str(free_port()))
    status, document = ask()
    assert status == 503
    assert document["parts"]["database"] == {"status": "down", "reason": "it does not answer"}
    assert document["parts"]["redis"]["status"] == "up"


def test_that_a_part_is_down_is_no_error_of_the_web_process(
    redis_client: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="django.request"):
        assert ask()[0] == 503
        assert Client().get("/nowhere").status_code == 404
    levels = [record.levelname for record in caplog.records if record.name == "django.request"]
    assert levels == ["INFO", "WARNING"]


def test_only_reading_is_answered() -> None:
    response = Client(enforce_csrf_checks=True).post("/.well-known/health")
    assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")
    assert response["Content-Type"] == "application/problem+json"
    assert response["Allow"] == "GET, HEAD"
    assert Client().head("/.well-known/live").status_code == 200


def test_liveness_asks_nobody(settings: Any, django_assert_num_queries: Any) -> None:
    settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"
    with django_assert_num_queries(0):
        response = Client().get("/.well-known/live")
    assert (response.status_code, response.json()) == (200, {"status": "up"})


class TestMetrics:
    def get(self, address: str, **headers: str) -> Any:
        return Client(REMOTE_ADDR=address).get("/metrics", **headers)  # type: ignore[arg-type]

    @pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "::1", "::ffff:192.168.1.1"])
    def test_monitoring_on_a_private_address_reads_them(self, address: str) -> None:
        response = self.get(address)
        assert response.status_code == 200
        assert response["Content-Type"].startswith("text/plain")
        assert "django_http_requests" in response.content.decode()

    @pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800::1", "", "nonsense"])
    def test_others_do_not(self, address: str) -> None:
        assert self.get(address).status_code == 403

    @pytest.mark.parametrize("forwarded", ["93.184.216.34", "127.0.0.1, 93.184.216.34", "nonsense"])
    def test_a_proxy_does_not_lend_its_address(self, forwarded: str) -> None:
        assert self.get("127.0.0.1", HTTP_X_FORWARDED_FOR=forwarded).status_code == 403

    def test_our_own_figures_are_there(self) -> None:
        Counter("sdproctor_test_total", "Counts this test.").inc()
        assert "sdproctor_test_total 1.0" in self.get("127.0.0.1").content.decode()
