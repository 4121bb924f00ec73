"""A real WHIP publisher (RFC 9725): sends an encoded clip in real time through aiortc.

The clip's VP8 and Opus packets go out as they are, so a publisher costs hardly more than its encryption: demo, tests
and benchmarks can run many in one process.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import av
from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCIceServer,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)
from aiortc.mediastreams import MediaStreamError
from yarl import URL

CONNECT_TIMEOUT_S = 15.0
HTTP_TIMEOUT = aiohttp.ClientTimeout(total=20)
_TIME_BASES = {"video": Fraction(1, 90_000), "audio": Fraction(1, 48_000)}


class PublishError(RuntimeError):
    """The gateway refused, or no connection came about. ``status`` is its HTTP answer, if there was one."""

    def __init__(self, message: str, *, status: int | None = None, body: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.body = body


@dataclass(frozen=True, slots=True)
class EncodedSample:
    at_s: float
    data: bytes


@dataclass(frozen=True, slots=True)
class EncodedClip:
    """A clip's packets in memory; share one between publishers."""

    duration_s: float
    video: Sequence[EncodedSample]
    audio: Sequence[EncodedSample]


def load_clip(path: Path) -> EncodedClip:
    """Read the VP8 and Opus packets of a WebM."""
    samples: dict[str, list[EncodedSample]] = {"video": [], "audio": []}
    with av.open(str(path)) as container:
        for packet in container.demux():
            if packet.pts is not None and packet.size:
                samples[packet.stream.type].append(EncodedSample(float(packet.pts * packet.time_base), bytes(packet)))
        duration_s = float(container.duration or 0) / av.time_base
    return EncodedClip(duration_s, samples["video"], samples["audio"])


@dataclass(slots=True)
class MediaClock:
    """One beginning for picture and sound: the moment the first of the two is asked for a packet."""

    started_monotonic: float = 0.0
    started_at: float = 0.0
    started: asyncio.Event = field(default_factory=asyncio.Event)

    def start(self) -> float:
        """Return the beginning on the monotonic clock; the first call makes it."""
        if not self.started.is_set():
            self.started_monotonic, self.started_at = time.monotonic(), time.time()
            self.started.set()
        return self.started_monotonic


class ClipTrack(MediaStreamTrack):
    """Hands out a clip's packets of one kind when their time comes, over and over when looped."""

    def __init__(self, kind: str, samples: Sequence[EncodedSample], *, clip_s: float, clock: MediaClock, loop: bool):
        super().__init__()
        self.kind = kind
        self._samples = samples
        self._clip_s = clip_s
        self._clock = clock
        self._again = loop
        self._sent = 0

    async def recv(self) -> av.Packet[Any]:
        """Wait for the next packet's time; raise ``MediaStreamError`` at the end of a clip that is not looped."""
        lap, index = divmod(self._sent, len(self._samples))
        if self.readyState != "live" or (lap and not self._again):
            raise MediaStreamError
        sample = self._samples[index]
        at_s = lap * self._clip_s + sample.at_s
        await asyncio.sleep(max(0.0, self._clock.start() + at_s - time.monotonic()))
        self._sent += 1
        packet = av.Packet(sample.data)
        packet.time_base = _TIME_BASES[self.kind]
        packet.pts = round(at_s / packet.time_base)
        return packet


@dataclass(slots=True)
class WhipPublisher:
    """One candidate's sender. ``async with`` publishes and hangs up; ``vanish`` goes without a word."""

    whip_url: str
    token: str
    clip: EncodedClip
    loop: bool = False
    kinds: tuple[str, ...] = ("video", "audio")
    ice_servers: Sequence[dict[str, Any]] = ()
    clock: MediaClock = field(default_factory=MediaClock)
    resource_url: str | None = None
    _peer: RTCPeerConnection | None = None

    @property
    def started_at(self) -> float:
        """Unix time at which the clip's second zero was sent; known once ``start`` has returned."""
        return self.clock.started_at

    @property
    def connection_state(self) -> str:
        return str(self._peer.connectionState) if self._peer else "new"

    async def start(self) -> None:
        """Publish; return once connected. Raise ``PublishError`` when refused or not connected in time."""
        peer = RTCPeerConnection(RTCConfiguration([RTCIceServer(**server) for server in self.ice_servers]))
        self._peer = peer
        connected = _settled(peer)
        for kind in self.kinds:
            self._add_track(peer, kind)
        await peer.setLocalDescription(await peer.createOffer())
        try:
            answer = await self._post_offer(peer.localDescription.sdp)
            await peer.setRemoteDescription(RTCSessionDescription(sdp=answer, type="answer"))
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                state = await connected
                if state == "connected":
                    await self.clock.started.wait()
        except TimeoutError as error:
            await self.stop()
            raise PublishError(f"No connection to {self.whip_url} within {CONNECT_TIMEOUT_S:.0f} s") from error
        except BaseException:
            await self._close()
            raise
        if state != "connected":
            await self.stop()
            raise PublishError(f"The connection to {self.whip_url} is {state}")

    async def play_until(self, clip_s: float) -> None:
        """Wait until second ``clip_s`` of the clip has been sent; raise ``PublishError`` if the connection breaks."""
        while (left := self.started_at + clip_s - time.time()) > 0:
            if self.connection_state != "connected":
                raise PublishError(f"The connection to {self.whip_url} is {self.connection_state}")
            await asyncio.sleep(min(left, 0.25))

    async def stop(self) -> None:
        """Hang up as WHIP wants it (DELETE), then close. Do nothing when never published."""
        url, self.resource_url = self.resource_url, None
        if url is not None:
            async with _http() as http, http.delete(url, headers=self._authorization()) as response:
                await response.read()
        await self._close()

    async def vanish(self) -> None:
        """Go silent without a goodbye, as a pulled cable does: no DELETE, no DTLS alert, no RTCP BYE."""
        assert self._peer is not None, "publish first"
        for transceiver in self._peer.getTransceivers():
            await transceiver.sender.transport.transport.stop()
        self.resource_url = None
        await self._close()

    async def _close(self) -> None:
        peer, self._peer = self._peer, None
        if peer is not None:
            await peer.close()

    def _add_track(self, peer: RTCPeerConnection, kind: str) -> None:
        samples = self.clip.video if kind == "video" else self.clip.audio
        track = ClipTrack(kind, samples, clip_s=self.clip.duration_s, clock=self.clock, loop=self.loop)
        transceiver = peer.addTransceiver(track, direction="sendonly")
        wanted = {"video": "video/VP8", "audio": "audio/opus"}[kind]
        codecs = RTCRtpSender.getCapabilities(kind).codecs
        transceiver.setCodecPreferences([codec for codec in codecs if codec.mimeType == wanted])

    async def _post_offer(self, sdp: str) -> str:
        headers = {**self._authorization(), "Content-Type": "application/sdp"}
        async with _http() as http, http.post(self.whip_url, data=sdp, headers=headers) as response:
            body = await response.text()
            if response.status != 201:
                message = f"{self.whip_url} answered {response.status}: {body[:200]}"
                raise PublishError(message, status=response.status, body=body)
            self.resource_url = str(URL(self.whip_url).join(URL(response.headers["Location"])))
            return body

    def _authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


def _http() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(timeout=HTTP_TIMEOUT)


def _settled(peer: RTCPeerConnection) -> asyncio.Future[str]:
    """Return a future of the state the connection settles in: ``connected``, ``failed`` or ``closed``."""
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def look() -> None:
        if peer.connectionState in {"connected", "failed", "closed"} and not future.done():
            future.set_result(peer.connectionState)

    peer.on("connectionstatechange", look)
    return future
