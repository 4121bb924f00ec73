"""The publisher against a WHIP server of aiortc's own making."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError

from demo import material
from demo.publisher import EncodedClip, PublishError, WhipPublisher, load_clip
from demo.script import CALM


@dataclass
class WhipServer:
    """Receives and decodes what is published; refuses every token but ``good``."""

    url: str = ""
    frames: dict[str, int] = field(default_factory=lambda: {"video": 0, "audio": 0})
    sizes: set[tuple[int, int]] = field(default_factory=set)
    deleted: int = 0
    peers: list[RTCPeerConnection] = field(default_factory=list)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def post(self, request: web.Request) -> web.Response:
        if request.headers["Authorization"] != "Bearer good":
            return web.Response(status=401, text='{"code": "token_invalid"}')
        peer = RTCPeerConnection()
        self.peers.append(peer)
        peer.on("track", lambda track: self.tasks.append(asyncio.ensure_future(self.drain(track))))
        await peer.setRemoteDescription(RTCSessionDescription(sdp=await request.text(), type="offer"))
        await peer.setLocalDescription(await peer.createAnswer())
        answer = peer.localDescription.sdp
        return web.Response(status=201, text=answer, headers={"Location": "/whip/1"}, content_type="application/sdp")

    async def delete(self, request: web.Request) -> web.Response:
        self.deleted += 1
        return web.Response()

    async def drain(self, track: MediaStreamTrack) -> None:
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            self.frames[track.kind] += 1
            if track.kind == "video":
                self.sizes.add((frame.width, frame.height))


@pytest.fixture
async def server() -> AsyncIterator[WhipServer]:
    server = WhipServer()
    app = web.Application()
    app.router.add_post("/whip", server.post)
    app.router.add_delete("/whip/1", server.delete)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/whip"
    yield server
    for peer in server.peers:
        await peer.close()
    await asyncio.gather(*server.tasks)
    await runner.cleanup()


@pytest.fixture(scope="module")
def calm(weights_dir: Path) -> EncodedClip:
    return load_clip(material.clip(CALM))


async def test_picture_and_sound_arrive_in_real_time(server: WhipServer, calm: EncodedClip) -> None:
    before = time.time()
    async with WhipPublisher(server.url, "good", calm) as publisher:
        assert before <= publisher.started_at <= time.time()
        await publisher.play_until(3.0)
        assert 2.9 <= time.time() - publisher.started_at <= 3.6
        assert 30 <= server.frames["video"] <= 50  # 15 a second
        assert 110 <= server.frames["audio"] <= 165  # 50 a second
    assert server.sizes == {(640, 480)}
    assert server.deleted == 1


async def test_a_looped_clip_goes_on(server: WhipServer, calm: EncodedClip) -> None:
    short = EncodedClip(1.0, calm.video[:15], calm.audio[:50])
    async with WhipPublisher(server.url, "good", short, loop=True) as publisher:
        await publisher.play_until(3.0)
        assert server.frames["video"] >= 30


async def test_a_refusal_is_told_with_its_status(server: WhipServer, calm: EncodedClip) -> None:
    publisher = WhipPublisher(server.url, "bad", calm)
    with pytest.raises(PublishError, match="answered 401") as raised:
        await publisher.start()
    assert raised.value.status == 401
    assert "token_invalid" in raised.value.body
    assert publisher.connection_state == "new"


async def test_who_vanishes_says_no_goodbye(server: WhipServer, calm: EncodedClip) -> None:
    publisher = WhipPublisher(server.url, "good", calm)
    await publisher.start()
    await publisher.play_until(1.0)
    await publisher.vanish()
    await asyncio.sleep(0.5)
    assert server.deleted == 0
    assert server.peers[0].connectionState == "connected"  # nobody has told the server


async def test_sound_alone_can_be_published(server: WhipServer, calm: EncodedClip) -> None:
    async with WhipPublisher(server.url, "good", calm, kinds=("audio",)) as publisher:
        await publisher.play_until(1.0)
    assert server.frames["audio"] > 20
    assert server.frames["video"] == 0
