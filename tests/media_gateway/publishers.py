"""Publishers for tests: synthetic cameras and microphones, and a WHIP client on aiortc."""

from __future__ import annotations

import asyncio
import fractions
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import aiohttp
import av
import numpy as np
from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCIceServer,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)
from aiortc.rtcconfiguration import RTCIceTransportPolicy
from numpy.typing import NDArray

from media_gateway.tokens import JoinClaims, mint

Image = NDArray[np.uint8]
Samples = NDArray[np.int16]


def plain_picture(colour_bgr: tuple[int, int, int], *, size_wh: tuple[int, int] = (320, 240)) -> Image:
    """Return an image of one colour."""
    return np.full((size_wh[1], size_wh[0], 3), colour_bgr, np.uint8)


class Camera(MediaStreamTrack):  # type: ignore[misc]
    """Sends what ``paint(seconds)`` returns (BGR), ``fps`` times a second of real time."""

    kind = "video"

    def __init__(self, paint: Callable[[float], Image], *, fps: float = 15.0) -> None:
        super().__init__()
        self._paint = paint
        self._fps = fps
        self._count = 0
        self.started_at: float | None = None  # Unix time of the first frame
        self.is_paused = asyncio.Event()
        self._running = asyncio.Event()
        self._running.set()

    def pause(self) -> None:
        """Send nothing until ``resume``; media time goes on, as a camera's does."""
        self._running.clear()

    def resume(self) -> None:
        self._running.set()

    async def recv(self) -> av.VideoFrame:
        if self.started_at is None:
            self.started_at = time.time()
        await asyncio.sleep(max(0.0, self.started_at + self._count / self._fps - time.time()))
        if not self._running.is_set():
            await self._running.wait()
            self._count = int((time.time() - self.started_at) * self._fps) + 1
        frame = av.VideoFrame.from_ndarray(self._paint(self._count / self._fps), format="bgr24")
        frame.pts = round(self._count / self._fps * 90_000)
        frame.time_base = fractions.Fraction(1, 90_000)
        self._count += 1
        return frame


class Microphone(MediaStreamTrack):  # type: ignore[misc]
    """Sends ``sound(positions / 48000)`` (floats in -1..1) in packets of 20 ms of real time."""

    kind = "audio"

    def __init__(self, sound: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> None:
        super().__init__()
        self._sound = sound
        self._position = 0
        self.started_at: float | None = None
        self._running = asyncio.Event()
        self._running.set()

    def pause(self) -> None:
        self._running.clear()

    def resume(self) -> None:
        self._running.set()

    async def recv(self) -> av.AudioFrame:
        if self.started_at is None:
            self.started_at = time.time()
        # A microphone has the sound when it is over.
        await asyncio.sleep(max(0.0, self.started_at + (self._position + 960) / 48_000 - time.time()))
        if not self._running.is_set():
            await self._running.wait()
            self._position = int((time.time() - self.started_at) * 48_000 / 960) * 960
        seconds = (self._position + np.arange(960)) / 48_000
        samples = np.round(self._sound(seconds) * 32_000).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(samples[None, :], format="s16", layout="mono")
        frame.sample_rate = 48_000
        frame.pts = self._position
        frame.time_base = fractions.Fraction(1, 48_000)
        self._position += 960
        return frame


def tone(frequency_hz: float, *, level: float = 0.3) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """Return a sound for ``Microphone``: a sine."""
    return lambda seconds: level * np.sin(2 * np.pi * frequency_hz * seconds)


@dataclass
class WhipPublisher:
    """A candidate's browser, so to speak: ``publish`` connects, leaving the context hangs up rudely or politely."""

    base_url: str
    session_id: str
    token: str
    tracks: list[MediaStreamTrack]
    video_codec: str | None = None
    relay: RTCIceServer | None = None  # the only way out, where there is one
    connection: RTCPeerConnection = field(init=False)
    location: str = ""
    etag: str = ""

    async def __aenter__(self) -> Self:
        policy = RTCIceTransportPolicy.RELAY if self.relay else RTCIceTransportPolicy.ALL
        servers = [self.relay] if self.relay else []
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=servers, iceTransportPolicy=policy))
        for track in self.tracks:
            transceiver = self.connection.addTransceiver(track, direction="sendonly")
            if track.kind == "video" and self.video_codec:
                codecs = RTCRtpSender.getCapabilities("video").codecs
                wanted = [c for c in codecs if c.mimeType == f"video/{self.video_codec}"]
                transceiver.setCodecPreferences(wanted)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for track in self.tracks:
            track.stop()
        await self.connection.close()

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    async def offer(self) -> str:
        """Return an offer with all ICE candidates."""
        await self.connection.setLocalDescription(await self.connection.createOffer())
        return str(self.connection.localDescription.sdp)

    async def publish(self) -> None:
        """POST the offer and take the answer; raise if it is refused."""
        async with aiohttp.ClientSession() as http:
            url = f"{self.base_url}/whip/{self.session_id}"
            headers = self.headers | {"Content-Type": "application/sdp"}
            async with http.post(url, data=await self.offer(), headers=headers) as response:
                answer = await response.text()
                assert response.status == 201, answer
                self.location, self.etag = response.headers["Location"], response.headers["ETag"]
        await self.connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))

    async def connected(self, timeout_s: float = 10.0) -> None:
        """Wait until media can flow."""
        async with asyncio.timeout(timeout_s):
            while self.connection.connectionState != "connected":  # noqa: ASYNC110  # aiortc has no event to wait on
                await asyncio.sleep(0.02)

    async def hang_up(self) -> int:
        """DELETE the peer and return the status."""
        async with (
            aiohttp.ClientSession() as http,
            http.delete(self.base_url + self.location, headers=self.headers) as r,
        ):
            return r.status

    async def vanish(self) -> None:
        """Go silent at once, as when the power fails: no RTCP BYE, no DTLS close, no answer to STUN."""
        for protocol in self.sockets():
            protocol.send_data, protocol.send_stun = _swallow, lambda *message: None

    def return_(self) -> None:
        """Undo ``vanish``."""
        for protocol in self.sockets():
            del protocol.send_data, protocol.send_stun

    def sockets(self) -> list[Any]:
        """Return the endpoints that ICE of the one bundled transport sends from."""
        return list(self.connection.getSenders()[0].transport.transport._connection._protocols)


async def _swallow(*packet: Any) -> None:
    pass


def join_token(
    key: str, session_id: str, *, fps: float = 2.0, window_s: float = 1.0, life_s: float = 600.0, **changes: Any
) -> str:
    """Mint a token for a test."""
    now = time.time()
    claims = JoinClaims(session_id, now - 1.0, now + life_s, fps, window_s)
    return mint(claims, key=key, **changes)
