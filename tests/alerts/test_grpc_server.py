"""``manage.py serve_alerts`` as a process: certificates, sudden death, an orderly end, settings, generated code."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import pytest
import redis
from django.core.management import CommandError, call_command
from google.protobuf.json_format import MessageToDict
from grpc_health.v1 import health_pb2, health_pb2_grpc

from accounts.models import Organisation
from alerts.models import Alert
from alerts.rpc import alerts_pb2, generate
from alerts.rpc.messages import STREAM, alert_message
from alerts.rpc.tls import TLSFiles
from detection.messages import stream_heartbeat_key
from proctor_site.embedded.ports import free_port
from proctor_site.health import stream_part
from tests.alerts import builders
from tests.alerts.builders import on_db
from tests.alerts.certificates import Authority
from tests.alerts.grpc_peers import (
    Line,
    admitted,
    api_key,
    database_url,
    refusal,
    serving,
    stream_process,
    subscribe,
    take,
)

pytestmark = pytest.mark.django_db(transaction=True)
ROOT = Path(__file__).resolve().parents[2]


def tenant() -> tuple[Organisation, str]:
    owner = builders.organisation()
    return owner, api_key(owner)


# --- Certificates -----------------------------------------------------------------------------------------------------
@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


async def answers(port: int, key: str, credentials: grpc.ChannelCredentials | None) -> bool:
    address = f"localhost:{port}"
    opened = (
        grpc.aio.insecure_channel(address) if credentials is None else grpc.aio.secure_channel(address, credentials)
    )
    async with opened as channel:
        call = subscribe(channel, key)
        try:
            async with asyncio.timeout(5):
                await call.initial_metadata()
            return (await asyncio.wait_for(call.code(), 0.2)) is grpc.StatusCode.OK
        except TimeoutError:
            return not call.done()
        except grpc.aio.AioRpcError:
            return False


async def test_with_a_certificate_only_tls_is_spoken(authority: Authority) -> None:
    _, key = await on_db(tenant)()
    signed = authority.sign("server", "localhost")
    trusting = grpc.ssl_channel_credentials(authority.path.read_bytes())
    async with serving(tls=TLSFiles(signed.certificate, signed.key)) as server:
        assert await answers(server.port, key, trusting)
        assert not await answers(server.port, key, None)
        assert not await answers(server.port, key, grpc.ssl_channel_credentials())


async def test_with_a_client_authority_only_its_certificates_get_in(authority: Authority, tmp_path: Path) -> None:
    _, key = await on_db(tenant)()
    signed, ours = authority.sign("server", "localhost"), authority.sign("client")
    foreign = Authority(tmp_path, "foreign").sign("stranger")
    root = authority.path.read_bytes()
    async with serving(tls=TLSFiles(signed.certificate, signed.key, authority.path)) as server:
        for files, let_in in ((ours, True), (foreign, False)):
            shown = grpc.ssl_channel_credentials(root, files.key.read_bytes(), files.certificate.read_bytes())
            assert await answers(server.port, key, shown) is let_in
        assert not await answers(server.port, key, grpc.ssl_channel_credentials(root))
        ours_shown = grpc.ssl_channel_credentials(root, ours.key.read_bytes(), ours.certificate.read_bytes())
        async with grpc.aio.secure_channel(f"localhost:{server.port}", ours_shown) as channel:
            _, trailers, _ = await refusal(subscribe(channel, None))
            assert trailers["sdproctor-code"] == "not_authenticated", "a certificate opens the door, the key says whose"


async def test_a_renewed_certificate_counts_without_a_restart(authority: Authority, tmp_path: Path) -> None:
    _, key = await on_db(tenant)()
    signed = authority.sign("server", "localhost")
    (tmp_path / "new").mkdir()
    renewed_by = Authority(tmp_path / "new", "renewed")
    renewed = renewed_by.sign("server", "localhost")
    async with serving(tls=TLSFiles(signed.certificate, signed.key)) as server:
        new = grpc.ssl_channel_credentials(renewed_by.path.read_bytes())
        assert not await answers(server.port, key, new)
        for half in (b"half a file", renewed.key.read_bytes()):  # the second is whole, and not yet the certificate's
            signed.key.write_bytes(half)
            assert await answers(server.port, key, grpc.ssl_channel_credentials(authority.path.read_bytes()))
        signed.certificate.write_bytes(renewed.certificate.read_bytes())
        assert await answers(server.port, key, new)


@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        ({"GRPC_PORT": 0}, "GRPC_PORT"),
        ({"GRPC_PORT": 70000}, "GRPC_PORT"),
        ({"GRPC_KEEPALIVE_S": 0.0}, "GRPC_KEEPALIVE_S"),
        ({"GRPC_TLS_CERTIFICATE": "/nowhere"}, "GRPC_TLS_KEY"),
        ({"GRPC_TLS_CLIENT_CA": "/nowhere"}, "GRPC_TLS_CERTIFICATE"),
        ({"GRPC_TLS_CERTIFICATE": "/nowhere", "GRPC_TLS_KEY": "/nowhere"}, "GRPC_TLS_KEY"),
        ({"GRPC_TLS_CERTIFICATE": __file__, "GRPC_TLS_KEY": __file__}, "GRPC_TLS_KEY"),
        ({"GRPC_HOST": "192.0.2.1"}, "192.0.2.1"),
    ],
)
def test_settings_that_cannot_be_served_with_are_named(wrong: dict[str, Any], names: str, settings: Any) -> None:
    settings.GRPC_PORT = free_port()
    for name, value in wrong.items():
        setattr(settings, name, value)
    with pytest.raises(CommandError, match=names):
        call_command("serve_alerts")


def test_a_key_of_another_certificate_is_named(authority: Authority, settings: Any) -> None:
    one, other = authority.sign("one", "localhost"), authority.sign("other", "localhost")
    settings.GRPC_PORT = free_port()
    settings.GRPC_TLS_CERTIFICATE, settings.GRPC_TLS_KEY = str(one.certificate), str(other.key)
    with pytest.raises(CommandError, match="GRPC_TLS_KEY is not the key"):
        call_command("serve_alerts")


# --- The process ------------------------------------------------------------------------------------------------------
class Follower:
    """A client that goes on after its last alert whenever the server comes back."""

    def __init__(self, port: int, key: str) -> None:
        self.got: list[str] = []
        self.first = asyncio.Event()
        self._address, self._key = f"127.0.0.1:{port}", key

    async def follow(self, count: int) -> None:
        options = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 200)]
        async with grpc.aio.insecure_channel(self._address, options=options) as channel:
            while len(self.got) < count:
                start = {"after_event_id": self.got[-1]} if self.got else {"from_beginning": True}
                call = subscribe(channel, self._key, **start)
                try:
                    while len(self.got) < count and isinstance(alert := await call.read(), alerts_pb2.Alert):
                        self.got.append(alert.event_id)
                        self.first.set()
                except grpc.aio.AioRpcError as error:
                    if error.code() is not grpc.StatusCode.UNAVAILABLE:
                        raise
                    await asyncio.sleep(0.05)


async def test_a_client_resumes_without_loss_after_its_server_was_killed(
    tmp_path: Path, redis_client: redis.Redis
) -> None:
    owner, key = await on_db(tenant)()
    port = free_port()
    sessions = [await on_db(builders.session)(owner) for _ in range(3)]
    rounds, each = 3, 40

    async def write() -> None:
        for _ in range(each):
            for session in sessions:
                await on_db(builders.apply)(session)

    follower = Follower(port, key)
    following = asyncio.create_task(follower.follow(rounds * each * len(sessions)))
    for _ in range(rounds):
        with stream_process(tmp_path / "stream.log", port) as process:
            writing = asyncio.create_task(write())
            await follower.first.wait()
            follower.first.clear()
            await asyncio.sleep(0.2)
            process.kill()
            await asyncio.to_thread(process.wait, 10)
            await writing
    with stream_process(tmp_path / "stream.log", port):
        async with asyncio.timeout(30):
            await following
    expected = await on_db(lambda: {str(pk) for pk in Alert.objects.values_list("pk", flat=True)})()
    assert len(follower.got) == len(expected) == 360
    assert set(follower.got) == expected
    numbers = await on_db(lambda: {str(a.pk): (a.session_id, a.sequence) for a in Alert.objects.all()})()
    for session in sessions:
        heard = [numbers[event_id][1] for event_id in follower.got if numbers[event_id][0] == session.pk]
        assert heard == list(range(1, rounds * each + 1))


async def test_sigterm_ends_the_process_in_order_and_takes_its_sign_of_life_back(
    tmp_path: Path, redis_client: redis.Redis
) -> None:
    _, key = await on_db(tenant)()
    port, log = free_port(), tmp_path / "stream.log"
    with stream_process(log, port) as process:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = await admitted(subscribe(channel, key))
            assert len(list(redis_client.scan_iter(stream_heartbeat_key("*")))) == 1
            process.send_signal(signal.SIGTERM)
            code, trailers, _ = await refusal(call)
            assert (code, trailers["sdproctor-code"]) == (grpc.StatusCode.UNAVAILABLE, "server_stopping")
        assert await asyncio.to_thread(process.wait, 10) == 0
    assert not list(redis_client.scan_iter(stream_heartbeat_key("*")))
    assert "Traceback" not in log.read_text()


async def test_alerts_come_while_redis_is_away(tmp_path: Path, redis_client: redis.Redis) -> None:
    owner, key = await on_db(tenant)()
    port = free_port()
    with stream_process(tmp_path / "stream.log", port, REDIS_URL="redis://127.0.0.1:1/0"):
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = await admitted(subscribe(channel, key))
            alert = await on_db(lambda: builders.apply(builders.session(owner)))()
            assert [got.event_id for got in await take(call, 1)] == [str(alert.event_id)]


async def test_a_database_that_is_away_is_waited_for(tmp_path: Path, redis_client: redis.Redis) -> None:
    owner, key = await on_db(tenant)()
    port, direct = free_port(), urlsplit(database_url())
    assert direct.port is not None
    line = Line(direct.port)
    async with line.open() as to_database:
        through_line = direct._replace(netloc=direct.netloc.replace(f":{direct.port}", f":{to_database}")).geturl()
        process = stream_process(tmp_path / "stream.log", port, DATABASE_URL=through_line)
        stack = contextlib.ExitStack()
        try:
            await asyncio.to_thread(stack.enter_context, process)
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                call = await admitted(subscribe(channel, key))
                stub = health_pb2_grpc.HealthStub(channel)
                watch = stub.Watch(health_pb2.HealthCheckRequest(service=STREAM))
                assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
                await line.cut()
                alert = await on_db(lambda: builders.apply(builders.session(owner)))()
                assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
                code, trailers, _ = await refusal(subscribe(channel, key))
                assert (code, trailers["sdproctor-code"]) == (grpc.StatusCode.UNAVAILABLE, "database_unavailable")
                await line.restore()
                assert [got.event_id for got in await take(call, 1)] == [str(alert.event_id)]
                assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        finally:
            await asyncio.to_thread(stack.close)


def test_a_second_server_on_the_port_says_so_and_ends(tmp_path: Path) -> None:
    port = free_port()
    with stream_process(tmp_path / "stream.log", port):
        done = subprocess.run(
            [sys.executable, "manage.py", "serve_alerts"], cwd=ROOT, capture_output=True, text=True, timeout=60,
            check=False, env={**os.environ, "GRPC_PORT": str(port)},
        )  # fmt: skip
    assert done.returncode == 1
    assert f"127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr


# --- Health -----------------------------------------------------------------------------------------------------------
def test_health_misses_a_stream_that_is_switched_on(redis_client: redis.Redis, settings: Any) -> None:
    assert stream_part()["status"] == "degraded"
    redis_client.set(stream_heartbeat_key("a"), json.dumps({"hostname": "a", "pid": 1, "at": 1.5}))
    assert stream_part() == {"status": "up", "servers": [{"hostname": "a", "pid": 1, "at": 1.5}]}
    redis_client.flushdb()
    settings.GRPC_PORT = 0
    assert stream_part() == {"status": "up", "reason": "switched off", "servers": []}


# --- Messages ---------------------------------------------------------------------------------------------------------
def test_the_generated_modules_are_those_of_the_proto(tmp_path: Path) -> None:
    assert generate.generate(tmp_path) == 0
    for name in ("alerts_pb2.py", "alerts_pb2.pyi"):
        assert (tmp_path / "alerts" / "rpc" / name).read_text() == (ROOT / "alerts" / "rpc" / name).read_text(), name


def test_nothing_of_an_alert_is_left_out_of_its_message() -> None:
    document = builders.apply(builders.session(exam_id="algebra")).payload
    closed = document | {"metadata": document["metadata"] | {"ended_at": "2026-09-21T14:13:29.750Z", "duration_s": 9.5}}
    for said in (document, closed):
        message = alert_message(said)
        back = MessageToDict(message, preserving_proto_field_name=True)
        metadata = back.pop("metadata")
        more = metadata.pop("more")
        evidence = metadata.pop("pictures", [])
        sequence = int(metadata.pop("sequence"))
        absent = {name: None for name in ("ended_at", "duration_s") if said["metadata"][name] is None}
        rebuilt = metadata | more | absent | {"evidence": evidence, "sequence": sequence}
        rebuilt.setdefault("technical", False)
        back.setdefault("severity_score", 0.0)
        assert back | {"metadata": rebuilt} == said
