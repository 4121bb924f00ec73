"""One WebRTC connection that publishes a session's camera and microphone."""

from __future__ import annotations

import asyncio
import enum
import logging
import secrets
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Executor

from aiortc import RTCConfiguration, RTCIceServer, RTCPeerConnection, RTCRtpReceiver, RTCSessionDescription
from aiortc.codecs import get_capabilities
from aiortc.exceptions import OperationError

from media_gateway import metrics, sdp
from media_gateway.audio import AudioIntake, AudioSink
from media_gateway.config import IceServer
from media_gateway.problems import ProblemError
from media_gateway.tap import divert, is_reachable
from media_gateway.video import VideoIntake, VideoSink

logger = logging.getLogger(__name__)

_CLOSE_TIMEOUT_S = 3.0
_MAX_FRAGMENT_CANDIDATES = 256
_OPUS = [codec for codec in get_capabilities("audio").codecs if codec.mimeType.lower() == "audio/opus"]


class PeerState(enum.Enum):
    CONNECTING = "connecting"
    CONNECTED = "connected"
    GONE = "gone"


class Peer:
    """Wraps an ``RTCPeerConnection``. ``on_change`` is called whenever ``state`` has changed."""

    def __init__(
        self,
        *,
        ice_servers: Sequence[IceServer],
        executor: Executor,
        on_change: Callable[[Peer], None],
    ) -> None:
        self.id = uuid.uuid4().hex
        self.etag = f'"{secrets.token_urlsafe(12)}"'
        self.state = PeerState.CONNECTING
        self.created = time.monotonic()
        self.video: VideoIntake | None = None
        self.audio: AudioIntake | None = None
        self._executor = executor
        self._on_change = on_change
        self._remote_username = ""
        self._candidates_taken = 0
        self._closing: asyncio.Task[None] | None = None
        servers = [RTCIceServer(list(s.urls), username=s.username, credential=s.credential) for s in ice_servers]
        self._connection = RTCPeerConnection(RTCConfiguration(iceServers=servers))
        self._connection.on("connectionstatechange", self._connection_changed)
        metrics.PEERS.inc()

    async def answer(
        self, offer: str, *, video: VideoSink, audio: AudioSink, frames_per_second: float, audio_window_s: float
    ) -> str:
        """Accept ``offer`` (see ``sdp.check_offer``) and return the answer; raise ``ProblemError`` if impossible."""
        local = await self._negotiate(offer)
        self._remote_username = sdp.ice_username(offer)
        self._divert(local.sdp, video, audio, frames_per_second, audio_window_s)
        await self._connection.setLocalDescription(local)
        return sdp.with_long_packets(self._connection.localDescription.sdp)

    async def _negotiate(self, offer: str) -> RTCSessionDescription:
        for kind in sdp.kinds(offer):
            transceiver = self._connection.addTransceiver(kind, direction="recvonly")
            if kind == "audio":
                transceiver.setCodecPreferences(_OPUS)
        try:
            await self._connection.setRemoteDescription(RTCSessionDescription(offer, "offer"))
            return await self._connection.createAnswer()
        except OperationError as error:
            raise ProblemError("codec_unsupported", "No offered codec profile can be received.") from error
        except sdp.PARSE_ERRORS as error:
            logger.warning("An offer passed the checks and could not be used.", exc_info=True)
            raise ProblemError("sdp_invalid", "The offer cannot be used.") from error

    def _divert(
        self, answer: str, video: VideoSink, audio: AudioSink, frames_per_second: float, audio_window_s: float
    ) -> None:
        self.video = VideoIntake(
            codecs=sdp.payload_types(answer, "video"),
            per_second=frames_per_second,
            executor=self._executor,
            sink=video,
        )
        divert(self._receiver("video"), self.video)
        if codecs := sdp.payload_types(answer, "audio"):
            self.audio = AudioIntake(codecs=codecs, window_s=audio_window_s, executor=self._executor, sink=audio)
            divert(self._receiver("audio"), self.audio)

    def _receiver(self, kind: str) -> RTCRtpReceiver:
        return next(t.receiver for t in self._connection.getTransceivers() if t.kind == kind)

    async def add_ice_candidates(self, fragment: sdp.Fragment) -> None:
        """Take trickled ICE candidates; raise ``ProblemError`` where they are of another ICE session (a restart)."""
        if fragment.username not in (None, self._remote_username):
            raise ProblemError("ice_restart_unsupported", "ICE cannot be restarted here: publish anew instead.")
        self._candidates_taken += len(fragment.ice_candidates)
        if self._candidates_taken > _MAX_FRAGMENT_CANDIDATES:
            raise ProblemError("sdp_invalid", "There are too many ICE candidates.")
        for candidate in fragment.ice_candidates:
            await self._connection.addIceCandidate(candidate)

    async def is_reachable(self, *, timeout_s: float) -> bool:
        """Ask the other side whether it is still there."""
        return self.state is PeerState.CONNECTED and await is_reachable(self._connection, timeout_s=timeout_s)

    def close(self) -> asyncio.Task[None]:
        """Hang up, without telling ``on_change``. Returns the task that does it, held here until it is done."""
        if self._closing is None:
            self.state = PeerState.GONE
            metrics.PEERS.dec()
            for intake in (self.video, self.audio):
                if intake is not None:
                    intake.close()
            self._closing = asyncio.create_task(self._close())
        return self._closing

    async def _close(self) -> None:
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await self._connection.close()
        except TimeoutError:
            logger.warning("Peer %s could not be closed in %.0f s.", self.id, _CLOSE_TIMEOUT_S)
        except Exception:
            logger.exception("Peer %s could not be closed properly.", self.id)

    def _connection_changed(self) -> None:
        state = self._connection.connectionState
        if self.state is PeerState.GONE:
            return
        if state == "connected" and self.state is PeerState.CONNECTING:
            self.state = PeerState.CONNECTED
            self._on_change(self)
        elif state in ("failed", "closed"):
            self.close()
            self._on_change(self)
