"""Peers come, go, vanish, return and are replaced; sessions end; the gateway stops."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import subprocess
import threading
import time
import uuid
from typing import Any

import av
import numpy as np
import pytest
import simplejpeg
from aiortc import MediaStreamTrack, RTCPeerConnection
from aiortc.mediastreams import VIDEO_TIME_BASE

from detection.messages import CONTROL_CHANNEL, CONTROL_END, gateway_heartbeat_key, revoked_key
from tests.media_gateway.publishers import Camera, Microphone, WhipPublisher, join_token, plain_picture, tone
from tests.media_gateway.world import (
    KEY,
    GatewayUnderTest,
    Inbox,
    OwnValkey,
    StartGateway,
    eventually,
    free_port,
    gateway_process,
)


def camera(colour: tuple[int, int, int] = (99, 99, 99)) -> Camera:
    return Camera(lambda seconds: plain_picture(colour), fps=10)


async def frames_of(inbox: Inbox, publisher: WhipPublisher, count: int = 1) -> None:
    """Wait until ``count`` more frames of a publisher's session have come."""
    have = sum(f.session_id == publisher.session_id for f in inbox.collect().frames)
    await eventually(
        lambda: sum(f.session_id == publisher.session_id for f in inbox.collect().frames) >= have + count, what="frames"
    )


async def test_a_peer_that_vanishes_is_reported_at_once_and_others_go_on(
    start_gateway: StartGateway, inbox: Inbox
) -> None:
    gateway = await start_gateway()
    async with (
        gateway.publisher(camera(), Microphone(tone(440))) as lost,
        gateway.publisher(camera()) as other,
    ):
        await asyncio.gather(lost.publish(), other.publish())
        await eventually(lambda: {"audio_started", "video_started"} <= set(inbox.kinds(lost.session_id)))
        await lost.vanish()
        vanished_at = time.time()
        await eventually(lambda: "peer_lost" in inbox.kinds(lost.session_id), what="the report")
        await frames_of(inbox, other, 3)
        assert "peer_lost" not in inbox.kinds(other.session_id)
    report = inbox.of_kind("peer_lost")[0]
    assert report.reason == "silent"
    assert report.at - vanished_at < 3.5
    kinds = inbox.kinds(lost.session_id)
    assert (kinds[0], set(kinds[1:3]), kinds[3:]) == (
        "peer_connected",
        {"audio_started", "video_started"},
        ["peer_lost"],
    )


async def test_a_goodbye_is_reported_at_once(gateway: GatewayUnderTest, inbox: Inbox) -> None:
    async with gateway.publisher(camera()) as deletes, gateway.publisher(camera()) as closes:
        await asyncio.gather(deletes.publish(), closes.publish())
        await frames_of(inbox, deletes)
        await frames_of(inbox, closes)
        await deletes.hang_up()
        await closes.connection.close()  # DTLS says goodbye, HTTP does not
        lost = await eventually(lambda: len(inbox.of_kind("peer_lost")) == 2 and inbox.of_kind("peer_lost"))
        assert lost
    reasons = {message.session_id: message.reason for message in inbox.of_kind("peer_lost")}
    assert reasons == {deletes.session_id: "hung_up", closes.session_id: "connection"}
    connected = {message.session_id: message.peer_id for message in inbox.of_kind("peer_connected")}
    assert {message.session_id: message.peer_id for message in inbox.of_kind("peer_lost")} == connected
    await eventually(lambda: gateway.gateway.registry.peer_count == 0, what="the end of both")


async def test_a_peer_that_returns_continues_the_session(gateway: GatewayUnderTest, inbox: Inbox) -> None:
    async with gateway.publisher(camera(), Microphone(tone(440))) as first:
        await first.publish()
        await frames_of(inbox, first, 3)
        await first.vanish()
        await eventually(lambda: "peer_lost" in inbox.kinds())
        async with gateway.publisher(camera(), session_id=first.session_id, token=first.token) as second:
            await second.publish()
            await frames_of(inbox, second, 3)
    kinds = inbox.kinds()
    assert kinds[:1] + kinds[3:5] == ["peer_connected", "peer_lost", "peer_connected"]
    assert set(kinds[1:3]) == {"audio_started", "video_started"}
    assert len({message.peer_id for message in inbox.of_kind("peer_connected")}) == 2
    times = [frame.captured_at for frame in inbox.frames]
    assert times == sorted(set(times))
    assert [frame.previous_captured_at for frame in inbox.frames] == [None, *times[:-1]]
    reported = [message.at for message in inbox.technical]
    assert reported == sorted(reported)


async def test_a_newer_peer_replaces_the_older(gateway: GatewayUnderTest, inbox: Inbox) -> None:
    async with gateway.publisher(camera((0, 0, 230))) as older:
        await older.publish()
        await frames_of(inbox, older, 2)
        async with gateway.publisher(camera((230, 0, 0)), session_id=older.session_id, token=older.token) as newer:
            await newer.publish()
            await newer.connected()
            await eventually(lambda: older.connection.connectionState == "closed", what="the end of the older")
            inbox.collect()
            seen = len(inbox.frames)
            await frames_of(inbox, newer, 3)
            assert gateway.gateway.registry.peer_count == 1
            assert "peer_lost" not in inbox.kinds()
    assert [message.kind for message in inbox.technical].count("peer_connected") == 2
    for frame in inbox.frames[seen + 1 :]:
        blue, _, red = simplejpeg.decode_jpeg(inbox.data(frame), "BGR")[0, 0]
        assert blue > red


async def test_a_newer_peer_that_never_connects_replaces_nobody(start_gateway: StartGateway, inbox: Inbox) -> None:
    gateway = await start_gateway(GATEWAY_CONNECT_TIMEOUT_S="1")
    async with gateway.publisher(camera()) as steady:
        await steady.publish()
        await frames_of(inbox, steady)
        async with gateway.publisher(camera(), session_id=steady.session_id, token=steady.token) as idle:
            await idle.publish()
            await idle.vanish()
            await eventually(lambda: gateway.gateway.registry.peer_count == 1, what="the end of the idle peer")
        await frames_of(inbox, steady, 2)
    assert inbox.kinds().count("peer_connected") == 1


async def test_media_that_stops_and_resumes_is_reported(start_gateway: StartGateway, inbox: Inbox) -> None:
    gateway = await start_gateway(GATEWAY_MEDIA_TIMEOUT_S="1")
    film, sound = camera(), Microphone(tone(440))
    async with gateway.publisher(film, sound) as publisher:
        await publisher.publish()
        await frames_of(inbox, publisher)
        film.pause()
        await eventually(lambda: "video_stopped" in inbox.kinds())
        sound.pause()
        await eventually(lambda: "audio_stopped" in inbox.kinds())
        await asyncio.sleep(2.5)  # the peer answers, so it is not lost
        assert "peer_lost" not in inbox.kinds()
        film.resume()
        await eventually(lambda: inbox.kinds().count("video_started") == 2)
        sound.resume()
        await eventually(lambda: inbox.kinds().count("audio_started") == 2)
        await frames_of(inbox, publisher, 2)
    kinds = [kind for kind in inbox.kinds() if kind != "peer_lost"]
    assert sorted(kinds[:3]) == ["audio_started", "peer_connected", "video_started"]
    assert kinds[3:] == ["video_stopped", "audio_stopped", "video_started", "audio_started"]


async def test_a_window_that_is_not_full_when_sound_stops_is_still_heard(
    start_gateway: StartGateway, inbox: Inbox
) -> None:
    gateway = await start_gateway(GATEWAY_MEDIA_TIMEOUT_S="1")
    sound = Microphone(tone(440))
    async with gateway.publisher(camera(), sound) as publisher:
        await publisher.publish()
        await eventually(lambda: len(inbox.collect().windows) == 1, what="a window")
        await asyncio.sleep(0.5)
        sound.pause()
        await eventually(lambda: len(inbox.collect().windows) == 2, what="the window begun")
    window = inbox.windows[1]
    samples = np.frombuffer(inbox.data(window), "<i2")[window.lead_in_samples :]
    assert len(samples) == 16_000
    assert np.abs(samples[:4000]).max() > 3000
    assert np.abs(samples[-2000:]).max() <= 2  # dither


async def test_video_that_never_comes_is_reported_as_stopped(start_gateway: StartGateway, inbox: Inbox) -> None:
    gateway = await start_gateway(GATEWAY_MEDIA_TIMEOUT_S="1")
    film = camera()
    film.pause()
    async with gateway.publisher(film, Microphone(tone(440))) as publisher:
        await publisher.publish()
        await eventually(lambda: "video_stopped" in inbox.kinds())
        assert inbox.kinds() == ["peer_connected", "audio_started", "video_stopped"]


class Noise(MediaStreamTrack):  # type: ignore[misc]
    """A camera whose frames are no frames."""

    kind = "video"
    count = 0

    async def recv(self) -> Any:
        await asyncio.sleep(0.05)
        self.count += 1
        packet = av.Packet(os.urandom(2000))
        packet.pts, packet.time_base = self.count * 4500, VIDEO_TIME_BASE
        return packet


async def test_senseless_media_stops_its_own_stream_only(start_gateway: StartGateway, inbox: Inbox) -> None:
    gateway = await start_gateway(GATEWAY_MEDIA_TIMEOUT_S="1")
    async with gateway.publisher(Noise(), Microphone(tone(440))) as bad, gateway.publisher(camera()) as good:
        await asyncio.gather(bad.publish(), good.publish())
        await frames_of(inbox, good, 4)
        await eventually(lambda: "video_stopped" in inbox.kinds(bad.session_id))
        await eventually(lambda: any(w.session_id == bad.session_id for w in inbox.collect().windows))
        assert "video_stopped" not in inbox.kinds(good.session_id)
        assert bad.connection.connectionState == "connected"


async def test_a_connection_that_comes_back_by_itself_is_the_same_peer(
    start_gateway: StartGateway, inbox: Inbox
) -> None:
    gateway = await start_gateway(GATEWAY_MEDIA_TIMEOUT_S="1")
    async with gateway.publisher(camera(), Microphone(tone(440))) as publisher:
        await publisher.publish()
        await frames_of(inbox, publisher)
        await publisher.vanish()
        await eventually(lambda: "peer_lost" in inbox.kinds())
        publisher.return_()
        await eventually(lambda: inbox.kinds().count("peer_connected") == 2)
        await frames_of(inbox, publisher, 2)
    again = inbox.of_kind("peer_connected")
    assert again[0].peer_id == again[1].peer_id
    assert again[1].reason == "media_resumed"


async def test_a_lost_peer_is_let_go_after_the_grace_time(start_gateway: StartGateway, inbox: Inbox) -> None:
    gateway = await start_gateway(GATEWAY_MEDIA_TIMEOUT_S="1", GATEWAY_GRACE_S="1")
    async with gateway.publisher(camera()) as publisher:
        await publisher.publish()
        await frames_of(inbox, publisher)
        await publisher.vanish()
        await eventually(lambda: gateway.gateway.registry.session_ids == [], what="the end of the session here")
    assert gateway.gateway.registry.peer_count == 0
    assert inbox.kinds().count("peer_lost") == 1


@pytest.mark.parametrize("told", ["by the channel", "by the key"])
async def test_the_end_of_a_session_hangs_up(
    gateway: GatewayUnderTest, inbox: Inbox, valkey: OwnValkey, told: str
) -> None:
    async with gateway.publisher(camera()) as publisher, gateway.publisher(camera()) as other:
        await asyncio.gather(publisher.publish(), other.publish())
        await frames_of(inbox, publisher)
        client = valkey.client()
        if told == "by the channel":
            client.publish(CONTROL_CHANNEL, "no JSON")
            client.publish(CONTROL_CHANNEL, json.dumps({"action": "dance", "session_id": other.session_id}))
            client.publish(CONTROL_CHANNEL, json.dumps({"action": CONTROL_END, "session_id": str(uuid.uuid4())}))
            client.publish(CONTROL_CHANNEL, json.dumps({"action": CONTROL_END, "session_id": publisher.session_id}))
        else:
            client.set(revoked_key(publisher.session_id), "1")
        await eventually(lambda: publisher.connection.connectionState == "closed", what="the end")
        assert "peer_lost" not in inbox.kinds()  # it has ended, it was not lost
        await frames_of(inbox, other)


async def test_a_token_that_runs_out_hangs_up(gateway: GatewayUnderTest, inbox: Inbox) -> None:
    session_id = str(uuid.uuid4())
    token = join_token(KEY, session_id, life_s=3.0)
    async with gateway.publisher(camera(), session_id=session_id, token=token) as publisher:
        await publisher.publish()
        await eventually(lambda: publisher.connection.connectionState == "closed", what="the end")
    assert await eventually(lambda: inbox.of_kind("peer_lost"))
    assert inbox.of_kind("peer_lost")[0].reason == "token_expired"


async def test_peers_leave_nothing_behind(gateway: GatewayUnderTest, inbox: Inbox) -> None:
    async def visit() -> None:
        async with gateway.publisher(camera(), Microphone(tone(440))) as publisher:
            await publisher.publish()
            await frames_of(inbox, publisher)
            await publisher.hang_up()

    await visit()
    tasks = len(asyncio.all_tasks())
    for _ in range(3):
        await visit()
    await eventually(lambda: len(asyncio.all_tasks()) <= tasks, what="the end of all tasks")
    assert [thread.name for thread in threading.enumerate() if "decoder" in thread.name] == []
    gc.collect()
    await asyncio.sleep(0)
    gc.collect()
    # By type and not isinstance, which fails on weak proxies of what has gone.
    left = [found for found in gc.get_objects() if type(found) is RTCPeerConnection]
    assert left == []


async def test_the_heartbeat_tells_of_a_living_gateway(start_gateway: StartGateway, valkey: OwnValkey) -> None:
    gateway = await start_gateway(GATEWAY_ID="gate-1")
    key = gateway_heartbeat_key("gate-1")
    document = json.loads(await eventually(lambda: valkey.client().get(key), what="the heartbeat"))
    assert document["gateway_id"] == "gate-1"
    assert document["peers"] == 0
    assert document["started_at"] <= time.time()
    assert 0 < valkey.client().ttl(key) <= 20
    await gateway.gateway.stop()
    assert valkey.client().get(key) is None


async def listening(port: int) -> None:
    """Wait until something listens on the port."""

    async def is_there() -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        return True

    end = time.monotonic() + 20
    while not await is_there():
        assert time.monotonic() < end, "the gateway does not listen"
        await asyncio.sleep(0.1)


@pytest.mark.parametrize("redis_is", ["there", "away"])
async def test_sigterm_reports_every_peer_and_ends_soon(valkey: OwnValkey, inbox: Inbox, redis_is: str) -> None:
    port = free_port()
    process = gateway_process(valkey, GATEWAY_PORT=str(port))
    try:
        await listening(port)
        session_id = str(uuid.uuid4())
        token = join_token(KEY, session_id)
        async with WhipPublisher(f"http://127.0.0.1:{port}", session_id, token, [camera()]) as publisher:
            await publisher.publish()
            await frames_of(inbox, publisher)
            if redis_is == "away":
                valkey.stop()
            started = time.monotonic()
            process.send_signal(signal.SIGTERM)
            status = await asyncio.to_thread(process.wait, 10)
        assert time.monotonic() - started < 5.0
        assert process.stderr is not None
        log = process.stderr.read().decode()
        if redis_is == "there":
            assert status == 0, log
            assert [message.reason for message in inbox.of_kind("peer_lost")] == ["gateway_stopped"]
        else:
            assert "technical messages" in log
            assert "lost" in log
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"JOIN_TOKEN_KEY": ""}, 2, "JOIN_TOKEN_KEY is not set"),
        ({"REDIS_URL": ""}, 2, "REDIS_URL is not set"),
        ({"ICE_SERVERS": "stun:x"}, 2, "ICE_SERVERS cannot be used"),
        ({"GATEWAY_PORT": "taken"}, 2, "GATEWAY_PORT cannot be used"),
    ],
)
def test_a_gateway_that_cannot_start_says_why(
    valkey: OwnValkey, changes: dict[str, str], status: int, words: str
) -> None:
    process = gateway_process(valkey, **changes)
    _, errors = process.communicate(timeout=20)
    assert (process.returncode, words in errors.decode()) == (status, True), errors.decode()
    assert "Traceback" not in errors.decode()


def test_a_port_in_use_is_named(valkey: OwnValkey) -> None:
    port = valkey.url.rpartition(":")[2].partition("/")[0]
    process = gateway_process(valkey, GATEWAY_PORT=port)
    try:
        _, errors = process.communicate(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert process.returncode == 1
    assert f"GATEWAY_PORT {port}" in errors.decode()
